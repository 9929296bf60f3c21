//! Where a result was measured, so that it can be judged later.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The machine and its system.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the first processor.
    pub cpu: String,
    /// Cores online.
    pub cores: usize,
    /// Version of the kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            cpu: cpuinfo.lines().find_map(model).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: processors.max(1),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// The time now, UTC, as RFC 3339 writes it.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs())
}

/// Seconds since the epoch as RFC 3339 writes them. Days become a date in eras of 400 years, which are all alike.
fn rfc3339(seconds: u64) -> String {
    const DAYS_OF_ERA: u64 = 146_097;
    /// Days from March 1 of year 0 to the epoch.
    const EPOCH: u64 = 719_468;
    let (days, rest) = (seconds / 86_400 + EPOCH, seconds % 86_400);
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 153 days in five.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_389_366, "2026-11-22T23:16:06Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
