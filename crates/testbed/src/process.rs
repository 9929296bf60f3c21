//! Processes under test, and waiting for conditions.
//!
//! A [`Daemon`]'s output is read line by line while it runs and printed when its test panics; it is killed by
//! pid when dropped. Nothing here sleeps blindly: waits poll a condition and name it when it does not come.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::Netns;
use crate::stats::{EgressStats, IngressStats, Stats};

const POLL: Duration = Duration::from_millis(5);
/// What a process printed before it ended is read within this.
const OUTPUT_TAIL: Duration = Duration::from_secs(2);

/// A process in a namespace, its output captured.
pub struct Daemon {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a process printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Where.
    pub stream: Stream,
    /// When it was read.
    pub at: Instant,
    /// The text without its end of line.
    pub text: String,
}

#[derive(Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutputState {
    lines: Vec<Printed>,
    ended: usize,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Starts `program` with `args` in the namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(netns: &Netns, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<Self> {
        let program = program.as_ref();
        let name = program.to_string_lossy();
        let name = name.rsplit('/').next().unwrap_or_default();
        let mut command = netns.command(program);
        command.args(args);
        Self::start(name, command)
    }

    /// Starts any command; `name` stands before its output when a test panics.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let output = Arc::<Output>::default();
        if let Some(stdout) = child.stdout.take() {
            read_lines(stdout, Stream::Stdout, &output);
        }
        if let Some(stderr) = child.stderr.take() {
            read_lines(stderr, Stream::Stderr, &output);
        }
        Ok(Self { name: name.to_owned(), child, output })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far, of both streams in order of reading.
    #[must_use]
    pub fn lines(&self) -> Vec<Printed> {
        self.output.lock().lines.clone()
    }

    /// Waits for a line on either stream, the ones printed already included.
    ///
    /// # Panics
    /// When none comes within `timeout`, or the process ends without one.
    pub fn wait_line(&mut self, matches: impl Fn(&str) -> bool, timeout: Duration) -> String {
        let deadline = Instant::now() + timeout;
        let output = Arc::clone(&self.output);
        let mut state = output.lock();
        let mut next = 0;
        loop {
            let found = state.lines.iter().skip(next).find(|line| matches(&line.text));
            if let Some(line) = found {
                return line.text.clone();
            }
            next = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended == 2 {
                break;
            }
            let waited = output.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let end = self.state();
        panic!("{}: no such line within {timeout:?}; {end}", self.name);
    }

    /// The last STATS line of each kind; `None` until both were printed.
    ///
    /// # Panics
    /// When a STATS line is malformed.
    #[must_use]
    pub fn stats_last(&self) -> Option<Stats> {
        let state = self.output.lock();
        let stdout = || state.lines.iter().rev().filter(|line| line.stream == Stream::Stdout);
        let ingress = stdout().find_map(|line| IngressStats::parse(&line.text))?;
        let egress = stdout().find_map(|line| EgressStats::parse(&line.text))?;
        Some(Stats { ingress, egress })
    }

    /// Waits for STATS that satisfy `matches`, those printed last included.
    ///
    /// # Panics
    /// When none come within `timeout`, with the last.
    pub fn wait_stats(&self, matches: impl Fn(&Stats) -> bool, timeout: Duration) -> Stats {
        let deadline = Instant::now() + timeout;
        loop {
            let last = self.stats_last();
            match last {
                Some(stats) if matches(&stats) => return stats,
                _ if Instant::now() > deadline => panic!("{}: within {timeout:?} only {last:?}", self.name),
                _ => thread::sleep(POLL),
            }
        }
    }

    /// Sends a signal to the process itself.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, and for the last of its output.
    ///
    /// # Panics
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
                other => panic!("{}: did not end within {timeout:?}: {other:?}", self.name),
            }
        };
        // A child of its own may hold the pipe open for longer.
        let state = self.output.lock();
        drop(self.output.changed.wait_timeout_while(state, OUTPUT_TAIL, |state| state.ended < 2));
        status
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it still runs after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> ExitStatus {
        if self.is_running() {
            self.signal(Signal::TERM);
        }
        self.wait(timeout)
    }

    fn state(&mut self) -> String {
        // A process closes its streams a moment before it can be waited for.
        let deadline = Instant::now() + Duration::from_millis(100);
        while self.is_running() && self.output.lock().ended == 2 && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        match self.child.try_wait() {
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("it was ended by signal {signal}"),
                None => format!("it ended: {status}"),
            },
            Ok(None) => "it still runs".to_owned(),
            Err(error) => format!("its state is unknown: {error}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not reaped yet, or known to be: the pid cannot be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for line in &self.output.lock().lines {
                let mark = if line.stream == Stream::Stdout { '|' } else { '!' };
                eprintln!("{} {mark} {}", self.name, line.text);
            }
        }
    }
}

fn read_lines(source: impl Read + Send + 'static, stream: Stream, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut reader = BufReader::new(source);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            output.lock().lines.push(Printed { stream, at: Instant::now(), text });
            output.changed.notify_all();
        }
        output.lock().ended += 1;
        output.changed.notify_all();
    });
}

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Its exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON, with both streams.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON, {error}: {self:?}"))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or does not end within `timeout`.
#[must_use]
pub fn run(command: Command, timeout: Duration) -> Finished {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut daemon = Daemon::start(&name, command).unwrap_or_else(|error| panic!("{error:#}"));
    let status = daemon.wait(timeout);
    let text = |stream| -> String {
        let lines = daemon.lines();
        lines.iter().filter(|line| line.stream == stream).map(|line| line.text.clone() + "\n").collect()
    };
    Finished { status, stdout: text(Stream::Stdout), stderr: text(Stream::Stderr) }
}

/// Runs a command that answers within 30 s and parses its standard output, whatever its exit code.
///
/// # Panics
/// When it does not end, or what it prints is not JSON.
#[must_use]
pub fn json(command: Command) -> serde_json::Value {
    run(command, Duration::from_secs(30)).json()
}

/// What a polled condition may answer: `bool`, or `Option` for a value.
pub trait Condition {
    /// What is handed back when it holds.
    type Value;
    /// The value, once it holds.
    fn held(self) -> Option<Self::Value>;
}

impl Condition for bool {
    type Value = ();
    fn held(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn held(self) -> Self {
        self
    }
}

/// Calls `read` again while signals interrupt it: a read with a time-out (SO_RCVTIMEO) is never restarted by the kernel
/// (signal(7)), and other tests of the process have children that end.
///
/// # Errors
/// Those of `read`, but for that.
pub fn uninterrupted<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Polls `condition` until it holds.
///
/// # Panics
/// With `what`, when it does not within `timeout`.
pub fn eventually<C: Condition>(
    timeout: Duration,
    what: impl std::fmt::Display,
    mut condition: impl FnMut() -> C,
) -> C::Value {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition().held() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        thread::sleep(POLL);
    }
}
