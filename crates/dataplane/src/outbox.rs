//! What is to be sent next: bursts of one socket's legs, handed to the kernel in one call.
//!
//! With many flows or hosts a batch is short, and a call for each leg costs as much as what it sends. Order within a leg
//! is kept. The fate of a batch is noted once all its legs have tried it.

use std::io::{self, IoSlice};
use std::ops::Range;

use crate::batch::{Batch, SEND_BYTES_MAX};
use crate::counters::LegCounter;
use crate::envelope::{Addressed, FLAGS};
use crate::frame::{Head, Run};
use crate::leg::{Bursts, Egress, Leg, Part, Taken, Way, charge_returned};
use crate::round::{Fate, Round};
use crate::sys::ring::{Ring, Span};
use crate::sys::sendmmsg::{Outgoing, sendmmsg};

/// Most bursts in one call. More gain nothing: with 32 the call itself is a fiftieth of what it does.
const BURSTS_MAX: usize = 32;

/// Room for payloads that are gathered: few batches of full length, as these gain nothing by waiting for each other.
const ARENA_BYTES: usize = 2 * SEND_BYTES_MAX;

/// Where the datagrams of a flow go.
#[derive(Debug)]
pub struct Outputs {
    /// The rule's slot among the counters.
    pub slot: u32,
    /// Its legs.
    pub legs: Box<[Leg]>,
    /// Slots of legs that are pending.
    pub pending: Box<[u32]>,
}

/// The bursts that wait, and the batches they are of.
#[derive(Debug)]
pub struct Outbox {
    bursts: Vec<Burst>,
    batches: Vec<Posted>,
    arena: Box<[u8]>,
    arena_used: usize,
    /// Empty batches: none is allocated in the steady state.
    spare: Vec<Batch>,
}

/// A part of a batch that a leg sends at once.
#[derive(Debug)]
struct Burst {
    /// Index of the batch among those that wait.
    batch: usize,
    /// Index among its flow's legs.
    leg: usize,
    socket: u32,
    part: Range<usize>,
    before: Before,
}

/// What stands before a burst's payloads.
#[derive(Debug)]
enum Before {
    Addressed(Addressed),
    Head(Head),
}

impl Before {
    fn parts<'a>(&'a self, payloads: &'a [u8]) -> [IoSlice<'a>; 2] {
        match self {
            Self::Addressed(_) => [&[], payloads],
            Self::Head(head) => [head.as_bytes(), payloads],
        }
        .map(IoSlice::new)
    }

    fn outgoing<'a>(&'a self, parts: &'a [IoSlice<'a>; 2]) -> Outgoing<'a> {
        match self {
            Self::Addressed(addressed) => addressed.outgoing(&parts[1..]),
            Self::Head(_) => Outgoing { to: None, parts, control: &[] },
        }
    }
}

#[derive(Debug)]
struct Posted {
    flow: u32,
    batch: Batch,
    payloads: Payloads,
    fate: Fate,
}

/// Where a batch's payloads stand, one behind the other.
#[derive(Debug, Clone)]
enum Payloads {
    InRing(Span),
    InArena(Range<usize>),
}

impl Payloads {
    fn bytes<'a>(&self, ring: &'a Ring, arena: &'a [u8]) -> &'a [u8] {
        match self {
            Self::InRing(span) => ring.bytes(*span),
            Self::InArena(range) => &arena[range.clone()],
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            bursts: Vec::with_capacity(BURSTS_MAX),
            batches: Vec::with_capacity(BURSTS_MAX),
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            arena_used: 0,
            spare: Vec::new(),
        }
    }
}

