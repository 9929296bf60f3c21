//! One round of forwarding: frames off a ring, each to its rule's legs, all sent and counted.

use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, OwnedFd};

use mcast::reassembly::Whole;
use mcast::wire::{Datagram, Malformed, Piece};
use rustc_hash::FxHashMap;

use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::flows::Flows;
use crate::fragments::Fragments;
use crate::hosts::Hosts;
use crate::leg::Egress;
use crate::matcher::{Matcher, Verdict};
use crate::raw::Identifications;
use crate::round::Round;
use crate::sys::ring::{Arrival, Frame, LinkTarget, Ring, Span};
use crate::table::Table;

/// Datagrams taken before a flush. What is behind is sent in long runs, also where a thousand flows take turns: a run
/// costs little more than a datagram. It is there already, so nothing waits for it.
const ROUND_DATAGRAMS: usize = 4096;

/// Part of a ring's slots that a round may hold: those it has not released are missing where frames arrive.
const ROUND_SHARE: usize = 3;

/// Datagrams queued on legs after which no further frame is taken: with a large fan-out a round of full length
/// takes seconds, and a change of rules or the order to stop would wait for its end.
const ROUND_SENDS: usize = 8192;

/// What outlives a table.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// Where everything is counted.
    pub counters: &'a Counters,
    /// The egress sockets, by number.
    pub sockets: &'a FxHashMap<u32, OwnedFd>,
    /// For datagrams that are fragmented here.
    pub identifications: &'a Identifications,
}

/// A table in force.
#[derive(Debug)]
pub struct Forwarder {
    matcher: Matcher,
    flows: Flows,
    hosts: Hosts,
    round: Round,
    /// Whether the last round ended for the number of its sends, not for want of frames.
    laden: bool,
}

/// What a round has to send: datagrams, and how often one was queued on a leg.
#[derive(Debug, Clone, Copy, Default)]
struct Queued {
    datagrams: usize,
    sends: usize,
}

impl Forwarder {
    /// Takes up a table.
    pub fn new(table: Table) -> Self {
        let matcher = Matcher::new(&table);
        let hosts = Hosts::new(&table);
        let flows = Flows::new(table.flows);
        let round = Round::with_capacity(2 * ROUND_DATAGRAMS);
        Self { matcher, flows, hosts, round, laden: false }
    }

    /// Relays what the ring holds, up to a round; answers how many frames that were. Releasing them is left to the
    /// caller.
    pub fn round(&mut self, ring: &mut Ring, fragments: &mut Fragments, shared: Shared<'_>) -> usize {
        let Shared { counters, sockets, identifications } = shared;
        let mut frames = 0;
        let most = ROUND_DATAGRAMS.min(ring.slots().div_ceil(ROUND_SHARE));
        let mut queued = Queued::default();
        fragments.begin_round();
        while frames < most && queued.datagrams < most && queued.sends < ROUND_SENDS && ring.has_room() {
            let Some(arrival) = ring.receive() else { break };
            frames += 1;
            let Arrival::Frame(frame) = arrival else {
                self.round.drop(DropReason::Truncated, 1);
                continue;
            };
            let mut route = Route {
                matcher: &self.matcher,
                flows: &mut self.flows,
                round: &mut self.round,
                queued: &mut queued,
            };
            let hosts = &self.hosts;
            if route.frame(&frame, Egress { ring, counters, sockets, hosts, identifications }) {
                continue;
            }
            if let Some(whole) = route.fragment(&frame, fragments, ring) {
                route.whole(&frame, whole, Egress { ring, counters, sockets, hosts, identifications });
            }
        }
        if frames > 0 {
            let hosts = &self.hosts;
            self.flows.flush(&mut self.round, Egress { ring, counters, sockets, hosts, identifications });
            self.round.drop(DropReason::Fragment, fragments.take_dropped());
            self.round.settle(counters, fragments.held());
        }
        self.laden = queued.sends >= ROUND_SENDS;
        frames
    }

