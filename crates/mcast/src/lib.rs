//! The nouns of multicast relaying and the wire formats they travel in.
//!
//! A [`Rule`] takes one [`Flow`] (what arrives) and republishes it on each of its [`Leg`]s (what leaves).
//! One notation writes them everywhere: file, command line, API, logs. This crate does no I/O; resolving
//! interface names, joining groups and moving packets is left to its users.
#![forbid(unsafe_code)]

mod check;
mod cores;
mod endpoint;
mod file;
mod file_place;
mod flow;
mod leg;
mod loops;
mod name;
pub mod reassembly;
mod rule;
mod serial;
mod set;
pub mod wire;
mod worker;

pub use check::{AddressError, OUTPUTS_MAX, RuleError, RulePart};
pub use cores::{CoreList, CoreListError};
pub use endpoint::{Endpoint, EndpointError};
pub use file::{FileError, Mistake, RuleFile};
pub use flow::Flow;
pub use leg::{Dscp, Leg, LegSource, SendAs, SourcePort, Ttl};
pub use name::{InterfaceName, NameError, RuleName};
pub use rule::{Engine, EngineError, Rule};
pub use set::{Diff, RULES_MAX, RuleSet, SetError, SetFault};
pub use worker::WorkerOptions;
