//! `mcrgen` over a cable between two namespaces: what it offers, seen by the probe, and what it reports.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod bench;
mod cable;
mod receiver;
mod sender;
mod tap;
