//! The relay itself, with the real programs in namespaces: what comes in at one end leaves right at the other,
//! and every packet is accounted for.
//!
//! Each test has a relay and links of its own, so all may run at once. Reverse-path filtering is strict everywhere.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod bed;
mod circles;
mod drops;
mod egress;
mod expected;
mod fan_out;
mod flooded;
mod fragments;
mod kinds;
mod membership;
mod options;
mod refusals;
mod reports;
mod returned;
mod segments;
mod sizes;
mod sources;
mod unicast_input;
