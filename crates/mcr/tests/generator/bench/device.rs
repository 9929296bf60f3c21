//! A device under test between a sender and two receivers, each in a namespace of its own, and the tester on it.

use std::process::Command;

use serde_json::Value;
use testbed::process::{Finished, Stream};
use testbed::{Daemon, Fan, Programs, Relay, run};

use crate::cable::{LONG, MCRGEN};

const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

/// Makes rules of the flows on its standard input: outputs go to the two receivers in turn.
const RULES: &str = r#"awk '{
    sub(/%s0/, "%r-in", $1); printf "[[rule]]\nname = \"r%d\"\ninput = \"%s\"\noutputs = [", NR, $1
    for (i = 2; i <= NF; i++) {
        sub(/%d0/, "%r-out" ((i - 2) % 2 + 1), $i); printf "%s\"%s\"", (i > 2 ? ", " : ""), $i
    }
    print "]"
}'"#;

/// The namespaces, and a relay in the middle that has no rule yet.
pub(super) struct Device {
    pub(super) fan: Fan,
    pub(super) relay: Relay,
}

impl Device {
    pub(super) fn new() -> Self {
        let fan = Fan::new("bench", 2).unwrap();
        let relay = Relay::start(PROGRAMS, fan.relay(), "").unwrap();
        Self { fan, relay }
    }

    /// `--tx` and both `--rx` in IPv4.
    pub(super) fn sides(&self) -> String {
        let [first, second] = &self.fan.receivers[..] else { panic!("two receivers") };
        let (tx, first, second) = (self.fan.sender.netns(), first.netns(), second.netns());
        format!(
            "--tx 239.1.1.1%s0:5000/{} --rx 239.2.1.1%d0:6000/{} --rx 239.2.1.1%d0:6000/{}",
            tx.name(),
            first.name(),
            second.name()
        )
    }

    /// A `--setup` that applies the flows it is told, through `filter`.
    pub(super) fn setup_through(&self, filter: &str) -> String {
        let (rules, socket) = (self.relay.file("rules.toml", ""), self.relay.socket());
        let mcrctl = PROGRAMS.mcrctl;
        format!("{filter} | {RULES} >{rules} && {mcrctl} --socket {} apply {rules}", socket.display())
    }

    pub(super) fn setup(&self) -> String {
        self.setup_through("cat")
    }

    /// A command of `mcrctl` on the relay, for `--join` and `--leave`.
    pub(super) fn ctl(&self, arguments: &str) -> String {
        format!("{} --socket {} {arguments}", PROGRAMS.mcrctl, self.relay.socket().display())
    }

    /// A folder for `--out`, removed with the device.
    pub(super) fn folder(&self) -> String {
        self.absent("out")
    }

    /// A path at which nothing is yet; what comes there is removed with the device.
    pub(super) fn absent(&self, name: &str) -> String {
        let file = self.relay.file(name, "");
        std::fs::remove_file(&file).unwrap();
        file
    }
}

/// `mcrgen bench LINE`, split at blanks, and then options whose values have blanks.
pub(super) fn command(line: &str, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(MCRGEN);
    command.arg("bench").args(line.split_whitespace()).arg("--json");
    command.args(more.iter().flat_map(|(option, value)| [option, value]));
    command
}

pub(super) fn bench(line: &str, more: &[(&str, &str)]) -> Finished {
    run(command(line, more), LONG)
}

/// A run that has all its results.
pub(super) fn results(line: &str, more: &[(&str, &str)]) -> Vec<Value> {
    let finished = bench(line, more);
    assert_eq!(finished.code(), 0, "{finished:?}");
    finished.json()["results"].as_array().unwrap().clone()
}

/// All trials of a result.
pub(super) fn trials(result: &Value) -> Vec<Value> {
    let repeats = result["repeats"].as_array().unwrap();
    repeats.iter().flat_map(|repeat| repeat["trials"].as_array().unwrap().clone()).collect()
}

/// Starts it and does not wait.
pub(super) fn start(line: &str, more: &[(&str, &str)]) -> Daemon {
    Daemon::start("bench", command(line, more)).unwrap()
}

/// What one that has ended reported.
pub(super) fn report(bench: &Daemon) -> Value {
    let lines = bench.lines();
    let printed = lines.iter().find(|line| line.stream == Stream::Stdout).unwrap();
    serde_json::from_str(&printed.text).unwrap()
}
