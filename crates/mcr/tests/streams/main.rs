//! Streams through the real binaries in namespaces: relays in a row, a relay that is overloaded, and programs
//! other than our own at both ends.
//!
//! Every verdict is the receiver's, compared with the relay's STATS to the packet. Traffic takes whole cores, so
//! the tests of this binary run one at a time whatever the harness is told.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod ffmpeg;
mod fixture;
mod hostile;
mod iperf;
mod overload;
mod pipeline;
mod programs;
mod socat;
