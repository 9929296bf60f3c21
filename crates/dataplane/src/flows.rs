//! The flows of a forwarding table, and what waits to be sent of each.
//!
//! Order within a flow is kept. Every batch is sent before the round's frames are released.

use std::io::IoSlice;

use mcast::wire::Datagram;

use crate::batch::{Batch, Keeps, SEGMENTS_MAX};
use crate::counters::LegCounter;
use crate::leg::{Egress, Leg};
use crate::round::{Fate, Round};
use crate::sys::ring::Span;
use crate::table::FlowEntry;

/// The flows of a table, by index.
#[derive(Debug, Default)]
pub struct Flows {
    flows: Vec<Flow>,
    /// Flows with something in their batch, in the order of its arrival.
    dirty: Vec<u32>,
    /// Empty batches: only flows in use hold memory, and none is allocated in the steady state.
    spare: Vec<Batch>,
}

/// What becomes of the datagrams of one rule.
#[derive(Debug)]
struct Flow {
    slot: u32,
    keeps: Keeps,
    legs: Box<[Leg]>,
    /// Slots of its legs that are pending.
    pending: Box<[u32]>,
    /// What waits; present from the first datagram to the end of the round.
    batch: Option<Batch>,
}

impl Flows {
    /// The flows of a table, in its order.
    pub fn new(entries: Vec<FlowEntry>) -> Self {
        let flow = |entry: FlowEntry| Flow {
            slot: entry.slot,
            keeps: Keeps::of(&entry.legs),
            legs: entry.legs.into_iter().map(Leg::new).collect(),
            pending: entry.pending.into(),
            batch: None,
        };
        Self { flows: entries.into_iter().map(flow).collect(), ..Self::default() }
    }

    /// Queues a datagram of a flow, or those a super-frame is cut into by `segment` bytes of payload each. What they
    /// cannot join is sent first. Answers how many legs they wait for.
    pub fn push(
        &mut self,
        index: u32,
        datagram: &Datagram<'_>,
        payload: Span,
        segment: usize,
        round: &mut Round,
        egress: Egress<'_>,
    ) -> usize {
        let flow = &mut self.flows[index as usize];
        let kept = flow.keeps.of_datagram(datagram);
        let batch = flow.batch.get_or_insert_with(|| {
            self.dirty.push(index);
            self.spare.pop().unwrap_or_default()
        });
        let mut rest = payload;
        loop {
            match batch.take(&kept, rest, segment) {
                Some(bytes) if bytes == rest.len() => return flow.legs.len(),
                Some(bytes) => rest = rest.part(bytes, rest.len() - bytes),
                None => {
                    send(&mut flow.legs, &flow.pending, flow.slot, batch, round, egress);
                    batch.clear();
                }
            }
        }
    }

    /// Sends everything queued.
    pub fn flush(&mut self, round: &mut Round, egress: Egress<'_>) {
        for index in self.dirty.drain(..) {
            let flow = &mut self.flows[index as usize];
            let Some(mut batch) = flow.batch.take() else { continue };
            send(&mut flow.legs, &flow.pending, flow.slot, &batch, round, egress);
            batch.clear();
            self.spare.push(batch);
        }
    }
}

/// Sends a batch on each leg of a flow, and notes what became of it.
fn send(legs: &mut [Leg], pending: &[u32], slot: u32, batch: &Batch, round: &mut Round, egress: Egress<'_>) {
    let all = 0..batch.count();
    let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
    let used = batch.slices(&all, egress.ring, &mut slices);
    let mut fate = Fate::NoLeg;
    for leg in legs {
        fate = fate.or(match leg.send(batch, &slices[..used], egress) {
            Some(taken) => Fate::Tried(taken),
            None => Fate::Ttl,
        });
    }
    for slot in pending {
        egress.counters.add_leg(*slot, LegCounter::Pending, batch.count() as u64);
    }
    round.note(slot, batch, fate);
}
