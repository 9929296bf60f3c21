//! One round of forwarding: frames off a ring, each to its rule's legs, all sent and counted.

use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

use mcast::reassembly::Whole;
use mcast::wire::{Datagram, Malformed, Piece};
use rustc_hash::FxHashMap;

use crate::counters::{Counters, LegCounter};
use crate::drop_reason::DropReason;
use crate::fragments::Fragments;
use crate::hosts::Hosts;
use crate::legs::{Egress, Legs};
use crate::matcher::{Matcher, Verdict};
use crate::round::Round;
use crate::sys::ring::{Arrival, Frame, LinkTarget, Ring, Span};
use crate::table::{FlowEntry, Table};

/// Datagrams taken before a flush: enough for full sends when behind, and a small part of a ring, whose
/// slots are held meanwhile.
const ROUND_DATAGRAMS: usize = 1024;

/// Datagrams queued on legs after which no further frame is taken: with a large fan-out a round of full length
/// takes seconds, and a change of rules or the order to stop would wait for its end.
const ROUND_SENDS: usize = 8192;

/// A table in force.
#[derive(Debug)]
pub struct Forwarder {
    matcher: Matcher,
    /// What becomes of each flow.
    flows: Vec<Flow>,
    legs: Legs,
    hosts: Hosts,
    round: Round,
    /// Datagrams queued on legs in this round.
    sends: usize,
}

#[derive(Debug)]
struct Flow {
    slot: u32,
    /// A range of all legs.
    legs: std::ops::Range<u32>,
    /// Slots of its legs that are pending.
    pending: Vec<u32>,
}

impl Forwarder {
    /// Takes up a table.
    pub fn new(table: Table) -> Self {
        let matcher = Matcher::new(&table);
        let hosts = Hosts::new(table.legs());
        let mut legs = Vec::new();
        let flow = |entry: FlowEntry| {
            let start = legs.len() as u32;
            legs.extend(entry.legs);
            Flow { slot: entry.slot, legs: start..legs.len() as u32, pending: entry.pending }
        };
        let flows = table.flows.into_iter().map(flow).collect();
        let legs = Legs::new(legs);
        Self { matcher, flows, legs, hosts, round: Round::with_capacity(2 * ROUND_DATAGRAMS), sends: 0 }
    }

    /// Relays what the ring holds, up to a round; answers how many frames that were. Releasing them is left to the
    /// caller.
    pub fn round(
        &mut self,
        ring: &mut Ring,
        fragments: &mut Fragments,
        counters: &Counters,
        sockets: &FxHashMap<u32, OwnedFd>,
    ) -> usize {
        let mut frames = 0;
        self.sends = 0;
        fragments.begin_round();
        let route = Route { matcher: &self.matcher, flows: &self.flows };
        while frames < ROUND_DATAGRAMS
            && self.round.count() < ROUND_DATAGRAMS
            && self.sends < ROUND_SENDS
            && ring.has_room()
        {
            let Some(arrival) = ring.receive() else { break };
            frames += 1;
            let Arrival::Frame(frame) = arrival else {
                self.round.drop(DropReason::Truncated, 1);
                continue;
            };
            let egress = Egress { ring, counters, sockets, hosts: &self.hosts };
            self.sends += match route.frame(&frame, &mut self.legs, &mut self.round, egress) {
                Some(sends) => sends,
                None => match route.fragment(&frame, fragments, ring, &mut self.round) {
                    Some(whole) => {
                        let egress = Egress { ring, counters, sockets, hosts: &self.hosts };
                        route.whole(&frame, whole, &mut self.legs, &mut self.round, egress)
                    }
                    None => 0,
                },
            };
        }
        if frames > 0 {
            let egress = Egress { ring, counters, sockets, hosts: &self.hosts };
            self.legs.flush(&mut self.round, egress);
            self.round.drop(DropReason::Fragment, fragments.take_dropped());
            self.round.settle(counters, fragments.held());
        }
        frames
    }

    /// Whether the last round ended for the number of its sends, not for want of frames.
    pub fn is_laden(&self) -> bool {
        self.sends >= ROUND_SENDS
    }
}

/// The part of a forwarder that frames do not change.
struct Route<'a> {
    matcher: &'a Matcher,
    flows: &'a [Flow],
}

/// A datagram off a ring.
struct Arrived<'a> {
    ifindex: u32,
    datagram: Datagram<'a>,
    /// The memory its payload is a part of.
    memory: Span,
    /// Payload bytes of each datagram, where this is a super-frame of several.
    segment: Option<NonZeroU16>,
    /// Frames it came in: fragments, or as if a super-frame's datagrams had come one by one.
    frames: u64,
}

