//! Counters a worker writes and the supervisor reads, in memory they share.
//!
//! Each counter has one writer, so adding is a relaxed load and store. The supervisor keeps the memory:
//! totals survive a worker. Slots belong to rules and legs; the supervisor hands them out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::drop_reason::DropReason;
use crate::sys::mapping::Mapping;

/// A worker's totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum WorkerCounter {
    /// Frames taken from the ring, a super-frame as its segments.
    Received,
    /// Of those, frames that matched a rule.
    Matched,
    /// Of those, datagrams at least one leg took.
    Relayed,
    /// Datagrams handed to the kernel.
    Submitted,
    /// Of those, datagrams it took.
    Sent,
    /// Of those, datagrams it refused.
    Errors,
    /// UDP payload bytes of `Sent`.
    Bytes,
    /// Slot of the IPv4 ring up to which all are given back to the kernel.
    Released4,
    /// The same of the IPv6 ring.
    Released6,
    /// Slot of the IPv4 ring up to which all are relayed: where a successor goes on.
    Relayed4,
    /// The same of the IPv6 ring.
    Relayed6,
    /// Fragments of relayed slots that wait for others in the worker's own memory, and are not counted as received
    /// before they are settled. A successor finds here how many died with it.
    Held,
}

/// One rule's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum RuleCounter {
    /// Datagrams that matched.
    Matched,
    /// Of those, datagrams at least one leg took.
    Relayed,
    /// UDP payload bytes of `Relayed`.
    Bytes,
}

/// One leg's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum LegCounter {
    /// Datagrams the kernel took.
    Sent,
    /// Datagrams the kernel refused.
    Errors,
    /// UDP payload bytes of `Sent`.
    Bytes,
    /// Datagrams not sent because their TTL was used up.
    Ttl,
    /// Datagrams not sent because the leg was pending.
    Pending,
    /// ICMP errors that came back for datagrams sent.
    Unreachable,
    /// The last refusal's error number.
    LastError,
    /// 1 where the device refused segmentation offload (`gso=off`).
    GsoOff,
}

const DROPS_START: usize = 16;
const SLOTS_START: usize = 64;
const SLOT_WORDS: usize = 8;

const _: () = assert!(DROPS_START + DropReason::ALL.len() <= SLOTS_START);
const _: () = assert!(LegCounter::GsoOff as usize + 1 == SLOT_WORDS);

/// One worker's counters, as seen by it or by the supervisor.
#[derive(Debug)]
pub struct Counters(Mapping);

impl Counters {
    /// Makes the memory for `slots` rules and legs. Pages are taken only as slots are used.
    pub fn create(slots: u32) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("mcr-counters", MemfdFlags::CLOEXEC)?;
        let len = bytes_for(slots);
        ftruncate(&fd, len as u64)?;
        Ok((Self(Mapping::new(&fd, len)?), fd))
    }

    /// Maps memory made by [`Counters::create`] for as many slots.
    pub fn map(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        Ok(Self(Mapping::new(fd, bytes_for(slots))?))
    }

    /// A worker total.
    pub fn worker(&self, counter: WorkerCounter) -> u64 {
        self.load(counter as usize)
    }

    /// Frames dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.load(DROPS_START + reason as usize)
    }

    /// A rule's counter. Panics if the slot is out of range.
    pub fn rule(&self, slot: u32, counter: RuleCounter) -> u64 {
        self.load(word(slot) + counter as usize)
    }

    /// A leg's counter. Panics if the slot is out of range.
    pub fn leg(&self, slot: u32, counter: LegCounter) -> u64 {
        self.load(word(slot) + counter as usize)
    }

    /// Adds to a worker total.
    pub fn add_worker(&self, counter: WorkerCounter, n: u64) {
        self.add(counter as usize, n);
    }

    /// Sets a worker's position in a ring.
    pub fn set_worker(&self, counter: WorkerCounter, value: u64) {
        self.store(counter as usize, value);
    }

    /// Counts frames dropped.
    pub fn add_dropped(&self, reason: DropReason, n: u64) {
        self.add(DROPS_START + reason as usize, n);
    }

    /// Adds to a rule's counter.
    pub fn add_rule(&self, slot: u32, counter: RuleCounter, n: u64) {
        self.add(word(slot) + counter as usize, n);
    }

    /// Adds to a leg's counter.
    pub fn add_leg(&self, slot: u32, counter: LegCounter, n: u64) {
        self.add(word(slot) + counter as usize, n);
    }

    /// Sets a leg's last error or offload mark.
    pub fn set_leg(&self, slot: u32, counter: LegCounter, value: u64) {
        self.store(word(slot) + counter as usize, value);
    }

    /// Clears a slot for its next owner. Only while no table in force names it.
    pub fn clear_slot(&self, slot: u32) {
        for i in 0..SLOT_WORDS {
            self.store(word(slot) + i, 0);
        }
    }

    fn load(&self, index: usize) -> u64 {
        self.0.counters()[index].load(Ordering::Relaxed)
    }

    fn store(&self, index: usize, value: u64) {
        self.0.counters()[index].store(value, Ordering::Relaxed);
    }

    fn add(&self, index: usize, n: u64) {
        let counter = &self.0.counters()[index];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

fn word(slot: u32) -> usize {
    SLOTS_START + slot as usize * SLOT_WORDS
}

fn bytes_for(slots: u32) -> usize {
    word(slots) * size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_mapping_sees_what_the_first_counts() {
        let (writer, fd) = Counters::create(4).unwrap();
        let reader = Counters::map(&fd, 4).unwrap();
        writer.add_worker(WorkerCounter::Matched, 7);
        writer.add_dropped(DropReason::Egress, 2);
        writer.add_leg(3, LegCounter::GsoOff, 1);
        writer.add_rule(2, RuleCounter::Bytes, 1400);
        assert_eq!(reader.worker(WorkerCounter::Matched), 7);
        assert_eq!(reader.dropped(DropReason::Egress), 2);
        assert_eq!(reader.leg(3, LegCounter::GsoOff), 1);
        assert_eq!(reader.rule(2, RuleCounter::Bytes), 1400);
        reader.clear_slot(3);
        assert_eq!(writer.leg(3, LegCounter::GsoOff), 0);
        assert_eq!(writer.rule(2, RuleCounter::Bytes), 1400);
    }
}