    /// Charges legs with the ICMP errors that have come back: for sockets that have nothing to send, and so would not be
    /// told of errors that are others', too.
    pub fn charge_returned(&self, shared: Shared<'_>) {
        for (number, socket) in shared.sockets {
            self.hosts.charge(*number, socket.as_fd(), shared.counters);
        }
    }

    /// Whether the last round ended for the number of its sends, not for want of frames.
    pub fn is_laden(&self) -> bool {
        self.laden
    }
}

/// The way of frames through a forwarder.
struct Route<'a> {
    matcher: &'a Matcher,
    flows: &'a mut Flows,
    round: &'a mut Round,
    queued: &'a mut Queued,
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
    /// Queues a frame's datagrams on the legs of their flow, or drops it; answers `false` where it is a fragment.
    fn frame(&mut self, frame: &Frame, egress: Egress<'_>) -> bool {
        let reason = match frame.target {
            LinkTarget::OtherHost => DropReason::OtherHost,
            LinkTarget::Own => DropReason::OwnFrame,
            LinkTarget::Us => match Datagram::parse_ip(egress.ring.bytes(frame.packet), frame.checksum) {
                Err(Malformed::Fragment) => return false,
                Err(malformed) => reason_for(malformed),
                Ok(datagram) => {
                    let Frame { ifindex, segment, packet: memory, .. } = *frame;
                    let frames = segments(segment, &datagram) as u64;
                    self.datagram(&Arrived { ifindex, datagram, memory, segment, frames }, egress);
                    return true;
                }
            },
        };
        self.round.drop(reason, 1);
        true
    }

    /// Takes a fragment that a rule may want; answers the datagram it completes: its memory and its frames.
    fn fragment(
        &mut self,
        frame: &Frame,
        fragments: &mut Fragments,
        ring: &mut Ring,
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
        self.round.drop(reason, 1);
        None
    }

    fn whole(&mut self, frame: &Frame, (whole, memory): (Whole, Span), egress: Egress<'_>) {
        let (ifindex, frames) = (frame.ifindex, u64::from(whole.pieces));
        match whole.header.datagram(egress.ring.bytes(memory)) {
            Ok(datagram) => {
                self.datagram(&Arrived { ifindex, datagram, memory, segment: None, frames }, egress);
            }
            Err(malformed) => self.round.drop(reason_for(malformed), frames),
        }
    }

    fn datagram(&mut self, arrived: &Arrived<'_>, egress: Egress<'_>) {
        let reason = match self.matcher.find(arrived.ifindex, &arrived.datagram) {
            // No port of anybody's (RFC 6335, section 6): an output that keeps it could not be sent to.
            _ if arrived.datagram.destination_port == 0 => DropReason::Malformed,
            Verdict::Flow(flow) => return self.relay(flow, arrived, egress),
            Verdict::WrongSource => DropReason::WrongSource,
            Verdict::NoRule => DropReason::NoRule,
            Verdict::Own => DropReason::OwnFrame,
        };
        self.round.drop(reason, arrived.frames);
    }

    /// Queues each datagram of what arrived on each leg of its flow.
    fn relay(&mut self, flow: u32, arrived: &Arrived<'_>, egress: Egress<'_>) {
        let (memory, datagram) = (egress.ring.bytes(arrived.memory), &arrived.datagram);
        // The payload is a part of that memory, so the difference of their addresses is its offset.
        let offset = datagram.payload.as_ptr().addr() - memory.as_ptr().addr();
        let payload = arrived.memory.part(offset, datagram.payload.len());
        let segment = arrived.segment.map_or(usize::MAX, |bytes| bytes.get().into());
        let count = segments(arrived.segment, datagram);
        let legs = self.flows.push(flow, datagram, payload, segment, self.round, egress);
        self.round.reassembled(arrived.frames - count as u64);
        self.queued.datagrams += count;
        self.queued.sends += legs * count;
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
