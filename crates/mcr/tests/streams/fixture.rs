//! Relays, generators and receivers in namespaces, and when a test may run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use testbed::{Daemon, Netns, Programs, Relay, Stats, eventually, run};

const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

/// What is ready within a moment, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One at a time: whoever holds it has the cores.
pub(crate) fn cores_to_itself() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps IPv6 out of a namespace, so that no neighbour discovery mixes with counted frames.
pub(crate) fn without_ipv6(netns: &Netns) {
    netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1").unwrap();
}

/// Starts a relay and waits until all its rules are active.
pub(crate) fn relay(netns: &Netns, file: &str) -> Relay {
    let relay = Relay::start(PROGRAMS, netns, file).unwrap();
    eventually(SOON, "every rule is active", || {
        let rules = relay.ctl_json(&["list"]);
        rules.as_array().unwrap().iter().all(|rule| rule["state"] == "active")
    });
    relay
}

/// Stops a relay; its last STATS, which must balance.
pub(crate) fn last_stats(mut relay: Relay) -> Stats {
    let stats = relay.stop();
    assert!(stats.ingress.balances() && stats.egress.balances(), "{stats:?}");
    stats
}

/// A running `mcrgen recv`.
pub(crate) struct Receiver(Daemon);

impl Receiver {
    /// Starts one and waits until it listens; `line` is its arguments, split at blanks.
    pub(crate) fn start(netns: &Netns, line: &str) -> Self {
        let mut args = vec!["--json", "recv"];
        args.extend(line.split_whitespace());
        let mut daemon = Daemon::spawn(netns, env!("CARGO_BIN_EXE_mcrgen"), &args).unwrap();
        daemon.wait_line(|line| line.starts_with("ready: "), SOON);
        Self(daemon)
    }

    /// Waits for its end: its exit code and its report.
    pub(crate) fn verdict(mut self, timeout: Duration) -> (Option<i32>, Value) {
        let code = self.0.wait(timeout).code();
        let lines = self.0.lines();
        let report = lines.iter().find_map(|line| serde_json::from_str(&line.text).ok());
        (code, report.unwrap_or_else(|| panic!("no report among {lines:?}")))
    }
}

/// Runs `mcrgen send` to its end; its report, of which every packet must have left.
pub(crate) fn send(netns: &Netns, line: &str, timeout: Duration) -> Value {
    let mut command = netns.command(env!("CARGO_BIN_EXE_mcrgen"));
    command.args(["--json", "send"]).args(line.split_whitespace());
    let finished = run(command, timeout);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let report = finished.json();
    assert_eq!(report["errors"], 0, "{report}");
    report
}
