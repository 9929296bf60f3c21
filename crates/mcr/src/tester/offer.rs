//! The sending side: lanes of flows, each with its share of the packets, offered by one schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::TesterError;
use super::link::Link;
use super::place::Place;
use super::size::{Mix, Turns};
use crate::generator::clock;
use crate::generator::lane::Lane;
use crate::generator::pacing::{BURST_MAX, Rate, Schedule, Step, packets_within};
use crate::generator::stop::Stop;
use crate::generator::target::Target;
use crate::generator::transmit::Headers;

/// TTL or hop limit of what is offered.
const TTL: u8 = 16;

/// Part of its duration a trial may take longer, so that what a busy machine kept from leaving in time still does;
/// with a floor for short trials. What has not left then makes the offer too low.
const GRACE: f64 = 0.02;
const GRACE_LEAST_NS: u64 = 20_000_000;

/// What one lane sends: all flows of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct LanePlan {
    /// The first flow's endpoint.
    pub(super) tx: Place,
    /// Flows.
    pub(super) flows: std::num::NonZeroU16,
    /// Its weight among the lanes.
    pub(super) weight: u32,
}

/// A run of the sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) rate: Rate,
    pub(super) duration: Duration,
    /// Each lane and size as often as any other, whatever its weight.
    pub(super) even: bool,
}

/// What a run offered.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    /// Packets of each lane's flows that the kernel took.
    pub(super) flows: Vec<Vec<u64>>,
    pub(super) refused: u64,
    pub(super) last_error: Option<String>,
    pub(super) elapsed_ns: u64,
    /// The longest a packet left after it was due.
    pub(super) late_ns: u64,
    /// How packets left, each way once.
    pub(super) path: String,
    /// Whether a signal or the caller ended it early.
    pub(super) halted: bool,
}

impl Offered {
    /// Packets the kernel took.
    pub(super) fn sent(&self) -> u64 {
        self.flows.iter().flatten().sum()
    }

    /// # Errors
    /// When the kernel took nothing.
    pub(super) fn check(&self) -> Result<(), TesterError> {
        match &self.last_error {
            Some(error) if self.sent() == 0 => Err(TesterError::Unsent(error.clone())),
            _ => Ok(()),
        }
    }
}

/// The open sender.
#[derive(Debug)]
pub(super) struct Offer {
    lanes: Vec<Lane>,
    /// Lane and size of each part of the offer, by lane.
    streams: Vec<(usize, usize)>,
    weights: Vec<u32>,
    links: Vec<Link>,
    stop: Stop,
}

impl Offer {
    /// Opens all lanes from the calling thread's namespace.
    ///
    /// # Errors
    /// When a target cannot be sent to.
    pub(super) fn open(lanes: &[LanePlan], sizes: &Mix, stop: Stop) -> Result<Self, TesterError> {
        // Low rates are some 50 µs less even without it; nothing else changes.
        let _ = clock::sharpen_timers();
        let open = |lane: &LanePlan| {
            let target = Target::new(lane.tx.endpoint.clone(), lane.flows)
                .map_err(|error| TesterError::Target(Box::new(lane.tx.clone()), error))?;
            let headers = Headers {
                source: target.source(),
                ttl: TTL,
                dscp: mcast::Dscp::default(),
                size: sizes.longest(),
            };
            Lane::open(&target, headers, true)
                .map_err(|error| TesterError::Transmit(Box::new(lane.tx.clone()), error))
        };
        let links = lanes.iter().map(|lane| Link::open(&lane.tx)).collect::<Result<Vec<_>, _>>()?;
        let links = links.into_iter().flatten().collect();
        let mut offer = Self {
            lanes: lanes.iter().map(open).collect::<Result<_, _>>()?,
            streams: Vec::new(),
            weights: Vec::new(),
            links,
            stop,
        };
        for (at, lane) in lanes.iter().enumerate() {
            for part in sizes.parts() {
                offer.streams.push((at, part.size));
                offer.weights.push(lane.weight * part.weight);
            }
        }
        Ok(offer)
    }

    /// Offers packets as `run` says until it is over, `halt` is set or a signal arrives. Each lane's sequence
    /// numbers begin at its entry in `bases`.
    pub(super) fn run(&mut self, run: Run, bases: &[u64], halt: &Arc<AtomicBool>) -> Offered {
        for (lane, base) in self.lanes.iter_mut().zip(bases) {
            lane.start_at(*base);
        }
        let mut turns = Turns::new(self.weights.iter().map(|weight| if run.even { 1 } else { *weight }));
        let mut counts = vec![0; self.streams.len()];
        let duration_ns = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        let burst_max = self.lanes.iter().map(Lane::burst_max).min().unwrap_or(BURST_MAX);
        let start = clock::monotonic_ns();
        let (count, end) = bounds(run.rate, start, duration_ns);
        let mut schedule = Schedule::new(run.rate, start, burst_max, count);
        let (mut late_ns, mut halted, mut refusal) = (0, false, None);
        loop {
            if self.stop.requested() || halt.load(Ordering::Relaxed) {
                halted = true;
                break;
            }
            let now = clock::monotonic_ns();
            if now >= end {
                break;
            }
            late_ns = late_ns.max(schedule.lateness_ns(now));
            match schedule.poll(now) {
                Step::WaitUntil(due) => clock::wait_until(due),
                Step::Send(packets) => {
                    turns.take(packets as usize, &mut counts);
                    self.burst(&mut counts, &mut refusal);
                }
                Step::Done => break,
            }
        }
        self.offered(bases, clock::monotonic_ns() - start, late_ns, halted, refusal)
    }

    /// # Errors
    /// When a link went down since it was opened.
    pub(super) fn check_links(&self) -> Result<(), TesterError> {
        self.links.iter().try_for_each(Link::check)
    }

    /// Sends `counts` packets of each stream and sets them to 0.
    fn burst(&mut self, counts: &mut [usize], refusal: &mut Option<String>) {
        for ((lane, size), count) in self.streams.iter().zip(counts) {
            let packets = std::mem::take(count);
            if packets == 0 {
                continue;
            }
            let lane = &mut self.lanes[*lane];
            match lane.set_size(*size) {
                Ok(()) => lane.burst(packets),
                // What is not sent makes the offer too low, which is seen.
                Err(error) => *refusal = Some(error.to_string()),
            }
        }
    }

    fn offered(
        &self,
        bases: &[u64],
        elapsed_ns: u64,
        late_ns: u64,
        halted: bool,
        refusal: Option<String>,
    ) -> Offered {
        let sent = |(lane, base): (&Lane, &u64)| lane.sequences().iter().map(|next| next - base).collect();
        let mut paths: Vec<_> = self.lanes.iter().map(Lane::path_name).collect();
        paths.dedup();
        Offered {
            flows: self.lanes.iter().zip(bases).map(sent).collect(),
            refused: self.lanes.iter().map(Lane::errors).sum(),
            last_error: self.lanes.iter().find_map(Lane::last_error).map(str::to_owned).or(refusal),
            elapsed_ns,
            late_ns,
            path: paths.join(", "),
            halted,
        }
    }
}

/// The most packets to offer, and when to end whatever is left of them.
fn bounds(rate: Rate, start: u64, duration_ns: u64) -> (Option<u64>, u64) {
    match rate {
        Rate::Max => (None, start.saturating_add(duration_ns)),
        Rate::PerSecond(rate) => {
            let grace = ((duration_ns as f64 * GRACE) as u64).max(GRACE_LEAST_NS);
            let end = start.saturating_add(duration_ns).saturating_add(grace);
            (Some(packets_within(rate, duration_ns)), end)
        }
    }
}
