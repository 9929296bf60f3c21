//! What became of every packet a receiver's tap saw: one verdict each, and the figures of a report.
//!
//! A packet of the target's is exactly one of received (intact), bad_checksum, corrupted or foreign; only what
//! is received has sequence, latency, source, TTL and DSCP entered. Time is an argument.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::Range;

use hdrhistogram::Histogram;
use mcast::wire::{ChecksumTrust, Datagram, Malformed};
use serde::Serialize;

use super::header::{Header, NotIntact};
use super::ledger::{FlowReport, Ledger};
use super::target::Target;

/// Longest latency told from longer ones, nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Significant digits of latencies.
const LATENCY_DIGITS: u8 = 3;

/// Time from send call to arrival at the tap, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// Ninety-nine in a hundred are no longer.
    pub p99: f64,
    /// 999 in a thousand are no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// The figures of latencies in nanoseconds; absent where there are none.
    pub fn of(latencies: &Histogram<u64>) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1000.0;
        (!latencies.is_empty()).then(|| Self {
            min: us(latencies.min()),
            p50: us(latencies.value_at_quantile(0.5)),
            p99: us(latencies.value_at_quantile(0.99)),
            p999: us(latencies.value_at_quantile(0.999)),
            max: us(latencies.max()),
        })
    }
}

/// The verdict on a run.
#[derive(Debug, Clone, Serialize)]
pub struct TallyReport {
    /// Intact packets, duplicates among them.
    pub received: u64,
    /// With a count: what is lacking of it; otherwise the flows' gaps.
    pub lost: u64,
    /// Packets whose sequence number had arrived before.
    pub duplicated: u64,
    /// Packets that arrived after a higher sequence number.
    pub reordered: u64,
    /// Own packets with a wrong IP or UDP checksum: a host would drop them.
    pub bad_checksum: u64,
    /// Own packets with right checksums and wrong content, and those shorter than they say.
    pub corrupted: u64,
    /// Packets of others to the same groups or ports.
    pub foreign: u64,
    /// IP fragments to the same addresses: not reassembled, so what they carried counts as lost.
    pub fragments: u64,
    /// Absent where nothing was received or the sender's clock is another host's.
    pub latency_us: Option<Latency>,
    /// Source addresses seen.
    pub sources: Vec<IpAddr>,
    /// TTLs or hop limits seen.
    pub ttls: Vec<u8>,
    /// Code points seen.
    pub dscps: Vec<u8>,
    /// Each flow's part of it.
    pub flows: Vec<FlowReport>,
    /// Groups or ports of the target nothing was received on.
    pub silent: Vec<String>,
}

/// An empty account of latencies in nanoseconds.
///
/// # Panics
/// Never: the histogram's bounds are constants it accepts.
pub fn latencies() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds, covered by every test")]
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS).expect("bounds")
}

/// A run's account so far.
#[derive(Debug)]
pub struct Tally {
    target: Target,
    ledger: Ledger,
    latency: Histogram<u64>,
    seen: BTreeSet<(IpAddr, u8, u8)>,
    /// The headers of the last packet: most packets repeat them.
    last_seen: Option<(IpAddr, u8, u8)>,
    /// Whether each of the target's groups or ports received anything.
    heard: Vec<bool>,
    received: u64,
    bad_checksum: u64,
    corrupted: u64,
    foreign: u64,
    fragments: u64,
    /// The sequence numbers that count, where not all do, and the packets that do not.
    window: Option<Range<u64>>,
    strays: u64,
}

