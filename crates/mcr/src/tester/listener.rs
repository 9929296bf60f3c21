//! The receiving side: one receiver of the device's outputs, with an account for each output that it takes.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use mcast::wire::{ChecksumTrust, Datagram, Malformed};

use super::error::TesterError;
use super::fanout::Fanout;
use super::link::Link;
use super::place::Place;
use crate::generator::tally::{Tally, TallyReport};
use crate::generator::tap::{Membership, RING_BYTES, Tap, Tapped};
use crate::generator::target::Target;

/// Memory for the rings of all receivers together, and the least that one gets.
const RINGS_BYTES: usize = 256 << 20;
const RING_LEAST_BYTES: usize = 4 << 20;

/// Longest wait for a packet before orders are looked at.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Nice value of a receiver: it takes little time, but must have it before its ring is full.
const NICE: i32 = -10;

/// What a receiver is to take.
#[derive(Debug, Clone)]
pub(super) struct ListenerPlan {
    pub(super) place: Place,
    /// The lane whose flows it takes.
    pub(super) lane: usize,
    /// Outputs, and the flows of each.
    pub(super) uses: u16,
    pub(super) flows: NonZeroU16,
    /// How it shares the device's outputs with others.
    pub(super) fanout: Fanout,
    /// Whether it joins from the start.
    pub(super) joined: bool,
}

/// When a flow's packets arrived at an output, nanoseconds on `CLOCK_MONOTONIC`; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

/// How far a trial has come at a receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// Intact packets, each once.
    pub(super) distinct: u64,
    /// When the last came.
    pub(super) last_ns: u64,
    /// Until when nothing came that has not been read.
    pub(super) read_ns: u64,
}

/// Packets that could not be taken for what was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Damage {
    pub(super) fragments: u64,
    /// Those with a wrong IP or UDP checksum.
    pub(super) bad_checksums: u64,
}

impl Damage {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            fragments: self.fragments + other.fragments,
            bad_checksums: self.bad_checksums + other.bad_checksums,
        }
    }
}

/// A trial at one output.
#[derive(Debug)]
pub(super) struct OutputReport {
    pub(super) tally: TallyReport,
    pub(super) strays: u64,
    pub(super) latencies: Histogram<u64>,
}

/// A trial at a receiver.
#[derive(Debug)]
pub(super) struct ListenerReport {
    pub(super) outputs: Vec<OutputReport>,
    /// Frames the tap had no room for.
    pub(super) tap_lost: u64,
    /// When the last intact packet came, nanoseconds; 0 if none did.
    pub(super) last_ns: u64,
}

/// An open receiver.
#[derive(Debug)]
pub(super) struct Listener {
    plan: ListenerPlan,
    tap: Tap,
    membership: Option<Membership>,
    /// Whether nobody else receives on its interface: what comes for no output of its own is then for nobody's.
    alone: bool,
    whole: Target,
    targets: Vec<Target>,
    tallies: Vec<Tally>,
    /// By output, then flow.
    spans: Vec<Vec<Span>>,
    last_ns: u64,
    tap_lost_before: u64,
    link: Option<Link>,
}

