//! The nouns of multicast relaying and the wire formats they travel in.
//!
//! A [`Rule`] takes one [`Flow`] (what arrives) and republishes it on each of its [`Leg`]s (what leaves).
//! One notation writes them everywhere: file, command line, API, logs. This crate does no I/O; resolving
//! interface names, joining groups and moving packets is left to its users.
#![forbid(unsafe_code)]

mod endpoint;
mod flow;
mod leg;
mod name;
mod rule;
pub mod wire;

pub use endpoint::{Endpoint, EndpointError};
pub use flow::Flow;
pub use leg::{Dscp, Leg, LegSource, SourcePort, Ttl};
pub use name::{InterfaceName, NameError, RuleName};
pub use rule::{Engine, Rule};
