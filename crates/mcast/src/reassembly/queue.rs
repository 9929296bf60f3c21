//! Datagrams waiting for pieces: found by key, in the order they began, and in that of their last piece.
//!
//! A fixed number of places, linked by number: nothing here can grow.

use std::hash::{BuildHasher as _, RandomState};

use super::blocks::NONE;
use super::pending::{Key, Pending};

/// Most datagrams at a time.
pub(super) const DATAGRAMS_MAX: usize = 4096;

/// Bytes of memory all places take.
pub(super) const QUEUE_COST: usize = DATAGRAMS_MAX * (size_of::<Place>() + size_of::<u16>());

/// An order in which datagrams stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// That of each one's first piece, and so of its deadline.
    Begun,
    /// That of each one's last piece.
    Touched,
}

const ORDERS: [Order; 2] = [Order::Begun, Order::Touched];

#[derive(Debug, Clone, Copy)]
struct Neighbours {
    earlier: u16,
    later: u16,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    earliest: u16,
    latest: u16,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    pending: Pending,
    neighbours: [Neighbours; ORDERS.len()],
    /// The next of the same hash, or the next free one.
    next: u16,
}

/// The places.
#[derive(Debug)]
pub(super) struct Queue {
    places: Vec<Place>,
    /// First place of each hash.
    heads: Vec<u16>,
    hasher: RandomState,
    ends: [Ends; ORDERS.len()],
    /// Used before and free now.
    free: u16,
}

impl Queue {
    /// An empty one. Keys are hashed with secrets of its own, as strangers choose them.
    pub(super) fn new() -> Self {
        Self {
            places: Vec::with_capacity(DATAGRAMS_MAX),
            heads: vec![NONE; DATAGRAMS_MAX],
            hasher: RandomState::new(),
            ends: [Ends { earliest: NONE, latest: NONE }; ORDERS.len()],
            free: NONE,
        }
    }

    /// Whether another must go before one can be added.
    pub(super) fn is_full(&self) -> bool {
        self.free == NONE && self.places.len() == DATAGRAMS_MAX
    }

    /// Bytes taken beside its own size.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.heads.capacity() * size_of::<u16>()
    }

    /// Datagrams there are, by the order they began.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let start = self.earliest(Order::Begun);
        let later = |at: &u16| Some(self.place(*at).neighbours[0].later).filter(|&at| at != NONE);
        std::iter::successors(start, later).count()
    }

    /// The place of the earliest in an order.
    pub(super) fn earliest(&self, order: Order) -> Option<u16> {
        Some(self.ends[order as usize].earliest).filter(|&at| at != NONE)
    }

    /// The place of the datagram with this key.
    pub(super) fn find(&self, key: &Key) -> Option<u16> {
        let mut at = self.heads[self.bucket(key)];
        while at != NONE && self.place(at).pending.key != *key {
            at = self.place(at).next;
        }
        Some(at).filter(|&at| at != NONE)
    }

    /// Adds a datagram as the latest; answers its place. Panics where all are taken.
    pub(super) fn push(&mut self, pending: Pending) -> u16 {
        let bucket = self.bucket(&pending.key);
        let alone = Neighbours { earlier: NONE, later: NONE };
        let place = Place { pending, neighbours: [alone; ORDERS.len()], next: self.heads[bucket] };
        let at = self.free;
        let at = if at == NONE {
            assert!(self.places.len() < DATAGRAMS_MAX, "a place for one more datagram");
            self.places.push(place);
            (self.places.len() - 1) as u16
        } else {
            self.free = self.place(at).next;
            *self.place_mut(at) = place;
            at
        };
        self.heads[bucket] = at;
        ORDERS.iter().for_each(|&order| self.append(order, at));
        at
    }

    /// Makes a datagram the latest touched.
    pub(super) fn touch(&mut self, at: u16) {
        self.unlink(Order::Touched, at);
        self.append(Order::Touched, at);
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, at: u16) {
        ORDERS.iter().for_each(|&order| self.unlink(order, at));
        let bucket = self.bucket(&self.place(at).pending.key);
        let next = self.place(at).next;
        if self.heads[bucket] == at {
            self.heads[bucket] = next;
        } else {
            let mut before = self.heads[bucket];
            while self.place(before).next != at {
                before = self.place(before).next;
            }
            self.place_mut(before).next = next;
        }
        self.place_mut(at).next = self.free;
        self.free = at;
    }

    /// The datagram at a place that is taken.
    pub(super) fn at(&self, at: u16) -> &Pending {
        &self.place(at).pending
    }

    /// The same, to be changed; never its key.
    pub(super) fn at_mut(&mut self, at: u16) -> &mut Pending {
        &mut self.place_mut(at).pending
    }

    fn append(&mut self, order: Order, at: u16) {
        let order = order as usize;
        let latest = self.ends[order].latest;
        self.place_mut(at).neighbours[order] = Neighbours { earlier: latest, later: NONE };
        if latest == NONE {
            self.ends[order].earliest = at;
        } else {
            self.place_mut(latest).neighbours[order].later = at;
        }
        self.ends[order].latest = at;
    }

    fn unlink(&mut self, order: Order, at: u16) {
        let order = order as usize;
        let Neighbours { earlier, later } = self.place(at).neighbours[order];
        if earlier == NONE {
            self.ends[order].earliest = later;
        } else {
            self.place_mut(earlier).neighbours[order].later = later;
        }
        if later == NONE {
            self.ends[order].latest = earlier;
        } else {
            self.place_mut(later).neighbours[order].earlier = earlier;
        }
    }

    fn bucket(&self, key: &Key) -> usize {
        self.hasher.hash_one(key) as usize % DATAGRAMS_MAX
    }

    fn place(&self, at: u16) -> &Place {
        &self.places[usize::from(at)]
    }

    fn place_mut(&mut self, at: u16) -> &mut Place {
        &mut self.places[usize::from(at)]
    }
}
