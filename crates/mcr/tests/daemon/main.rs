//! The daemon and its control program as an operator meets them: the real binaries in namespaces of their own.
//!
//! What is relayed on the wire has tests of its own; here it is who starts and stops, what is refused and in which
//! words, what a change leaves alone, and what the processes give up.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod descriptors;
mod exits;
mod fixture;
mod hostile;
mod links;
mod notify;
mod outputs;
mod refusals;
mod rules;
mod service;
mod signals;
mod snooping;
mod unread;
mod workers;
