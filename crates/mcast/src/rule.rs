//! A rule: one flow in, legs out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Flow, Leg, RuleName};

/// A relay rule, the same type from file to API to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique in the running set.
    pub name: RuleName,
    /// What it takes.
    pub input: Flow,
    /// What it sends, one leg each; never empty in a valid rule.
    pub outputs: Vec<Leg>,
    /// Who moves the packets.
    #[serde(default)]
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

/// Why a text names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no engine {0:?}: write auto, userspace or tc")]
pub struct EngineError(String);

impl FromStr for Engine {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "auto" => Ok(Self::Auto),
            "userspace" => Ok(Self::Userspace),
            "tc" => Ok(Self::Tc),
            _ => Err(EngineError(text.to_owned())),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Userspace => "userspace",
            Self::Tc => "tc",
        })
    }
}
