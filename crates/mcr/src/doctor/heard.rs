//! What was heard of arriving packets: how many of each kind, per interface and destination.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use super::case::RuleCase;
use super::pieces::Pieces;
use dataplane::matcher::{Matcher, Verdict};
use dataplane::sys::ring::{Frame, LinkHeader, LinkTarget};
use mcast::wire::ethernet::EtherType;
use mcast::wire::{ChecksumTrust, Datagram, Malformed, vlan};

/// Packets heard of all rules together, about.
const PACKETS: u64 = 20_000;

/// Packets heard of one rule, at least and at most.
const PACKETS_EACH: (u64, u64) = (64, 1_000);

/// What packets of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Source address.
    pub(super) source: IpAddr,
    /// Destination port; absent: it cannot be read.
    pub(super) port: Option<u16>,
    /// VLAN they are tagged with.
    pub(super) vlan: Option<NonZeroU16>,
    /// TTL or hop limit at arrival.
    pub(super) ttl: u8,
    /// What a worker does with them.
    pub(super) fate: Fate,
}

/// What a worker does with a packet, VLAN tags aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// The flow of this index takes it.
    Taken(u32),
    /// Rules name its destination, none takes it: its source or port is another.
    Unwanted,
    /// The relay sent it.
    Own,
    /// The link layer addressed it to another host.
    OtherHost,
    /// A checksum is wrong.
    BadChecksum,
    /// A header is.
    Malformed,
}

/// Packets of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// How many, a super-frame as one.
    pub(super) count: u64,
    /// UDP payload of the longest datagram in bytes.
    pub(super) longest: usize,
}

/// Packets to one destination on one interface.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By kind.
    pub(super) kinds: HashMap<Kind, Tally>,
    /// All frames.
    pub(super) count: u64,
    /// Of those, fragments; they are of a kind once they make a packet.
    pub(super) fragments: u64,
    /// Of those, fragments that made a packet.
    pub(super) joined: u64,
    /// Most that are heard of it.
    most: u64,
}

/// All that was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// By interface index and destination; an entry for each that was listened to.
    pub(super) arrivals: HashMap<(u32, IpAddr), Arrivals>,
    /// How long was listened.
    pub(super) time: Duration,
    /// Why it could not be listened.
    pub(super) deaf: Option<String>,
    /// There once a fragment came.
    pieces: Option<Pieces>,
}

impl Heard {
    /// Nothing yet, on the interfaces and destinations of these rules. Together, whatever arrives, little more than
    /// [`PACKETS`] will be kept, or [`PACKETS_EACH`] a rule.
    pub(super) fn of(rules: &[RuleCase]) -> Self {
        let mut heard = Self::default();
        let each = (PACKETS / rules.len().max(1) as u64).clamp(PACKETS_EACH.0, PACKETS_EACH.1);
        for place in rules.iter().filter_map(RuleCase::arrival) {
            heard.arrivals.entry(place).or_default().most += each;
        }
        heard
    }

    /// Counts a frame; `packet` is what follows the link header. What is no UDP, or for none of the destinations, is left.
    pub(super) fn take(&mut self, frame: &Frame, link: LinkHeader, packet: &[u8], matcher: &Matcher) {
        let Ok((tags, ethertype, packet)) = vlan::Stack::parse(EtherType(link.ether_type), packet) else {
            return;
        };
        let Some(header) = IpHeader::read(ethertype, packet) else { return };
        let Some(arrivals) = self.arrivals.get_mut(&(frame.ifindex, header.destination)) else { return };
        let parsed = Datagram::parse_ip(packet, frame.checksum);
        if parsed == Err(Malformed::NotUdp) {
            return;
        }
        arrivals.count += 1;
        // An identifier of 0 is a priority tag: it is as if there were none.
        let inner = tags.iter().map(|tag| tag.vid);
        let vlan = link.vlan.into_iter().chain(inner).find_map(NonZeroU16::new);
        let whole = match parsed {
            Err(Malformed::Fragment) if frame.target == LinkTarget::Us && vlan.is_none() => {
                arrivals.fragments += 1;
                let pieces = self.pieces.get_or_insert_default();
                let Some((joined, whole)) = pieces.take(frame.ifindex, packet) else { return };
                arrivals.joined += joined;
                whole
            }
            parsed => parsed,
        };
        let (datagram, fate) = judge(frame, packet, whole, matcher);
        let port = datagram.map(|datagram| datagram.destination_port);
        let payload = datagram.map_or(0, |datagram| datagram.payload.len());
        let payload = frame.segment.map_or(payload, |segment| payload.min(segment.get().into()));
        let tally = arrivals
            .kinds
            .entry(Kind { source: header.source, port, vlan, ttl: header.ttl, fate })
            .or_default();
        tally.count += 1;
        tally.longest = tally.longest.max(payload);
    }
}

/// What a worker does with a packet that was parsed, VLAN tags aside; and the packet, as far as it can be read.
fn judge<'a>(
    frame: &Frame,
    packet: &'a [u8],
    parsed: Result<Datagram<'a>, Malformed>,
    matcher: &Matcher,
) -> (Option<Datagram<'a>>, Fate) {
    let of = |datagram: &Datagram<'_>| match (frame.target, matcher.find(frame.ifindex, datagram)) {
        (LinkTarget::OtherHost, _) => Fate::OtherHost,
        (LinkTarget::Own, _) | (_, Verdict::Own) => Fate::Own,
        (_, Verdict::Flow(flow)) => Fate::Taken(flow),
        (_, Verdict::WrongSource | Verdict::NoRule) => Fate::Unwanted,
    };
    match parsed {
        Ok(datagram) => (Some(datagram), of(&datagram)),
        Err(Malformed::Ipv4Checksum | Malformed::UdpChecksum) => {
            // Ports are readable all the same, and may be none of the rule's.
            let datagram = Datagram::parse_ip(packet, ChecksumTrust::Partial).ok();
            let fate = datagram.as_ref().map(of).filter(|fate| *fate == Fate::Unwanted);
            (datagram, fate.unwrap_or(Fate::BadChecksum))
        }
        Err(_) if frame.target == LinkTarget::OtherHost => (None, Fate::OtherHost),
        Err(_) => (None, Fate::Malformed),
    }
}

impl Arrivals {
    /// Whether as many were heard as are to be: more may have arrived.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.most
    }
}

/// What is read of a packet whatever is wrong with it.
struct IpHeader {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
}

impl IpHeader {
    fn read(ethertype: EtherType, packet: &[u8]) -> Option<Self> {
        let v4 = |at: usize| packet[at..].first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into());
        let v6 = |at: usize| packet[at..].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into());
        match ethertype {
            EtherType::IPV4 if packet.len() >= 20 => {
                Some(Self { source: v4(12)?, destination: v4(16)?, ttl: packet[8] })
            }
            EtherType::IPV6 if packet.len() >= 40 => {
                Some(Self { source: v6(8)?, destination: v6(24)?, ttl: packet[7] })
            }
            _ => None,
        }
    }
}
