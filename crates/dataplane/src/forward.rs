//! One round of forwarding: frames off a ring, each to its rule's legs, all sent and counted.

use std::os::fd::OwnedFd;

use mcast::wire::{Datagram, Malformed};
use rustc_hash::FxHashMap;

use crate::counters::{Counters, WorkerCounter};
use crate::drop_reason::DropReason;
use crate::hosts::Hosts;
use crate::legs::{Egress, Legs};
use crate::matcher::{Matcher, Verdict};
use crate::round::Round;
use crate::sys::ring::{Arrival, Frame, LinkTarget, Ring};
use crate::table::Table;

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
    /// Counter slot and legs of each flow; the legs are a range of all.
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
    legs: std::ops::Range<u32>,
}

impl Forwarder {
    /// Takes up a table.
    pub fn new(table: Table) -> Self {
        let matcher = Matcher::new(&table);
        let hosts = Hosts::new(table.legs());
        let mut end = 0;
        let flow = |entry: &crate::table::FlowEntry| {
            let start = end;
            end += entry.legs.len() as u32;
            Flow { slot: entry.slot, legs: start..end }
        };
        let flows = table.flows.iter().map(flow).collect();
        let legs = Legs::new(table.flows.into_iter().flat_map(|flow| flow.legs));
        Self { matcher, flows, legs, hosts, round: Round::with_capacity(2 * ROUND_DATAGRAMS), sends: 0 }
    }

    /// Relays what the ring holds, up to a round; answers how many frames that were. Releasing them is left to the
    /// caller.
    pub fn round(
        &mut self,
        ring: &mut Ring,
        counters: &Counters,
        sockets: &FxHashMap<u32, OwnedFd>,
    ) -> usize {
        let mut frames = 0;
        self.sends = 0;
        while frames < ROUND_DATAGRAMS && self.round.count() < ROUND_DATAGRAMS && self.sends < ROUND_SENDS {
            let Some(arrival) = ring.receive() else { break };
            frames += 1;
            match arrival {
                Arrival::Frame(frame) => {
                    let egress = Egress { ring, counters, sockets, hosts: &self.hosts };
                    let route = Route { matcher: &self.matcher, flows: &self.flows };
                    self.sends += route.frame(&frame, &mut self.legs, &mut self.round, egress);
                }
                Arrival::Truncated => {
                    counters.add_worker(WorkerCounter::Received, 1);
                    counters.add_dropped(DropReason::Truncated, 1);
                }
            }
        }
        if frames > 0 {
            let egress = Egress { ring, counters, sockets, hosts: &self.hosts };
            self.legs.flush(&mut self.round, egress);
            self.round.settle(counters);
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

impl Route<'_> {
    /// Answers how many datagrams it queued on legs.
    fn frame(&self, frame: &Frame, legs: &mut Legs, round: &mut Round, egress: Egress<'_>) -> usize {
        let packet = egress.ring.bytes(frame.packet);
        let mut count = 1;
        let reason = match frame.target {
            LinkTarget::OtherHost => DropReason::OtherHost,
            LinkTarget::Own => DropReason::OwnFrame,
            LinkTarget::Us => match Datagram::parse_ip(packet, frame.checksum) {
                Err(malformed) => reason_for(malformed),
                Ok(datagram) => {
                    count = segments(frame, &datagram) as u64;
                    match self.matcher.find(frame.ifindex, &datagram) {
                        Verdict::Flow(flow) => {
                            let flow = &self.flows[flow as usize];
                            self.relay(flow, frame, &datagram, legs, round, egress);
                            return flow.legs.len() * count as usize;
                        }
                        Verdict::WrongSource => DropReason::WrongSource,
                        Verdict::NoRule => DropReason::NoRule,
                        Verdict::Own => DropReason::OwnFrame,
                    }
                }
            },
        };
        egress.counters.add_worker(WorkerCounter::Received, count);
        egress.counters.add_dropped(reason, count);
        0
    }

    /// Queues each datagram of a frame on each leg of its flow.
    fn relay(
        &self,
        flow: &Flow,
        frame: &Frame,
        datagram: &Datagram<'_>,
        legs: &mut Legs,
        round: &mut Round,
        egress: Egress<'_>,
    ) {
        let packet = egress.ring.bytes(frame.packet);
        // The payload is a part of the packet, so the difference of their addresses is its offset.
        let offset = datagram.payload.as_ptr().addr() - packet.as_ptr().addr();
        let payload = frame.packet.part(offset, datagram.payload.len());
        let segment = frame.segment.map_or(usize::MAX, |bytes| bytes.get().into());
        let mut start = 0;
        loop {
            let bytes = (payload.len() - start).min(segment);
            let part = payload.part(start, bytes);
            let number = round.push(flow.slot, bytes);
            for leg in flow.legs.clone() {
                legs.push(leg, datagram, part, number, round, egress);
            }
            start += bytes;
            if start >= payload.len() {
                break;
            }
        }
    }
}

/// Datagrams in a frame: more than one in a super-frame.
fn segments(frame: &Frame, datagram: &Datagram<'_>) -> usize {
    frame.segment.map_or(1, |bytes| datagram.payload.len().div_ceil(usize::from(bytes.get())).max(1))
}

fn reason_for(malformed: Malformed) -> DropReason {
    match malformed {
        Malformed::Truncated | Malformed::Header => DropReason::Malformed,
        Malformed::Ipv4Checksum | Malformed::UdpChecksum => DropReason::BadChecksum,
        Malformed::NotUdp => DropReason::NotUdp,
        Malformed::Fragment => DropReason::Fragment,
    }
}
