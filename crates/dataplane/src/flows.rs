//! The flows of a forwarding table, and what waits to be sent of each.
//!
//! Order within a flow is kept. Every batch is sent before the round's frames are released.

use mcast::wire::Datagram;

use crate::batch::{Batch, Keeps};
use crate::leg::{Egress, Leg};
use crate::outbox::{Outbox, Outputs};
use crate::round::Round;
use crate::sys::ring::Span;
use crate::table::FlowEntry;

/// The flows of a table, by index.
#[derive(Debug)]
pub struct Flows {
    flows: Vec<Flow>,
    /// Where each goes.
    outputs: Vec<Outputs>,
    /// Flows with something in their batch, in the order of its arrival.
    dirty: Vec<u32>,
    outbox: Outbox,
}

/// The datagrams of one rule.
#[derive(Debug)]
struct Flow {
    keeps: Keeps,
    /// What waits; present from the first datagram to the end of the round.
    batch: Option<Batch>,
}

impl Flows {
    /// The flows of a table, in its order.
    pub fn new(entries: Vec<FlowEntry>) -> Self {
        let flows = entries.iter().map(|entry| Flow { keeps: Keeps::of(&entry.legs), batch: None }).collect();
        let outputs = entries.into_iter().map(|entry| Outputs {
            slot: entry.slot,
            legs: entry.legs.into_iter().map(Leg::new).collect(),
            pending: entry.pending.into(),
        });
        Self { flows, outputs: outputs.collect(), dirty: Vec::new(), outbox: Outbox::default() }
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
        let Self { flows, outputs, dirty, outbox } = self;
        let flow = &mut flows[index as usize];
        let kept = flow.keeps.of_datagram(datagram);
        let batch = flow.batch.get_or_insert_with(|| {
            dirty.push(index);
            outbox.batch()
        });
        let mut rest = payload;
        loop {
            match batch.take(&kept, rest, segment) {
                Some(bytes) if bytes == rest.len() => return outputs[index as usize].legs.len(),
                Some(bytes) => rest = rest.part(bytes, rest.len() - bytes),
                None => {
                    let full = std::mem::replace(batch, outbox.batch());
                    outbox.post(index, full, outputs, round, egress);
                }
            }
        }
    }

    /// Sends everything queued.
    pub fn flush(&mut self, round: &mut Round, egress: Egress<'_>) {
        for index in self.dirty.drain(..) {
            if let Some(batch) = self.flows[index as usize].batch.take() {
                self.outbox.post(index, batch, &mut self.outputs, round, egress);
            }
        }
        self.outbox.send(&mut self.outputs, round, egress);
    }
}
