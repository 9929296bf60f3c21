//! The control interface over a real Unix socket: the server, the `mcrctl` binary, and hostile clients.
//!
//! The supervisor behind it is a stand-in that answers from a list; all else is what the daemon runs.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod bounds;
mod fixture;
mod path;
mod server;
mod verbs;
