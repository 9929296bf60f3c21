//! The supervisor: rules to forwarding tables, workers, memberships, counters.

pub mod handle;
