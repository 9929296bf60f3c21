//! What is offered: `mcrgen send`'s own packets, from a thread here, so that what happens meanwhile can be watched.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcr::generator::clock::{monotonic_ns, sharpen_timers, wait_until};
use mcr::generator::lane::Lane;
use mcr::generator::pacing::{Rate, Schedule, Step, packets_within};
use mcr::generator::target::Target;
use mcr::generator::transmit::Headers;
use rustix::thread::{CpuSet, clock_nanosleep_absolute, sched_setaffinity};
use rustix::time::{ClockId, Timespec};
use testbed::Port;

/// The sender has core 0 to itself as far as soft interrupts let it, a relay core 1.
pub(crate) const SENDER_CORE: u8 = 0;
pub(crate) const RELAY_CORE: u8 = 1;

/// The first flow's group.
pub(crate) const GROUP: &str = "239.1.1.1";
pub(crate) const PORT: u16 = 5000;

const SECOND_NS: u64 = 1_000_000_000;

/// Part of the packets asked for that must be offered for what comes of them to say anything.
const OFFER_LEAST: f64 = 0.98;

/// How long after its time an offer may still send what a busy machine kept from leaving.
const GRACE_NS: u64 = 50_000_000;

/// Packets that a sender which sleeps sends at a time: to sleep takes a virtual machine more than 10 µs.
const TOGETHER: u64 = 20;

/// How the sender spends the time between packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It looks at the clock: packets leave when they are due.
    Spin,
    /// It sleeps, and sends [`TOGETHER`] packets at a time so that there is time to: its core is idle in between, and what
    /// soft interrupts do there can be told from waiting.
    Sleep,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) rate: Rate,
    /// UDP payload of each packet.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) flows: u16,
    pub(crate) wait: Wait,
}

/// What left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    asked: Rate,
    /// Packets the sender's kernel took.
    pub(crate) sent: u64,
    /// From the first of them to the last.
    pub(crate) seconds: f64,
}

/// The sender could not do what it was asked for: what came of it says nothing of the relay.
#[derive(Debug, thiserror::Error)]
#[error("only {offered:.0} packets a second were offered")]
pub(crate) struct Short {
    pub(crate) offered: f64,
}

impl Offered {
    pub(crate) fn pps(&self) -> f64 {
        self.sent as f64 / self.seconds
    }

    pub(crate) fn is_short(&self) -> bool {
        match self.asked {
            Rate::PerSecond(asked) => self.pps() < OFFER_LEAST * asked.get() as f64,
            Rate::Max => false,
        }
    }

    /// What was asked for, or [`Short`].
    pub(crate) fn in_full(self) -> Result<Self> {
        ensure!(!self.is_short(), Short { offered: self.pps() });
        Ok(self)
    }
}

impl Offer {
    /// One flow, as many packets as go.
    pub(crate) fn most(bytes: u64, seconds: f64) -> Self {
        Self { rate: Rate::Max, bytes, seconds, flows: 1, wait: Wait::Spin }
    }

    /// One flow at a rate.
    pub(crate) fn at(pps: u64, bytes: u64, seconds: f64) -> Self {
        let rate = Rate::PerSecond(NonZeroU64::new(pps).unwrap_or(NonZeroU64::MIN));
        Self { rate, ..Self::most(bytes, seconds) }
    }

    /// The same of many flows.
    pub(crate) fn flows(self, flows: u16) -> Self {
        Self { flows, ..self }
    }

    /// The same by a sender that sleeps.
    pub(crate) fn asleep(self) -> Self {
        Self { wait: Wait::Sleep, ..self }
    }

    /// Sends all of it to the groups from [`GROUP`] on, on core 0.
    pub(crate) fn send(self, from: &Port) -> Result<Offered> {
        let sent = from.netns().enter(|| self.send_here(from.name()))?;
        ensure!(sent.sent > 0, "nothing could be sent on {}", from.name());
        Ok(sent)
    }

    fn send_here(self, interface: &str) -> Result<Offered> {
        pin(SENDER_CORE)?;
        sharpen_timers().context("sharpen the sender's timers")?;
        let endpoint = format!("{GROUP}%{interface}:{PORT}").parse()?;
        let target = Target::new(endpoint, NonZeroU16::new(self.flows).unwrap_or(NonZeroU16::MIN))?;
        let size = usize::try_from(self.bytes)?;
        let headers = Headers { source: None, ttl: 16, dscp: mcast::Dscp::default(), size };
        let mut lane = Lane::open(&target, headers, true)?;
        let duration_ns = Duration::from_secs_f64(self.seconds).as_nanos().try_into().unwrap_or(u64::MAX);
        let start = monotonic_ns();
        let (count, end) = match self.rate {
            Rate::PerSecond(rate) => (Some(packets_within(rate, duration_ns)), duration_ns + GRACE_NS),
            Rate::Max => (None, duration_ns),
        };
        let mut schedule = Schedule::new(self.rate, start, lane.burst_max(), count);
        while monotonic_ns() < start + end {
            match schedule.poll(monotonic_ns()) {
                Step::WaitUntil(due) => self.pause(due),
                Step::Send(packets) => lane.burst(packets.try_into()?),
                Step::Done => break,
            }
        }
        // The last packet of a paced offer leaves before its last interval is over.
        let paced = if self.rate == Rate::Max { 0 } else { duration_ns };
        let seconds = (monotonic_ns() - start).max(paced) as f64 / SECOND_NS as f64;
        Ok(Offered { asked: self.rate, sent: lane.sent(), seconds })
    }

    fn pause(self, due_ns: u64) {
        match self.wait {
            Wait::Spin => wait_until(due_ns),
            Wait::Sleep => {
                let others = match self.rate {
                    Rate::PerSecond(rate) => (TOGETHER - 1) * SECOND_NS / rate,
                    Rate::Max => 0,
                };
                let due_ns = due_ns + others;
                let tv_sec = (due_ns / SECOND_NS).cast_signed();
                let due = Timespec { tv_sec, tv_nsec: (due_ns % SECOND_NS).cast_signed() };
                // Interrupted, the schedule says how long to go on.
                let _ = clock_nanosleep_absolute(ClockId::Monotonic, &due);
            }
        }
    }
}

/// Keeps the calling thread on a core.
pub(crate) fn pin(core: u8) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core.into());
    sched_setaffinity(None, &cores).with_context(|| format!("run on core {core}"))
}
