//! The flows of a forwarding table, and what waits to be sent of each.
//!
//! Order within a flow is kept. Every batch is sent before the round's frames are released.

use mcast::wire::Datagram;

use crate::batch::{Batch, Keeps, SEND_BYTES_MAX, Scratch};
use crate::counters::LegCounter;
use crate::leg::{Egress, Leg};
use crate::round::{Fate, Round};
use crate::sys::ring::Span;
use crate::table::FlowEntry;

/// The flows of a table, by index.
#[derive(Debug)]
pub struct Flows {
    flows: Vec<Flow>,
    /// Flows with something in their batch, in the order of its arrival.
    dirty: Vec<u32>,
    /// Empty batches: only flows in use hold memory, and none is allocated in the steady state.
    spare: Vec<Batch>,
    scratch: Box<Scratch>,
}

/// The datagrams of one rule.
#[derive(Debug)]
struct Flow {
    keeps: Keeps,
    outputs: Outputs,
    /// What waits; present from the first datagram to the end of the round.
    batch: Option<Batch>,
}

/// Where they go.
#[derive(Debug)]
struct Outputs {
    /// The rule's slot.
    slot: u32,
    legs: Box<[Leg]>,
    /// Slots of legs that are pending.
    pending: Box<[u32]>,
}

impl Flows {
    /// The flows of a table, in its order.
    pub fn new(entries: Vec<FlowEntry>) -> Self {
        let flow = |entry: FlowEntry| {
            let keeps = Keeps::of(&entry.legs);
            let legs = entry.legs.into_iter().map(Leg::new).collect();
            let outputs = Outputs { slot: entry.slot, legs, pending: entry.pending.into() };
            Flow { keeps, outputs, batch: None }
        };
        let flows = entries.into_iter().map(flow).collect();
        Self { flows, dirty: Vec::new(), spare: Vec::new(), scratch: Box::new([0; SEND_BYTES_MAX]) }
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
                Some(bytes) if bytes == rest.len() => return flow.outputs.legs.len(),
                Some(bytes) => rest = rest.part(bytes, rest.len() - bytes),
                None => {
                    flow.outputs.send(batch, &mut self.scratch, round, egress);
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
            flow.outputs.send(&batch, &mut self.scratch, round, egress);
            batch.clear();
            self.spare.push(batch);
        }
    }
}

impl Outputs {
    /// Sends a batch on each leg, and notes what became of it.
    fn send(&mut self, batch: &Batch, scratch: &mut Scratch, round: &mut Round, egress: Egress<'_>) {
        let payloads = batch.gather(egress.ring, scratch);
        let mut fate = Fate::NoLeg;
        for leg in &mut self.legs {
            fate = fate.or(match leg.send(batch, payloads, egress) {
                Some(taken) => Fate::Tried(taken),
                None => Fate::Ttl,
            });
        }
        for slot in &self.pending {
            egress.counters.add_leg(*slot, LegCounter::Pending, batch.count() as u64);
        }
        round.note(self.slot, batch, fate);
    }
}
