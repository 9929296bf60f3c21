//! The relay daemon under test, in a namespace, with the control program that asks it.
//!
//! The programs are the caller's, by path, so that this crate needs none of the code under test. Each relay has a
//! folder of its own for its socket and rule file, and goes with its value.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Finished, Signal};
use crate::{Daemon, Netns, Stats, run};

/// A debug build with thousands of rules on a busy machine starts within this.
const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);

/// The two programs, by path: in a test of their crate `env!("CARGO_BIN_EXE_mcrd")` and the like.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// The daemon.
    pub mcrd: &'static str,
    /// The control program.
    pub mcrctl: &'static str,
}

/// One rule as its file has it.
#[must_use]
pub fn rule(name: &str, input: &str, outputs: &[impl AsRef<str> + fmt::Debug]) -> String {
    format!("[[rule]]\nname = {name:?}\ninput = {input:?}\noutputs = {outputs:?}\n")
}

/// A running daemon.
pub struct Relay {
    programs: Programs,
    netns: Netns,
    folder: TempDir,
    arguments: Vec<String>,
    daemon: Daemon,
}

impl Relay {
    /// Starts the daemon with `config` as its rule file and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started, or ends or does not answer within 60 s, with what it printed.
    pub fn start(programs: Programs, netns: &Netns, config: &str) -> Result<Self> {
        Self::start_with(programs, netns, config, &[])
    }

    /// The same with more arguments for the daemon.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(programs: Programs, netns: &Netns, config: &str, more: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the relay")?;
        fs::write(folder.path().join("mcr.toml"), config).context("write the rule file")?;
        let arguments: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let daemon = spawn(programs, netns, folder.path(), &arguments)?;
        let mut relay = Self { programs, netns: netns.clone(), folder, arguments, daemon };
        relay.wait_ready()?;
        Ok(relay)
    }

    /// Starts the daemon again, after its end, with the same arguments, socket and rule file.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.daemon = spawn(self.programs, &self.netns, self.folder.path(), &self.arguments)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while self.ctl(&["ping"]).code() != 0 {
            let running = self.daemon.is_running();
            if !running || Instant::now() > deadline {
                let state = if running {
                    "does not answer"
                } else {
                    // What it said last may still be unread.
                    self.daemon.wait(Duration::ZERO);
                    "has ended"
                };
                bail!("mcrd {state}:\n{}", self.printed());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn printed(&self) -> String {
        self.daemon.lines().iter().map(|line| line.text.clone() + "\n").collect()
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The daemon's process: its pid, lines and signals.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Path of the control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("mcrd.sock")
    }

    /// Path of the rule file that was named with `--config`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("mcr.toml")
    }

    /// A file in the relay's folder, removed with it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path.display().to_string()
    }

    /// Runs the control program on this daemon, whatever its exit code.
    ///
    /// # Panics
    /// When it does not end within 30 s.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Finished {
        self.ctl_within(arguments, ANSWER)
    }

    /// The same, with a time limit of the caller's.
    ///
    /// # Panics
    /// When it does not end within `timeout`.
    #[must_use]
    pub fn ctl_within(&self, arguments: &[&str], timeout: Duration) -> Finished {
        let mut command = Command::new(self.programs.mcrctl);
        command.arg("--socket").arg(self.socket()).args(arguments);
        run(command, timeout)
    }

    /// Runs the control program and hands back its standard output.
    ///
    /// # Panics
    /// When its exit code is not 0.
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let finished = self.ctl(arguments);
        assert_eq!(finished.code(), 0, "mcrctl {arguments:?}: {finished:?}");
        finished.stdout
    }

    /// Runs the control program with `--json` and hands back the document it printed.
    ///
    /// # Panics
    /// When its exit code is not 0, or it prints no JSON.
    pub fn ctl_json(&self, arguments: &[&str]) -> Value {
        let finished = self.ctl(&[&["--json"], arguments].concat());
        assert_eq!(finished.code(), 0, "mcrctl --json {arguments:?}: {finished:?}");
        finished.json()
    }

    /// All counters, as `stats --json` prints them.
    ///
    /// # Panics
    /// As [`Self::ctl_json`].
    #[must_use]
    pub fn stats(&self) -> Value {
        self.ctl_json(&["stats"])
    }

    /// Waits for counters that satisfy `matches`.
    ///
    /// # Panics
    /// When they do not within `timeout`, with the last.
    pub fn wait_stats(&self, timeout: Duration, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + timeout;
        loop {
            let stats = self.stats();
            if matches(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "within {timeout:?} only {stats:#}");
            thread::sleep(POLL);
        }
    }

    /// One counter of all workers together: a reason among `drops`, or `relayed`.
    ///
    /// # Panics
    /// When `stats` has no such counter.
    #[must_use]
    pub fn workers_sum(stats: &Value, counter: &str) -> u64 {
        let of = |worker: &Value| {
            let value = worker["drops"].get(counter).or_else(|| worker.get(counter));
            value.and_then(Value::as_u64).unwrap_or_else(|| panic!("no counter {counter} in {worker:#}"))
        };
        stats["workers"].as_array().expect("workers").iter().map(of).sum()
    }

    /// Where a rule stands: its state and the reason.
    ///
    /// # Panics
    /// When there is no such rule.
    #[must_use]
    pub fn state(&self, rule: &str) -> (String, String) {
        let shown = self.ctl_json(&["show", rule]);
        let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    /// Waits until a rule is `active`, `pending` or `failed`.
    ///
    /// # Panics
    /// When it is not within `timeout`.
    pub fn wait_state(&self, rule: &str, state: &str, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let now = self.state(rule);
            if now.0 == state {
                return;
            }
            assert!(Instant::now() < deadline, "{rule} is not {state} within {timeout:?} but {now:?}");
            thread::sleep(POLL);
        }
    }

    /// Kills the daemon at once, as a crash would, and reaps it. Its workers are left to themselves.
    pub fn kill(&mut self) -> ExitStatus {
        self.daemon.signal(Signal::KILL);
        self.daemon.wait(STOP)
    }

    /// Stops the daemon with SIGTERM and hands back the last STATS lines.
    ///
    /// # Panics
    /// When it does not end with code 0 within 15 s, or printed no STATS.
    pub fn stop(&mut self) -> Stats {
        let status = self.daemon.stop(STOP);
        assert_eq!(status.code(), Some(0), "mcrd: {status}:\n{}", self.printed());
        let last = self.daemon.stats_last();
        last.unwrap_or_else(|| panic!("no STATS lines:\n{}", self.printed()))
    }
}

fn spawn(programs: Programs, netns: &Netns, folder: &Path, more: &[String]) -> Result<Daemon> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (config, socket) = (path("mcr.toml"), path("mcrd.sock"));
    let mut arguments = vec!["--config", &config, "--socket", &socket];
    arguments.extend(more.iter().map(String::as_str));
    Daemon::spawn(netns, programs.mcrd, &arguments)
}