impl Tally {
    /// An account of what arrives for `target`.
    pub fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            ledger: Ledger::default(),
            latency: latencies(),
            seen: BTreeSet::new(),
            last_seen: None,
            heard: vec![false; target.flows().into()],
            received: 0,
            bad_checksum: 0,
            corrupted: 0,
            foreign: 0,
            fragments: 0,
            window: None,
            strays: 0,
        }
    }

    /// The same of sequence numbers within `window` alone, each flow at the group or port of its own number: any
    /// other intact packet is a stray.
    pub fn within(target: &Target, window: Range<u64>) -> Self {
        Self { window: Some(window), ..Self::new(target) }
    }

    /// Intact packets that are not of the window, or came to another flow's group or port or to nobody's.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Times from send call to arrival, nanoseconds.
    pub fn latencies(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Intact packets so far, duplicates among them.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Intact packets so far, each sequence number once.
    pub fn distinct(&self) -> u64 {
        self.ledger.distinct()
    }

    /// Takes an IP packet off the tap: `segment` is the payload of each datagram where it is a super-frame,
    /// `arrived_ns` the time on the sender's clock. Packets that are not the target's are passed over.
    pub fn take(
        &mut self,
        packet: &[u8],
        checksum: ChecksumTrust,
        segment: Option<NonZeroU16>,
        arrived_ns: u64,
    ) {
        match Datagram::parse_ip(packet, checksum) {
            Ok(datagram) => {
                self.take_datagram(&datagram, segment, arrived_ns);
            }
            Err(malformed) => self.take_malformed(malformed, packet),
        }
    }

    /// The same of a packet that was parsed. Returns the flow whose group or port it came to, if it is received.
    pub fn take_datagram(
        &mut self,
        datagram: &Datagram<'_>,
        segment: Option<NonZeroU16>,
        arrived_ns: u64,
    ) -> Option<u16> {
        let place = self.place(datagram)?;
        if datagram.payload.is_empty() {
            self.foreign += 1;
        }
        let before = self.received;
        for payload in payloads(datagram, segment) {
            self.take_payload(datagram, payload, place, arrived_ns);
        }
        (self.received > before).then_some(place)
    }

    /// Takes one to a port that nobody is to receive on: its intact packets are strays.
    pub fn take_stray(&mut self, datagram: &Datagram<'_>, segment: Option<NonZeroU16>) {
        if self.target.has_address(datagram.destination) {
            let intact = |payload: &&[u8]| Header::parse(payload).is_ok();
            self.strays += payloads(datagram, segment).filter(intact).count() as u64;
        }
    }

    /// The same of a packet that could not be parsed, and why.
    pub fn take_malformed(&mut self, malformed: Malformed, packet: &[u8]) {
        match malformed {
            Malformed::UdpChecksum => self.take_damaged(packet),
            // The header cannot be believed further than to say that it was most likely meant for us.
            Malformed::Ipv4Checksum if self.resembles_own(packet) => self.bad_checksum += 1,
            Malformed::Fragment if self.resembles_own(packet) => self.fragments += 1,
            // Shorter than it says.
            Malformed::Truncated if self.resembles_own(packet) => self.corrupted += 1,
            _ => {}
        }
    }

    /// The figures; with `expected` packets sent, loss is what lacks of them.
    pub fn report(&self, expected: Option<u64>) -> TallyReport {
        let flows = self.ledger.report(self.target.flows(), expected);
        let sum = |figure: fn(&FlowReport) -> u64| flows.iter().map(figure).sum();
        let lost = match expected {
            Some(expected) => expected.saturating_sub(self.distinct()),
            None => sum(|flow| flow.lost),
        };
        let silent = (0..self.target.flows()).zip(&self.heard).filter(|(_, heard)| !**heard);
        TallyReport {
            received: self.received,
            lost,
            duplicated: sum(|flow| flow.duplicated),
            reordered: sum(|flow| flow.reordered),
            bad_checksum: self.bad_checksum,
            corrupted: self.corrupted,
            foreign: self.foreign,
            fragments: self.fragments,
            latency_us: Latency::of(&self.latency),
            sources: self.distinct_of(|seen| seen.0),
            ttls: self.distinct_of(|seen| seen.1),
            dscps: self.distinct_of(|seen| seen.2),
            flows,
            silent: silent.map(|(place, _)| self.target.place_name(place)).collect(),
        }
    }

    /// Which of the target's groups or ports a datagram came to; absent when it is not the target's.
    fn place(&self, datagram: &Datagram<'_>) -> Option<u16> {
        if self.target.source().is_some_and(|source| source != datagram.source) {
            return None;
        }
        self.target.place(datagram.destination, datagram.destination_port)
    }

    fn take_payload(&mut self, datagram: &Datagram<'_>, payload: &[u8], place: u16, arrived_ns: u64) {
        let header = match Header::parse(payload) {
            Ok(header) => header,
            Err(NotIntact::Foreign) => {
                self.foreign += 1;
                return;
            }
            Err(NotIntact::Corrupted) => {
                self.corrupted += 1;
                return;
            }
        };
        if self
            .window
            .as_ref()
            .is_some_and(|window| !window.contains(&header.sequence) || header.flow != place)
        {
            self.strays += 1;
            return;
        }
        self.received += 1;
        self.heard[usize::from(place)] = true;
        self.ledger.enter(header.flow, header.sequence);
        if let Some(age) = header.age_ns(arrived_ns) {
            self.latency.saturating_record(age.max(1));
        }
        let seen = (datagram.source, datagram.ttl, datagram.dscp());
        if self.last_seen != Some(seen) {
            self.seen.insert(seen);
            self.last_seen = Some(seen);
        }
    }

    /// A UDP checksum is wrong: ours if the payload at least begins as ours do.
    fn take_damaged(&mut self, packet: &[u8]) {
        let Ok(datagram) = Datagram::parse_ip(packet, ChecksumTrust::Trusted) else { return };
        if self.place(&datagram).is_none() {
            return;
        }
        match Header::parse(datagram.payload) {
            Err(NotIntact::Foreign) => self.foreign += 1,
            Ok(_) | Err(NotIntact::Corrupted) => self.bad_checksum += 1,
        }
    }

    /// Whether a packet whose header is damaged or tells only half still names one of the target's addresses.
    fn resembles_own(&self, packet: &[u8]) -> bool {
        let destination = if self.target.address(0).is_ipv4() {
            packet.get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from)
        } else {
            packet.get(24..40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from)
        };
        destination.is_some_and(|destination| self.target.has_address(destination))
    }

    fn distinct_of<T: Ord>(&self, part: fn(&(IpAddr, u8, u8)) -> T) -> Vec<T> {
        self.seen.iter().map(part).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Those of a super-frame's datagrams, or of the one.
fn payloads<'a>(datagram: &Datagram<'a>, segment: Option<NonZeroU16>) -> std::slice::Chunks<'a, u8> {
    let segment = segment.map_or(datagram.payload.len(), |segment| segment.get().into());
    datagram.payload.chunks(segment.max(1))
}

impl TallyReport {
    /// Whether every packet arrived once and whole, and something did on each group or port.
    pub fn is_clean(&self) -> bool {
        let faults = self.lost + self.duplicated + self.bad_checksum + self.corrupted;
        faults == 0 && self.received > 0 && self.silent.is_empty()
    }
}

#[cfg(test)]
mod tests;
