//! One run of the generator: packets by schedule, counted.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

use super::clock;
use super::lane::Lane;
use super::pacing::{Rate, Schedule, Step, packets_within};
use super::stop::Stop;
use super::target::Target;
use super::transmit::{Headers, TransmitError};

const SECOND_NS: u64 = 1_000_000_000;

/// How long after its duration a run may still send what a busy machine kept from leaving in time.
const GRACE_NS: u64 = 50_000_000;

/// When a run ends, unless stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After this many packets were offered.
    Count(NonZeroU64),
    /// After this time.
    Duration(Duration),
    /// Never by itself.
    None,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct SendReport {
    /// Packets the kernel took.
    pub sent: u64,
    /// Packets it refused.
    pub errors: u64,
    /// UDP payload sent, bytes.
    pub bytes: u64,
    /// From the start to the end of the run, seconds.
    pub duration_s: f64,
    /// Packets sent per second of it.
    pub pps: f64,
    /// How they left: `datagrams`, `segmented` or `frames`.
    pub path: &'static str,
    /// The last refusal's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A run's state.
#[derive(Debug)]
pub struct Sender {
    lane: Lane,
    size: usize,
    rate: Rate,
}

impl Sender {
    /// Gets ready to send to `target`.
    ///
    /// # Errors
    /// When the target or the source cannot be had.
    pub fn open(target: &Target, headers: Headers, rate: Rate) -> Result<Self, TransmitError> {
        let lane = Lane::open(target, headers, rate.has_bursts())?;
        Ok(Self { lane, size: headers.size, rate })
    }

    /// Sends until the limit or a signal; calls `progress` with packets sent and refused so far each second.
    pub fn run(&mut self, limit: Limit, stop: &Stop, mut progress: impl FnMut(u64, u64)) -> SendReport {
        // Without it low rates are some 50 µs less even; nothing else changes.
        let _ = clock::sharpen_timers();
        let start = clock::monotonic_ns();
        let (count, end) = self.bounds(limit, start);
        let mut schedule = Schedule::new(self.rate, start, self.lane.burst_max(), count);
        let mut report_at = start + SECOND_NS;
        while !stop.requested() {
            let now = clock::monotonic_ns();
            if end.is_some_and(|end| now >= end) {
                break;
            }
            if now >= report_at {
                progress(self.lane.sent(), self.lane.errors());
                report_at += SECOND_NS;
            }
            match schedule.poll(now) {
                Step::WaitUntil(due) => clock::wait_until(due),
                Step::Send(packets) => self.lane.burst(packets as usize),
                Step::Done => break,
            }
        }
        self.report(clock::monotonic_ns() - start)
    }

    /// The most packets to offer and the time to end at.
    fn bounds(&self, limit: Limit, start: u64) -> (Option<u64>, Option<u64>) {
        match (limit, self.rate) {
            (Limit::Count(count), _) => (Some(count.get()), None),
            (Limit::None, _) => (None, None),
            (Limit::Duration(duration), rate) => {
                let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                let end = start.saturating_add(duration);
                match rate {
                    Rate::PerSecond(rate) => {
                        (Some(packets_within(rate, duration)), Some(end.saturating_add(GRACE_NS)))
                    }
                    Rate::Max => (None, Some(end)),
                }
            }
        }
    }

    fn report(&self, elapsed_ns: u64) -> SendReport {
        let duration_s = Duration::from_nanos(elapsed_ns).as_secs_f64();
        let sent = self.lane.sent();
        SendReport {
            sent,
            errors: self.lane.errors(),
            bytes: sent * self.size as u64,
            duration_s,
            pps: if duration_s > 0.0 { sent as f64 / duration_s } else { 0.0 },
            path: self.lane.path_name(),
            last_error: self.lane.last_error().map(str::to_owned),
        }
    }
}
