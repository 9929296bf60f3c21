//! The legs of a forwarding table, and what waits to be sent on them.
//!
//! Order within a leg is kept. Every batch is flushed before the round's frames are released.

use std::os::fd::OwnedFd;

use mcast::wire::Datagram;
use rustc_hash::FxHashMap;

use crate::batch::Batch;
use crate::counters::{Counters, LegCounter};
use crate::hosts::Hosts;
use crate::leg::Leg;
use crate::round::Round;
use crate::sys::ring::{Ring, Span};
use crate::table::LegEntry;

/// What a flush works with, apart from the legs themselves.
#[derive(Debug, Clone, Copy)]
pub struct Egress<'a> {
    /// The ring the spans are of.
    pub ring: &'a Ring,
    /// Where results are counted.
    pub counters: &'a Counters,
    /// The egress sockets, by the number the supervisor gave them.
    pub sockets: &'a FxHashMap<u32, OwnedFd>,
    /// To whom an ICMP error belongs.
    pub hosts: &'a Hosts,
}

/// The legs of a table, by index.
#[derive(Debug, Default)]
pub struct Legs {
    legs: Vec<Leg>,
    /// Legs with something in their batch, in the order of its arrival.
    dirty: Vec<u32>,
    /// Empty batches: only legs in use hold memory, and none is allocated in the steady state.
    spare: Vec<Batch>,
}

impl Legs {
    /// The legs of a table, in its order.
    pub fn new(entries: Vec<LegEntry>) -> Self {
        Self { legs: entries.into_iter().map(Leg::new).collect(), ..Self::default() }
    }

    /// Queues a datagram on a leg, sending first what it cannot join.
    pub fn push(
        &mut self,
        index: u32,
        datagram: &Datagram<'_>,
        payload: Span,
        number: u16,
        round: &mut Round,
        egress: Egress<'_>,
    ) {
        let leg = &mut self.legs[index as usize];
        let Some(envelope) = leg.envelope(datagram) else {
            egress.counters.add_leg(leg.slot(), LegCounter::Ttl, 1);
            round.expired(number);
            return;
        };
        round.tried(number);
        if leg.batch.is_none() {
            leg.batch = Some(self.spare.pop().unwrap_or_default());
            self.dirty.push(index);
        }
        leg.append(envelope, payload, number, round, egress);
    }

    /// Sends everything queued.
    pub fn flush(&mut self, round: &mut Round, egress: Egress<'_>) {
        for index in self.dirty.drain(..) {
            let leg = &mut self.legs[index as usize];
            leg.flush(round, egress);
            self.spare.extend(leg.batch.take());
        }
    }
}