impl Listener {
    /// Opens a receiver in the calling thread's namespace, beside the others of `all`, which share the memory there is
    /// for rings.
    ///
    /// # Errors
    /// When its tap, groups or ports cannot be had.
    pub(super) fn open(plan: ListenerPlan, all: &[ListenerPlan]) -> Result<Self, TesterError> {
        // Refused without CAP_SYS_NICE; what that costs on a busy machine shows as the tap's loss.
        let _ = rustix::process::setpriority_process(None, NICE);
        let link = Link::open(&plan.place)?;
        let whole = whole_target(&plan)?;
        let ring = (RINGS_BYTES / all.len().max(1)).clamp(RING_LEAST_BYTES, RING_BYTES);
        let failed = |error| TesterError::Tap(Box::new(plan.place.clone()), error);
        let tap = Tap::listen(&whole, ring, NonZeroU32::MIN).map_err(failed)?;
        let membership = if plan.joined { Some(Membership::open(&whole).map_err(failed)?) } else { None };
        let target = |turn| {
            let endpoint = plan.fanout.endpoint(&plan.place, turn)?;
            Target::new(endpoint, plan.flows)
                .map_err(|error| TesterError::Target(Box::new(plan.place.clone()), error))
        };
        let targets = (0..plan.uses).map(target).collect::<Result<Vec<_>, _>>()?;
        let mut listener = Self {
            tap,
            membership,
            alone: all.iter().filter(|other| other.place.may_share_link(&plan.place)).count() == 1,
            whole,
            targets,
            tallies: Vec::new(),
            spans: Vec::new(),
            last_ns: 0,
            tap_lost_before: 0,
            link,
            plan,
        };
        listener.begin(0..0)?;
        Ok(listener)
    }

    /// Takes what has arrived; waits a little where nothing has.
    ///
    /// # Errors
    /// When the tap fails.
    pub(super) fn turn(&mut self) -> Result<(), TesterError> {
        let Self { plan, tap, alone, targets, tallies, spans, last_ns, .. } = self;
        let read = tap.read(WAIT_MAX, |tapped| take(plan, *alone, targets, tallies, spans, last_ns, tapped));
        read.map_err(|error| TesterError::Tap(Box::new(plan.place.clone()), error))
    }

    /// Starts new accounts, of packets whose sequence numbers are within `window`.
    ///
    /// # Errors
    /// When the tap does not say what it lost so far.
    pub(super) fn begin(&mut self, window: Range<u64>) -> Result<(), TesterError> {
        self.tallies = self.targets.iter().map(|target| Tally::within(target, window.clone())).collect();
        self.forget();
        self.tap_lost_before = self.tap_lost()?;
        Ok(())
    }

    /// Forgets when packets came.
    pub(super) fn forget(&mut self) {
        self.spans = vec![vec![Span::default(); self.plan.flows.get().into()]; self.targets.len()];
        self.last_ns = 0;
    }

    /// How far the trial has come.
    pub(super) fn heard(&self) -> Heard {
        let distinct = self.tallies.iter().map(Tally::distinct).sum();
        Heard { distinct, last_ns: self.last_ns, read_ns: self.tap.empty_ns() }
    }

    /// Each flow's span at each output.
    pub(super) fn spans(&self) -> Vec<Vec<Span>> {
        self.spans.clone()
    }

    /// What came instead of packets that may have been meant for it.
    pub(super) fn damage(&self) -> Damage {
        let of = |tally: &Tally| {
            let TallyReport { fragments, bad_checksum, .. } = tally.report(None);
            Damage { fragments, bad_checksums: bad_checksum }
        };
        self.tallies.iter().map(of).fold(Damage::default(), Damage::and)
    }

    /// Outputs and flows that nothing was received of, named as the operator knows them.
    pub(super) fn missing(&self) -> Vec<String> {
        let name = |(target, spans): (&Target, &Vec<Span>)| {
            let silent = spans.iter().enumerate().filter(|(_, span)| span.first_ns == 0);
            silent.map(|(flow, _)| self.flow_name(target, flow as u16)).collect::<Vec<_>>()
        };
        self.targets.iter().zip(&self.spans).flat_map(name).collect()
    }

    /// What the trial came to.
    ///
    /// # Errors
    /// When the tap does not say what it lost.
    pub(super) fn finish(&mut self) -> Result<ListenerReport, TesterError> {
        let report = |tally: &Tally| OutputReport {
            tally: tally.report(None),
            strays: tally.strays(),
            latencies: tally.latencies().clone(),
        };
        Ok(ListenerReport {
            outputs: self.tallies.iter().map(report).collect(),
            tap_lost: self.tap_lost()? - self.tap_lost_before,
            last_ns: self.last_ns,
        })
    }