impl Route<'_> {
    /// Answers how many datagrams it queued on legs; `None`: the frame is a fragment.
    fn frame(&self, frame: &Frame, legs: &mut Legs, round: &mut Round, egress: Egress<'_>) -> Option<usize> {
        let reason = match frame.target {
            LinkTarget::OtherHost => DropReason::OtherHost,
            LinkTarget::Own => DropReason::OwnFrame,
            LinkTarget::Us => match Datagram::parse_ip(egress.ring.bytes(frame.packet), frame.checksum) {
                Err(Malformed::Fragment) => return None,
                Err(malformed) => reason_for(malformed),
                Ok(datagram) => {
                    let Frame { ifindex, segment, packet: memory, .. } = *frame;
                    let frames = segments(segment, &datagram) as u64;
                    let arrived = Arrived { ifindex, datagram, memory, segment, frames };
                    return Some(self.datagram(&arrived, legs, round, egress));
                }
            },
        };
        round.drop(reason, 1);
        Some(0)
    }

    /// Takes a fragment that a rule may want; answers the datagram it completes: its memory and its frames.
    fn fragment(
        &self,
        frame: &Frame,
        fragments: &mut Fragments,
        ring: &mut Ring,
        round: &mut Round,
    ) -> Option<(Whole, Span)> {
        let reason = match Piece::parse_ip(ring.bytes(frame.packet)) {
            Err(malformed) => reason_for(malformed),
            Ok(None) => DropReason::Malformed,
            Ok(Some(piece)) => {
                let addresses = piece.header.addresses;
                match self.matcher.refusal(frame.ifindex, addresses.source(), addresses.destination()) {
                    Some(reason) => reason,
                    None => {
                        fragments.take(frame.ifindex, &piece);
                        return fragments.poll_whole(ring);
                    }
                }
            }
        };
        round.drop(reason, 1);
        None
    }

    /// Answers how many datagrams it queued on legs.
    fn whole(
        &self,
        frame: &Frame,
        (whole, memory): (Whole, Span),
        legs: &mut Legs,
        round: &mut Round,
        egress: Egress<'_>,
    ) -> usize {
        let (ifindex, frames) = (frame.ifindex, u64::from(whole.pieces));
        match whole.header.datagram(egress.ring.bytes(memory)) {
            Ok(datagram) => {
                let arrived = Arrived { ifindex, datagram, memory, segment: None, frames };
                self.datagram(&arrived, legs, round, egress)
            }
            Err(malformed) => {
                round.drop(reason_for(malformed), frames);
                0
            }
        }
    }

    /// Answers how many datagrams it queued on legs.
    fn datagram(
        &self,
        arrived: &Arrived<'_>,
        legs: &mut Legs,
        round: &mut Round,
        egress: Egress<'_>,
    ) -> usize {
        let reason = match self.matcher.find(arrived.ifindex, &arrived.datagram) {
            // No port of anybody's (RFC 6335, section 6): an output that keeps it could not be sent to.
            _ if arrived.datagram.destination_port == 0 => DropReason::Malformed,
            Verdict::Flow(flow) => {
                return self.relay(&self.flows[flow as usize], arrived, legs, round, egress);
            }
            Verdict::WrongSource => DropReason::WrongSource,
            Verdict::NoRule => DropReason::NoRule,
            Verdict::Own => DropReason::OwnFrame,
        };
        round.drop(reason, arrived.frames);
        0
    }

    /// Queues each datagram of what arrived on each leg of its flow; answers how many that were.
    fn relay(
        &self,
        flow: &Flow,
        arrived: &Arrived<'_>,
        legs: &mut Legs,
        round: &mut Round,
        egress: Egress<'_>,
    ) -> usize {
        let (memory, datagram) = (egress.ring.bytes(arrived.memory), &arrived.datagram);
        // The payload is a part of that memory, so the difference of their addresses is its offset.
        let offset = datagram.payload.as_ptr().addr() - memory.as_ptr().addr();
        let payload = arrived.memory.part(offset, datagram.payload.len());
        let segment = arrived.segment.map_or(usize::MAX, |bytes| bytes.get().into());
        let (mut start, mut count) = (0, 0);
        loop {
            let bytes = (payload.len() - start).min(segment);
            let part = payload.part(start, bytes);
            let number = round.push(flow.slot, bytes);
            for leg in flow.legs.clone() {
                legs.push(leg, datagram, part, number, round, egress);
            }
            count += 1;
            start += bytes;
            if start >= payload.len() {
                break;
            }
        }
        for slot in &flow.pending {
            egress.counters.add_leg(*slot, LegCounter::Pending, count);
        }
        round.reassembled(arrived.frames - count);
        flow.legs.len() * count as usize
    }
}

/// Datagrams in a frame: more than one in a super-frame.
fn segments(segment: Option<NonZeroU16>, datagram: &Datagram<'_>) -> usize {
    segment.map_or(1, |bytes| datagram.payload.len().div_ceil(usize::from(bytes.get())).max(1))
}

fn reason_for(malformed: Malformed) -> DropReason {
    match malformed {
        Malformed::Truncated | Malformed::Header => DropReason::Malformed,
        Malformed::Ipv4Checksum | Malformed::UdpChecksum => DropReason::BadChecksum,
        Malformed::NotUdp => DropReason::NotUdp,
        Malformed::Fragment => DropReason::Fragment,
    }
}
