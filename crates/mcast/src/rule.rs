//! A rule: one flow in, legs out.

use crate::{Flow, Leg, RuleName};

/// A relay rule, the same type from file to API to worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Unique in the running set.
    pub name: RuleName,
    /// What it takes.
    pub input: Flow,
    /// What it sends, one leg each; never empty in a valid rule.
    pub outputs: Vec<Leg>,
    /// Who moves the packets.
    pub engine: Engine,
}

/// What moves a rule's packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The daemon's choice.
    #[default]
    Auto,
    /// Worker processes: packet ring in, UDP sockets out.
    Userspace,
    /// The kernel's traffic control hook.
    Tc,
}
