//! Programs other than our own, at both ends of a relay.

use std::fmt::Debug;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use testbed::{Daemon, Line, Netns, Port, Relay, eventually, rule};

use crate::fixture::{SOON, relay};

/// Whether one of the programs a test needs is absent; says so where a caller counts skipped tests.
///
/// # Panics
/// When `TESTBED_REQUIRED=1` forbids skipping.
pub(crate) fn lacks(module: &str, programs: &[&str]) -> bool {
    let absent = |program: &&str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", program]).status();
        !found.is_ok_and(|status| status.success())
    };
    let Some(program) = programs.iter().copied().find(|program| absent(program)) else { return false };
    let required = std::env::var_os("TESTBED_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "TESTBED_REQUIRED=1, yet {program} is missing");
    // The harness captures eprintln! of passing tests; a skip must be seen all the same.
    let _ = writeln!(std::io::stderr(), "test-skipped: {module}: {program} is missing: run `make deps`");
    true
}

/// A relay with one rule between a sender and a receiver.
pub(crate) fn between(prefix: &str, input: &str, outputs: &[impl AsRef<str> + Debug]) -> (Line, Relay) {
    let line = Line::new(prefix).unwrap();
    let relay = relay(line.relay(), &rule("stream", input, outputs));
    (line, relay)
}

/// Starts a program that receives on `at`, and waits until it holds its port and, where that is a group's, has
/// joined.
pub(crate) fn receiver(at: &Port, program: &str, args: &[&str], to: SocketAddr) -> Daemon {
    let daemon = Daemon::spawn(at.netns(), program, args).unwrap();
    eventually(SOON, format!("{program} holds the port of {to}"), || {
        !at.netns().tool(&format!("ss -Hanu sport = :{}", to.port())).unwrap().is_empty()
    });
    if to.ip().is_multicast() {
        joined(at, to.ip(), program);
    }
    daemon
}

/// socat on `at`, which writes the payload of all that comes to `to` into a file. It is ready.
pub(crate) fn recorder(at: &Port, to: SocketAddr, file: &Path) -> Daemon {
    let port = to.port();
    let from = match to.ip() {
        IpAddr::V4(group) if group.is_multicast() => {
            format!("UDP4-RECV:{port},ip-add-membership={group}:{}", at.v4)
        }
        IpAddr::V6(group) if group.is_multicast() => {
            format!("UDP6-RECV:{port},ipv6-join-group=[{group}]:{}", at.name())
        }
        IpAddr::V4(host) => format!("UDP4-RECV:{port},bind={host}"),
        IpAddr::V6(host) => format!("UDP6-RECV:{port},bind=[{host}]"),
    };
    receiver(at, "socat", &["-u", &from, &format!("OPEN:{},creat,trunc", file.display())], to)
}

/// Waits until a program has joined a group.
pub(crate) fn joined(at: &Port, group: IpAddr, program: &str) {
    eventually(SOON, format!("{program} has joined {group}"), || at.link.joins(group).unwrap() > 0);
}

/// Datagrams the receiver's host had no room for: its own loss, not the relay's.
pub(crate) fn overruns(netns: &Netns) -> String {
    netns.enter(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        text.lines().filter(|line| line.starts_with("Udp:")).collect::<Vec<_>>().join("\n")
    })
}
