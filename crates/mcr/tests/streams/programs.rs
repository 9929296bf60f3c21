//! Programs other than our own, at both ends of a relay.

use std::io::Write as _;
use std::process::Command;

use testbed::{Daemon, Line, Netns, Relay, eventually};

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
pub(crate) fn between(prefix: &str, input: &str, outputs: &str) -> (Line, Relay) {
    let line = Line::new(prefix).unwrap();
    let file = format!("[[rule]]\nname = 'stream'\ninput = '{input}'\noutputs = [{outputs}]\n");
    let relay = relay(line.relay(), &file);
    (line, relay)
}

/// Starts a program that receives, and waits until it holds its port and has joined its group, if any.
pub(crate) fn receiver(
    netns: &Netns,
    program: &str,
    args: &[&str],
    port: u16,
    group: Option<&str>,
) -> Daemon {
    let daemon = Daemon::spawn(netns, program, args).unwrap();
    eventually(SOON, format!("{program} holds port {port}"), || {
        !netns.tool(&format!("ss -Hanu sport = :{port}")).unwrap().is_empty()
    });
    if let Some(group) = group {
        eventually(SOON, format!("{program} has joined {group}"), || {
            netns.ip("maddr show dev d0").unwrap().contains(group)
        });
    }
    daemon
}

/// Datagrams the receiver's host had no room for: its own loss, not the relay's.
pub(crate) fn overruns(netns: &Netns) -> String {
    netns.enter(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        text.lines().filter(|line| line.starts_with("Udp:")).collect::<Vec<_>>().join("\n")
    })
}
