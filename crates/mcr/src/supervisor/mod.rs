//! The supervisor: from rules to forwarding tables, workers that follow them, memberships, and counters.
//!
//! One task owns all state ([`running::Running`]); the control interface reaches it through
//! [`handle::Request`]s. It never touches a payload.

pub mod args;
pub mod capabilities;
pub mod case;
pub mod compile;
pub mod daemon;
pub mod descriptors;
pub mod egress;
pub mod examinations;
pub mod fence;
pub mod handle;
pub mod links;
pub mod logging;
pub mod membership;
pub mod notify;
pub mod output;
pub mod places;
pub mod ports;
pub mod report;
pub mod rings;
pub mod running;
pub mod slots;
pub mod sockets;
pub mod sources;
pub mod telemetry;
pub mod troubles;
pub mod workers;
