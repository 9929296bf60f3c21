//! The supervisor: rules to forwarding tables, workers, memberships, counters.

pub mod capabilities;
pub mod handle;
pub mod links;
pub mod membership;
pub mod sources;
