//! A daemon whose output nobody reads goes on: readers that went away, and readers that stall.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, PipeReader, PipeWriter, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testbed::{Line, Probe, Sender, eventually, rule, run, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, line, send_numbered, signal};

/// A daemon that writes into these pipes.
struct Piped {
    line: Line,
    daemon: Child,
    folder: TempDir,
}

impl Piped {
    fn start(prefix: &str, stdout: PipeWriter, stderr: PipeWriter) -> Self {
        let line = line(prefix);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mcr.toml");
        fs::write(&file, rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])).unwrap();
        let mut command = line.relay().command(PROGRAMS.mcrd);
        command.arg("--config").arg(file).arg("--socket").arg(folder.path().join("s"));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let daemon = command.spawn().unwrap();
        let piped = Self { line, daemon, folder };
        eventually(PATIENCE, "it answers", || piped.ctl(&["ping"]).is_some());
        piped
    }

    /// What mcrctl prints, where it succeeds.
    fn ctl(&self, arguments: &[&str]) -> Option<Value> {
        let mut ctl = Command::new(PROGRAMS.mcrctl);
        ctl.arg("--socket").arg(self.folder.path().join("s")).arg("--json").args(arguments);
        let finished = run(ctl, PATIENCE);
        (finished.code() == 0).then(|| serde_json::from_str(&finished.stdout).unwrap())
    }

    /// Relays three datagrams, and then another while the supervisor takes stock at least once.
    fn assert_serves(&self) {
        let mut probe = Probe::on(&self.line.receiver.link).unwrap().only(|seen| seen.dport == Some(6000));
        let sender = Sender::open(&self.line.sender.link, (self.line.sender.v4, 4000).into()).unwrap();
        send_numbered(&sender, "239.1.1.1:5000", 0, 3);
        probe.expect(3, PATIENCE);
        let pps = || self.ctl(&["stats"]).unwrap()["rules"][0]["pps"].as_u64();
        for busy in [true, false] {
            eventually(PATIENCE, "rates are taken anew", || {
                if busy {
                    send_numbered(&sender, "239.1.1.1:5000", 3, 1);
                }
                (pps() > Some(0)) == busy
            });
        }
        let add = ["add", "b", "239.1.1.2%r-in:5000", "239.2.2.2%r-out:6000", "--replace"];
        assert!(self.ctl(&add).is_some());
    }

    fn stop(mut self) {
        signal(self.daemon.id().into(), Signal::TERM);
        let ended = eventually(PATIENCE, "it ends", || self.daemon.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

/// Leaves no room in a pipe, by an open file of its own that does not block.
fn fill(reader: &PipeReader) {
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut writer = OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
    for bytes in [4096, 1] {
        let full = loop {
            if let Err(error) = writer.write_all(&vec![b'\n'; bytes]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn readers_that_went_away_are_not_needed() {
    skip_unless_available!();
    let ((_, stdout), (_, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let piped = Piped::start("dm-mute", stdout, stderr);
    piped.assert_serves();
    piped.stop();
}

#[test]
fn readers_that_stall_hold_up_nothing() {
    skip_unless_available!();
    let ((stats, stdout), (log, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let piped = Piped::start("dm-stall", stdout, stderr);
    fill(&stats);
    fill(&log);
    piped.assert_serves();
    // When it reads again, it sees how things are by then.
    let mut lines = BufReader::new(stats).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("[STATS:Ingress] recv=")));
    drop(lines);
    piped.stop();
}