impl Outbox {
    /// An empty batch.
    pub fn batch(&mut self) -> Batch {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a batch to be sent on each leg of its flow, one of `flows`. What there is no room beside is sent first.
    pub fn post(
        &mut self,
        flow: u32,
        batch: Batch,
        flows: &mut [Outputs],
        round: &mut Round,
        egress: Egress<'_>,
    ) {
        if self.arena.len() - self.arena_used < batch.gathered_bytes() || self.batches.len() == BURSTS_MAX {
            self.send(flows, round, egress);
        }
        let legs = flows[flow as usize].legs.len();
        let payloads = if legs > 0 { self.gather(&batch, egress.ring) } else { Payloads::InArena(0..0) };
        self.batches.push(Posted { flow, batch, payloads, fate: Fate::NoLeg });
        for leg in 0..legs {
            self.post_on(leg, flows, egress);
        }
    }

    /// Sends all that waits, and notes what became of it.
    pub fn send(&mut self, flows: &mut [Outputs], round: &mut Round, egress: Egress<'_>) {
        self.submit(flows, egress);
        for Posted { flow, mut batch, fate, .. } in self.batches.drain(..) {
            let outputs = &flows[flow as usize];
            for slot in &outputs.pending {
                egress.counters.add_leg(*slot, LegCounter::Pending, batch.count() as u64);
            }
            round.note(outputs.slot, &batch, fate);
            batch.clear();
            self.spare.push(batch);
        }
        self.arena_used = 0;
    }

    /// The kernel takes one slice at half the cost of as many as there are datagrams, and each leg sends the same.
    fn gather(&mut self, batch: &Batch, ring: &Ring) -> Payloads {
        if let [only] = *batch.spans() {
            return Payloads::InRing(only);
        }
        let start = self.arena_used;
        for span in batch.spans() {
            let end = self.arena_used + span.len();
            self.arena[self.arena_used..end].copy_from_slice(ring.bytes(*span));
            self.arena_used = end;
        }
        Payloads::InArena(start..self.arena_used)
    }

    /// The batch posted last, on one leg.
    fn post_on(&mut self, leg: usize, flows: &mut [Outputs], egress: Egress<'_>) {
        let at = self.batches.len() - 1;
        let Posted { flow, batch, .. } = &self.batches[at];
        let outgoing = &mut flows[*flow as usize].legs[leg];
        let way = outgoing.way(batch, egress);
        if matches!(way, Way::Apart) && outgoing.takes_frames() {
            // Those of an earlier batch, which fitted, may wait.
            self.submit(flows, egress);
        }
        let Posted { flow, batch, payloads, fate } = &mut self.batches[at];
        let outgoing = &mut flows[*flow as usize].legs[leg];
        let outcome = match way {
            Way::Bursts(bursts) => return self.post_bursts(at, leg, &bursts, flows, egress),
            Way::Apart => {
                let (payloads, range) = (payloads.bytes(egress.ring, &self.arena), &(0..batch.count()));
                Fate::Tried(outgoing.send_apart(Part { batch, payloads, range }, egress))
            }
            Way::Refused => Fate::Tried(Taken::default()),
            Way::Expired => Fate::Ttl,
        };
        *fate = fate.or(outcome);
    }

    fn post_bursts(
        &mut self,
        at: usize,
        leg: usize,
        bursts: &Bursts,
        flows: &mut [Outputs],
        egress: Egress<'_>,
    ) {
        let count = self.batches[at].batch.count();
        for start in (0..count).step_by(bursts.most) {
            let other = self.bursts.first().is_some_and(|first| first.socket != bursts.socket);
            if other || self.bursts.len() == BURSTS_MAX {
                self.submit(flows, egress);
            }
            let part = start..(start + bursts.most).min(count);
            let Posted { flow, batch, payloads, fate } = &mut self.batches[at];
            match before(bursts, batch, &part, egress) {
                Ok(before) => {
                    self.bursts.push(Burst { batch: at, leg, socket: bursts.socket, part, before });
                }
                Err(error) => {
                    let leg = &mut flows[*flow as usize].legs[leg];
                    let payloads = payloads.bytes(egress.ring, &self.arena);
                    let part = Part { batch, payloads, range: &part };
                    *fate = fate.or(Fate::Tried(leg.failed(error, part, egress)));
                }
            }
        }
    }

    /// Hands the bursts to the kernel.
    fn submit(&mut self, flows: &mut [Outputs], egress: Egress<'_>) {
        let Self { bursts, batches, arena, .. } = self;
        let mut parts = [[IoSlice::new(&[]); 2]; BURSTS_MAX];
        for (burst, parts) in bursts.iter().zip(&mut parts) {
            let Posted { batch, payloads, .. } = &batches[burst.batch];
            *parts = burst.before.parts(&payloads.bytes(egress.ring, arena)[batch.bytes(&burst.part)]);
        }
        let mut messages = [Outgoing { to: None, parts: &[], control: &[] }; BURSTS_MAX];
        for ((burst, parts), message) in bursts.iter().zip(&parts).zip(&mut messages) {
            *message = burst.before.outgoing(parts);
        }
        let mut rest = &bursts[..];
        while let [first, others @ ..] = rest {
            let waiting = &messages[bursts.len() - rest.len()..bursts.len()];
            let sent = egress.socket(first.socket).and_then(|socket| sendmmsg(socket, waiting, FLAGS));
            match sent {
                Ok(count) => {
                    let (taken, left) = rest.split_at(count);
                    for burst in taken {
                        let Posted { flow, batch, fate, .. } = &mut batches[burst.batch];
                        let leg = &flows[*flow as usize].legs[burst.leg];
                        *fate = fate.or(Fate::Tried(leg.took(batch, &burst.part, egress)));
                    }
                    if !left.is_empty() {
                        // What was said of the next is lost; was it an ICMP error, it is in the queue.
                        charge_returned(first.socket, egress);
                    }
                    rest = left;
                }
                Err(error) => {
                    let Posted { flow, batch, payloads, fate } = &mut batches[first.batch];
                    let leg = &mut flows[*flow as usize].legs[first.leg];
                    let payloads = payloads.bytes(egress.ring, arena);
                    let part = Part { batch, payloads, range: &first.part };
                    *fate = fate.or(Fate::Tried(leg.failed(error, part, egress)));
                    rest = others;
                }
            }
        }
        bursts.clear();
    }
}

/// What stands before a part of a batch.
fn before(bursts: &Bursts, batch: &Batch, part: &Range<usize>, egress: Egress<'_>) -> io::Result<Before> {
    match bursts.link {
        Some(link) => {
            let run = Run::of(batch, part, egress.identifications);
            Head::new(link, &bursts.envelope, run).map(Before::Head)
        }
        None => Ok(Before::Addressed(bursts.envelope.address(batch.segment_of(part)))),
    }
}
