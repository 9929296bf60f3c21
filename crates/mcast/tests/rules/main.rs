//! Rules from their notation to sets, through the public interface.
#![expect(clippy::unwrap_used, reason = "what a test sets up fails like the test")]

mod file;
mod notation;
mod refusals;
mod serial;
mod set;
mod strategies;

use mcast::Rule;

/// A rule in notation.
fn rule(name: &str, input: &str, outputs: &[&str]) -> Rule {
    Rule {
        name: name.parse().unwrap(),
        input: input.parse().unwrap(),
        outputs: outputs.iter().map(|output| output.parse().unwrap()).collect(),
        engine: Default::default(),
    }
}
