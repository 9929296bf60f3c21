//! Namespaces, links and an independent probe for tests and benches.
//!
//! Everything here works on network namespaces made by the test itself and removed with it. Frames are built
//! and parsed with `etherparse` alone, never with the code under test. Set-up answers with `anyhow::Result`;
//! what a test asserts (`expect`, `expect_silence`, `wait_line`, `eventually`) panics and says what it saw.
//!
//! Root and the tools `ip`, `nsenter` and `ethtool` are needed: [`available`] says what is missing and
//! [`skip_unless_available!`] ends a test early with a line `test-skipped: …` that a caller can count.

mod bridge;
mod datagram;
mod inject;
mod interface;
pub mod link;
mod mac;
mod membership;
pub mod netns;
mod packet_socket;
pub mod probe;
pub mod process;
pub mod relay;
mod seen;
mod sender;
pub mod stats;
pub mod topology;
mod tun;

pub use bridge::Bridge;
pub use datagram::Datagram;
pub use inject::Injector;
pub use link::{Link, Veth};
pub use mac::Mac;
pub use netns::{Netns, available};
pub use probe::Probe;
pub use process::{Daemon, eventually, json, run, uninterrupted};
pub use relay::{Programs, Relay, rule};
pub use seen::{Checksum, Fragment, Other, Seen, Vlan};
pub use sender::Sender;
pub use stats::{EgressStats, IngressStats, Stats};
pub use topology::{Chain, Fan, Line, Port};
pub use tun::Tun;

/// Ends the calling test, counted as skipped, where namespaces cannot be made.
///
/// It writes `test-skipped: MODULE: REASON` to standard error past the capture of the test harness. With
/// `TESTBED_REQUIRED=1` in the environment it panics instead, so that a CI machine never skips unnoticed.
#[macro_export]
macro_rules! skip_unless_available {
    () => {
        if $crate::netns::skips(module_path!()) {
            return;
        }
    };
}
