//! Two namespaces, a cable, and the program at either end of it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::process::{Finished, Stream};
use testbed::topology::segment;
use testbed::{Daemon, Netns, Port, run};

pub(crate) const MCRGEN: &str = env!("CARGO_BIN_EXE_mcrgen");

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// `s0` 10.10.1.1 and fd00:1::1, `d0` 10.10.1.2 and fd00:1::2.
pub(crate) struct Cable {
    pub(crate) s0: Port,
    pub(crate) d0: Port,
}

/// What both programs reported.
pub(crate) struct Outcome {
    pub(crate) sent: Value,
    pub(crate) received: Value,
    pub(crate) code: i32,
}

impl Cable {
    pub(crate) fn new() -> Self {
        let (near, far) = (Netns::new("gen-s").unwrap(), Netns::new("gen-d").unwrap());
        let (s0, d0) = segment(1, (&near, "s0", 1), (&far, "d0", 2)).unwrap();
        Self { s0, d0 }
    }

    /// A command line of `mcrgen`, split at blanks.
    pub(crate) fn command(netns: &Netns, line: &str) -> Command {
        let mut command = netns.command(MCRGEN);
        command.args(line.split_whitespace());
        command
    }

    pub(crate) fn send(&self, line: &str) -> Finished {
        run(Self::command(self.s0.netns(), &format!("send {line} --json")), LONG)
    }

    /// A receiver that is ready.
    pub(crate) fn receiver(&self, line: &str) -> Receiver {
        let command = Self::command(self.d0.netns(), &format!("recv {line} --json"));
        let mut daemon = Daemon::start("recv", command).unwrap();
        daemon.wait_line(|line| line.starts_with("ready"), LONG);
        Receiver(daemon)
    }

    /// Both ends at once; the receiver is ready before the sender starts.
    pub(crate) fn run(&self, send: &str, recv: &str) -> Outcome {
        let receiver = self.receiver(recv);
        let sent = self.send(send).json();
        let (received, code) = receiver.report();
        Outcome { sent, received, code }
    }
}

/// A running receiver.
pub(crate) struct Receiver(pub(crate) Daemon);

impl Receiver {
    /// Waits for its end: its report and its exit code.
    pub(crate) fn report(mut self) -> (Value, i32) {
        let code = self.0.wait(LONG).code().unwrap();
        let lines = self.0.lines();
        let json = lines.iter().find(|line| line.stream == Stream::Stdout).unwrap();
        (serde_json::from_str(&json.text).unwrap(), code)
    }
}

/// Asserts that all of `count` packets arrived once and whole.
pub(crate) fn assert_clean(outcome: &Outcome, count: u64) {
    let Outcome { sent, received, code } = outcome;
    assert_eq!((&sent["sent"], &sent["errors"]), (&count.into(), &0.into()), "{sent}");
    assert_eq!(received["received"], count, "{received}");
    for fault in ["lost", "duplicated", "reordered", "bad_checksum", "corrupted", "foreign", "tap_lost"] {
        assert_eq!(received[fault], 0, "{fault} in {received}");
    }
    assert_eq!(*code, 0);
}