    /// # Errors
    /// When its link went down since it was opened.
    pub(super) fn check_link(&self) -> Result<(), TesterError> {
        self.link.as_ref().map_or(Ok(()), Link::check)
    }

    /// Joins the groups, or holds the ports.
    ///
    /// # Errors
    /// When one cannot be had.
    pub(super) fn join(&mut self) -> Result<(), TesterError> {
        let joined = Membership::open(&self.whole);
        self.membership =
            Some(joined.map_err(|error| TesterError::Tap(Box::new(self.plan.place.clone()), error))?);
        Ok(())
    }

    /// Leaves them.
    pub(super) fn leave(&mut self) {
        self.membership = None;
    }

    fn tap_lost(&mut self) -> Result<u64, TesterError> {
        self.tap.lost().map_err(|error| TesterError::Tap(Box::new(self.plan.place.clone()), error))
    }

    fn flow_name(&self, target: &Target, flow: u16) -> String {
        let mut endpoint = target.endpoint().clone();
        endpoint.address = target.address(flow);
        endpoint.port = target.port(flow).and_then(NonZeroU16::new);
        Place { endpoint, netns: self.plan.place.netns.clone() }.to_string()
    }
}

/// All a receiver takes as one target: a group's outputs differ in ports that the tap does not look at, a host's
/// ports follow each other.
fn whole_target(plan: &ListenerPlan) -> Result<Target, TesterError> {
    let multicast = plan.place.endpoint.address.is_multicast();
    let outputs = if multicast { 1 } else { plan.uses };
    let flows = plan.flows.checked_mul(NonZeroU16::new(outputs).unwrap_or(NonZeroU16::MIN));
    let run_out = || TesterError::Ports(Box::new(plan.place.clone()), plan.uses, plan.flows.get());
    Target::new(plan.place.endpoint.clone(), flows.ok_or_else(run_out)?)
        .map_err(|error| TesterError::Target(Box::new(plan.place.clone()), error))
}

fn take(
    plan: &ListenerPlan,
    alone: bool,
    targets: &[Target],
    tallies: &mut [Tally],
    spans: &mut [Vec<Span>],
    last_ns: &mut u64,
    tapped: Tapped<'_>,
) {
    match Datagram::parse_ip(tapped.packet, tapped.checksum) {
        Ok(datagram) => {
            let Some(output) = output(plan, targets, &datagram) else {
                if alone {
                    tallies[0].take_stray(&datagram, tapped.segment);
                }
                return;
            };
            let Some(flow) = tallies[output].take_datagram(&datagram, tapped.segment, tapped.arrived_ns)
            else {
                return;
            };
            let span = &mut spans[output][usize::from(flow)];
            if span.first_ns == 0 {
                span.first_ns = tapped.arrived_ns;
            }
            (span.last_ns, *last_ns) = (tapped.arrived_ns, tapped.arrived_ns);
        }
        // Whose it is says the port, which can be believed.
        Err(Malformed::UdpChecksum) => {
            let Ok(datagram) = Datagram::parse_ip(tapped.packet, ChecksumTrust::Trusted) else { return };
            if let Some(output) = output(plan, targets, &datagram) {
                tallies[output].take_malformed(Malformed::UdpChecksum, tapped.packet);
            }
        }
        Err(malformed) => tallies[0].take_malformed(malformed, tapped.packet),
    }
}

/// Which of a receiver's outputs a datagram is of.
fn output(plan: &ListenerPlan, targets: &[Target], datagram: &Datagram<'_>) -> Option<usize> {
    let step = datagram.destination_port.checked_sub(targets.first()?.port(0)?)?;
    let each = if targets[0].is_multicast() { 1 } else { plan.flows.get() };
    Some(usize::from(step / each)).filter(|output| *output < targets.len())
}
