//! One run of the receiver: taps, accounts, and knows when to end.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

use super::clock;
use super::stop::Stop;
use super::tally::{Tally, TallyReport};
use super::tap::{Tap, TapError};
use super::target::Target;

const SECOND_NS: u64 = 1_000_000_000;

/// How long a complete run still listens, for duplicates of the last packets.
const LINGER_NS: u64 = 100_000_000;

/// Longest wait for a packet before signals and deadlines are looked at.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Nice value of a receiver: it takes little time, but must have it before its ring is full.
const NICE: i32 = -10;

/// When a run ends, besides signals.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// After this time without a packet, once there was one.
    pub silence: Duration,
    /// After this time from its start.
    pub duration: Option<Duration>,
    /// With this many different packets received; loss is then what lacks of them.
    pub count: Option<NonZeroU64>,
}

/// The verdict on a run.
#[derive(Debug, Clone, Serialize)]
pub struct RecvReport {
    /// What arrived.
    #[serde(flatten)]
    pub tally: TallyReport,
    /// Frames this receiver's own tap had no room for: with any, `lost` says nothing of the network.
    pub tap_lost: u64,
    /// From the first packet received to the last, seconds.
    pub duration_s: f64,
    /// Packets received per second of it.
    pub pps: f64,
}

impl RecvReport {
    /// Whether everything arrived once and whole, and the tap saw all of it.
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.tap_lost == 0
    }
}

/// When packets of ours arrived.
#[derive(Debug, Clone, Copy)]
struct Heard {
    first_ns: u64,
    last_ns: u64,
}

/// Receives until it is time to end; calls `progress` with the account and the tap's losses each second.
///
/// # Errors
/// When the tap fails.
pub fn run(
    target: &Target,
    tap: &mut Tap,
    until: Until,
    stop: &Stop,
    mut progress: impl FnMut(&Tally, u64),
) -> Result<RecvReport, TapError> {
    // Refused without CAP_SYS_NICE; what that costs on a busy machine shows as the tap's loss.
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut tally = Tally::new(target);
    let mut heard: Option<Heard> = None;
    let start = clock::monotonic_ns();
    let mut complete_at = None;
    let mut report_at = start + SECOND_NS;
    while !stop.requested() {
        let before = tally.received();
        tap.read(WAIT_MAX, |tapped| {
            tally.take(tapped.packet, tapped.checksum, tapped.segment, tapped.arrived_ns);
        })?;
        let now = clock::monotonic_ns();
        if tally.received() > before {
            heard = Some(Heard { first_ns: heard.map_or(now, |heard| heard.first_ns), last_ns: now });
        }
        if complete_at.is_none() && until.count.is_some_and(|count| tally.distinct() >= count.get()) {
            complete_at = Some(now);
        }
        // A receiver kept off its core is not silence.
        let silent = heard.is_some_and(|heard| until.is_silent(heard, tap.empty_ns()));
        if silent || until.is_over(now, start, complete_at) {
            break;
        }
        if now >= report_at {
            progress(&tally, tap.lost()?);
            report_at += SECOND_NS;
        }
    }
    let elapsed = heard.map_or(0, |heard| heard.last_ns - heard.first_ns);
    let duration_s = Duration::from_nanos(elapsed).as_secs_f64();
    let tally = tally.report(until.count.map(NonZeroU64::get));
    let pps = if elapsed > 0 { tally.received as f64 / duration_s } else { 0.0 };
    Ok(RecvReport { tally, tap_lost: tap.lost()?, duration_s, pps })
}

impl Until {
    /// By when its ring was last found empty.
    fn is_silent(&self, heard: Heard, empty_ns: u64) -> bool {
        Duration::from_nanos(empty_ns.saturating_sub(heard.last_ns)) >= self.silence
    }

    fn is_over(&self, now: u64, start: u64, complete_at: Option<u64>) -> bool {
        let elapsed = Duration::from_nanos(now - start);
        self.duration.is_some_and(|duration| elapsed >= duration)
            || complete_at.is_some_and(|at| now - at >= LINGER_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: Until = Until { silence: Duration::from_secs(2), duration: None, count: None };

    #[test]
    fn waits_as_long_as_nothing_ends_it() {
        assert!(!ENDLESS.is_over(1000 * SECOND_NS, 0, None));
    }

    #[test]
    fn silence_counts_from_the_last_packet() {
        let heard = Heard { first_ns: 0, last_ns: SECOND_NS };
        assert!(!ENDLESS.is_silent(heard, 3 * SECOND_NS - 1));
        assert!(ENDLESS.is_silent(heard, 3 * SECOND_NS));
        assert!(!ENDLESS.is_silent(heard, 0), "looked before the packet came");
    }

    #[test]
    fn ends_at_its_duration_and_soon_after_its_count() {
        let until = Until { duration: Some(Duration::from_secs(1)), ..ENDLESS };
        assert!(until.is_over(SECOND_NS, 0, None));
        let complete_at = Some(SECOND_NS);
        assert!(!ENDLESS.is_over(SECOND_NS + LINGER_NS - 1, 0, complete_at));
        assert!(ENDLESS.is_over(SECOND_NS + LINGER_NS, 0, complete_at));
    }
}
