//! Where it is measured: a sender, a relay's namespace and receivers on links of their own; or a cable instead.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mcr::tester::search::{Found, LimitedBy, Next, Said, Search};
use testbed::topology::segment;
use testbed::{Fan, Netns, Port};

use crate::leftovers::PREFIX;
use crate::offer::{Offer, Offered, SENDER_CORE, pin};

/// After the last packet was sent, all has arrived that will once nothing came for this long.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
const STRAGGLERS_MAX: Duration = Duration::from_secs(10);

/// Ethernet, IPv4 and UDP headers, once a frame.
const HEADERS: u64 = 14 + 20 + 8;

/// Below this rate a search does not go.
const LEAST_PPS: u64 = 100;

/// What leaves a relay's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Egress {
    /// Frames of the size the wire would carry: the relay's kernel cuts super-frames.
    Cut,
    /// Super-frames as they are: virtual, as no wire would carry them.
    Whole,
}

/// Sender, relay, receivers.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) fan: Fan,
}

/// What has arrived at all receivers' links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived {
    frames: u64,
    bytes: u64,
}

impl Arrived {
    /// Datagrams of `payload` bytes since then.
    fn datagrams_since(self, before: Self, payload: u64) -> u64 {
        let headers = HEADERS * (self.frames - before.frames);
        (self.bytes - before.bytes).saturating_sub(headers) / payload
    }
}

/// An offer and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) offered: Offered,
    /// Datagrams that reached the receivers' links, all of them together, a super-frame as its segments.
    pub(crate) arrived: u64,
    /// How many frames they came in.
    pub(crate) frames: u64,
    /// Datagrams that should have.
    pub(crate) expected: u64,
}

impl Outcome {
    pub(crate) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.arrived)
    }
}

impl Place {
    pub(crate) fn new(outputs: u8, egress: Egress) -> Result<Self> {
        let fan = Fan::new(PREFIX, outputs)?;
        for netns in
            [fan.sender.netns(), fan.relay()].into_iter().chain(fan.receivers.iter().map(Port::netns))
        {
            silence(netns)?;
        }
        fan.sender.link.wire_size()?;
        for port in &fan.egress {
            port.link.wire_size()?;
            port.link.offload("tx-udp-segmentation", egress == Egress::Whole)?;
        }
        Ok(Self { fan })
    }

    /// The relay's outputs for a group, as rules write them.
    pub(crate) fn outputs(&self, group: &str) -> Vec<String> {
        self.fan.egress.iter().map(|port| format!("{group}%{}:5000", port.name())).collect()
    }

    /// Makes an offer and counts at the receivers' links, where nobody listens, what comes of it.
    pub(crate) fn offer(&self, offer: Offer) -> Result<Outcome> {
        self.offer_while(offer, || Ok(()))
    }

    /// The same, with what `hold` answers kept until all is offered.
    pub(crate) fn offer_while<H>(&self, offer: Offer, hold: impl FnOnce() -> Result<H>) -> Result<Outcome> {
        let before = self.arrived()?;
        let held = hold()?;
        let offered = offer.send(&self.fan.sender)?;
        drop(held);
        let after = self.settled()?;
        let (arrived, frames) = (after.datagrams_since(before, offer.bytes), after.frames - before.frames);
        let outputs = self.fan.receivers.len() as u64;
        Ok(Outcome { offered, arrived, frames, expected: offered.sent * outputs })
    }

    /// Datagrams a second that reach all receivers together while an offer lasts: in its middle half, so that what a
    /// relay's queue takes at first and gives back at last is left out.
    pub(crate) fn delivered_pps(&self, offer: Offer) -> Result<f64> {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| offer.send(&self.fan.sender));
            let look = || {
                std::thread::sleep(Duration::from_secs_f64(offer.seconds / 4.0));
                Ok((self.arrived()?, Instant::now()))
            };
            let first: Result<_> = look();
            std::thread::sleep(Duration::from_secs_f64(offer.seconds / 4.0));
            let last: Result<_> = look();
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.settled()?;
            let ((before, from), (after, to)) = (first?, last?);
            Ok(after.datagrams_since(before, offer.bytes) as f64 / (to - from).as_secs_f64())
        })
    }

    /// The highest rate of an offer, packets a second, of which everything reaches every receiver's link.
    pub(crate) fn zero_loss(&self, offer: Offer) -> Result<Found> {
        highest(offer, |offer| self.offer(offer))
    }

    /// What has arrived once nothing more comes.
    fn settled(&self) -> Result<Arrived> {
        let until = Instant::now() + STRAGGLERS_MAX;
        let mut last = self.arrived()?;
        loop {
            std::thread::sleep(SILENCE);
            let now = self.arrived()?;
            if now == last || Instant::now() > until {
                return Ok(now);
            }
            last = now;
        }
    }

    fn arrived(&self) -> Result<Arrived> {
        let mut sum = Arrived { frames: 0, bytes: 0 };
        for port in &self.fan.receivers {
            let one = port.netns().enter(|| link_counters(port.name()))?;
            sum.frames += one.frames;
            sum.bytes += one.bytes;
        }
        Ok(sum)
    }
}

/// The highest rate of an offer, packets a second, of which nothing is lost: the tester's own search.
pub(crate) fn highest(offer: Offer, attempt: impl Fn(Offer) -> Result<Outcome>) -> Result<Found> {
    let mut search = Search::new(None, LEAST_PPS);
    loop {
        let rate = match search.poll() {
            Next::Done(found) => {
                eprintln!("    {} B, {} flows: {}", offer.bytes, offer.flows, in_words(found));
                return Ok(found);
            }
            Next::Try(rate) => rate,
        };
        let outcome = attempt(Offer { rate, ..offer })?;
        let said = match (outcome.lost(), outcome.offered.is_short()) {
            (0, true) => Said::Nothing,
            (0, false) => Said::Passed,
            _ => Said::Lost,
        };
        search.handle(said, outcome.offered.pps());
    }
}

/// A rate, and why not more.
pub(crate) fn in_words(found: Found) -> String {
    let why = match found.limited_by {
        LimitedBy::Device => "limited by the device",
        LimitedBy::Tester => "limited by the tester",
        LimitedBy::Most => "no more was offered",
    };
    format!("{:.0} pps, {why}", found.pps)
}

/// What the link of the calling thread's namespace has received (proc_pid_net(5)): a look that is cheap enough to be
/// taken in the middle of an offer, on the sender's core.
fn link_counters(name: &str) -> Result<Arrived> {
    pin(SENDER_CORE)?;
    let text =
        fs::read_to_string("/proc/thread-self/net/dev").context("the counters of a namespace's links")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
    let mut numbers =
        line.with_context(|| format!("no counters of {name}"))?.split_whitespace().map(str::parse);
    let mut next = || numbers.next().context("counters end early")?.context("a counter");
    let (bytes, frames) = (next()?, next()?);
    Ok(Arrived { frames, bytes })
}

/// Two ends and nothing in between.
#[derive(Debug)]
pub(crate) struct Cable {
    pub(crate) near: Port,
    pub(crate) far: Port,
}

impl Cable {
    pub(crate) fn new() -> Result<Self> {
        let (near, far) = (Netns::new(&format!("{PREFIX}-s"))?, Netns::new(&format!("{PREFIX}-d"))?);
        let (near, far) = segment(1, (&near, "s0", 100), (&far, "d0", 1))?;
        silence(near.netns())?;
        silence(far.netns())?;
        near.link.wire_size()?;
        Ok(Self { near, far })
    }
}

/// Nothing but the sender's traffic is to be counted.
fn silence(netns: &Netns) -> Result<()> {
    netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
}
