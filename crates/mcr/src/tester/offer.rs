//! The sending side: lanes of flows, each with its share of the packets, offered by one schedule.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::TesterError;
use super::link::Link;
use super::place::Place;
use super::queue::{Queues, Standing, held_up, kept_back};
use super::size::{Mix, Turns};
use crate::generator::clock;
use crate::generator::lane::Lane;
use crate::generator::pacing::{BURST_MAX, Rate, Schedule, Step, packets_within};
use crate::generator::stop::Stop;
use crate::generator::target::Target;
use crate::generator::transmit::Headers;

/// TTL or hop limit of what is offered.
const TTL: u8 = 16;

/// Least part of the packets asked for that must have been offered for a trial to count.
pub(super) const OFFER_LEAST: f64 = 0.98;

/// How often queueing disciplines are looked at that still hold packets.
const LOOK: Duration = Duration::from_millis(1);

/// Part of its duration a trial may take longer, so that what a busy machine kept from leaving in time still does;
/// with a floor for short trials. What has not left then makes the offer too low.
pub(super) const GRACE: f64 = 0.02;
pub(super) const GRACE_LEAST_NS: u64 = 20_000_000;

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
#[derive(Debug, Clone, Default)]
pub(super) struct Offered {
    /// Packets of each lane's flows that the kernel took.
    pub(super) flows: Vec<Vec<u64>>,
    pub(super) refused: u64,
    pub(super) last_error: Option<String>,
    pub(super) start_ns: u64,
    pub(super) elapsed_ns: u64,
    /// The longest a packet left after it was due.
    pub(super) late_ns: u64,
    /// How packets left, each way once.
    pub(super) path: String,
    /// Whether a signal or the caller ended it early.
    pub(super) halted: bool,
    /// What the sender's own queueing disciplines kept back of it, in words.
    pub(super) kept_back: Option<String>,
    /// Whether they made some of it wait, in words.
    pub(super) held_up: Option<String>,
}

impl Offered {
    /// Packets the kernel took.
    pub(super) fn sent(&self) -> u64 {
        self.flows.iter().flatten().sum()
    }

    /// # Errors
    /// When a queueing discipline of the sender's own kept some of it back.
    pub(super) fn check_queues(&self) -> Result<(), TesterError> {
        self.kept_back.clone().map_or(Ok(()), |kept| Err(TesterError::Limited(kept)))
    }

    /// # Errors
    /// When one kept some of it back, or made some wait.
    pub(super) fn check_times(&self) -> Result<(), TesterError> {
        self.check_queues()?;
        self.held_up.clone().map_or(Ok(()), |held| Err(TesterError::Limited(held)))
    }

    /// Why this is less than `due` packets; absent if it is not.
    pub(super) fn shortfall(&self, due: u64) -> Option<String> {
        let (sent, refused) = (self.sent(), self.refused);
        let refusal =
            self.last_error.as_ref().map(|error| format!("; the kernel refused {refused}: {error}"));
        ((sent as f64) < OFFER_LEAST * due as f64).then(|| {
            let refusal = refusal.unwrap_or_default();
            format!("limited by the tester, which offered {sent} of {due} packets in time{refusal}")
        })
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
    queues: Queues,
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
        let queues = Queues::open(lanes.iter().map(|lane| &lane.tx.endpoint))?;
        let mut offer = Self {
            lanes: lanes.iter().map(open).collect::<Result<_, _>>()?,
            streams: Vec::new(),
            weights: Vec::new(),
            links,
            queues,
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
    ///
    /// # Errors
    /// When the kernel does not say what it holds.
    pub(super) fn run(
        &mut self,
        run: Run,
        bases: &[u64],
        halt: &Arc<AtomicBool>,
    ) -> Result<Offered, TesterError> {
        let queued = self.queues.read()?;
        for (lane, base) in self.lanes.iter_mut().zip(bases) {
            lane.start_at(*base);
        }
        let mut turns = Turns::new(self.weights.iter().map(|weight| if run.even { 1 } else { *weight }));
        let mut counts = vec![0; self.streams.len()];
        let duration_ns = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        let burst_max = self.lanes.iter().map(Lane::burst_max).min().unwrap_or(BURST_MAX);
        let start = clock::monotonic_ns();
        let Bounds { count, end, left_by } = Bounds::of(run.rate, start, duration_ns);
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
        let left_by = if halted { clock::monotonic_ns() + GRACE_LEAST_NS } else { left_by };
        let (left_ns, queues) = self.wait_left(left_by)?;
        let offered = self.offered(bases, start..left_ns, late_ns, halted, refusal);
        let kept_back = kept_back(&queued, &queues, offered.refused);
        Ok(Offered { kept_back, held_up: held_up(&queued, &queues), ..offered })
    }

    /// Waits until no queueing discipline holds packets, or `until`; answers when that was, and with how they stand.
    fn wait_left(&self, until: u64) -> Result<(u64, Vec<Standing>), TesterError> {
        loop {
            let now = clock::monotonic_ns();
            let queues = self.queues.read()?;
            if queues.iter().all(|queue| queue.waiting == 0) || now >= until || self.stop.requested() {
                return Ok((now, queues));
            }
            std::thread::sleep(LOOK);
        }
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
        time: Range<u64>,
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
            start_ns: time.start,
            elapsed_ns: time.end - time.start,
            late_ns,
            path: paths.join(", "),
            halted,
            ..Offered::default()
        }
    }
}

/// When an offer ends, in packets and in time.
struct Bounds {
    /// The most packets.
    count: Option<u64>,
    /// When whatever is left of them is not offered any more.
    end: u64,
    /// When all must have left the sender's own queues.
    left_by: u64,
}

impl Bounds {
    fn of(rate: Rate, start: u64, duration_ns: u64) -> Self {
        match rate {
            // Its rate is what has left in the time that took.
            Rate::Max => {
                let end = start.saturating_add(duration_ns);
                Self { count: None, end, left_by: end.saturating_add(duration_ns) }
            }
            Rate::PerSecond(rate) => {
                let grace = ((duration_ns as f64 * GRACE) as u64).max(GRACE_LEAST_NS);
                let end = start.saturating_add(duration_ns).saturating_add(grace);
                Self { count: Some(packets_within(rate, duration_ns)), end, left_by: end }
            }
        }
    }
}
