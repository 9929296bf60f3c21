//! Word to the service manager that started mcrd, as sd_notify(3) has it: ready, reloading, stopping, a line on
//! how things stand, and signs of life. Without `NOTIFY_SOCKET` in the environment nothing is said to anyone.
//!
//! Nothing here waits: a manager that does not read never holds up the relay. A change of state it has not taken
//! is said again with the next word to it.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Signs of life are given so many times in the manager's limit, as sd_watchdog_enabled(3) has it.
const PINGS: u32 = 2;

/// Longest status, in bytes: managers take datagrams of 4 KiB at most (`NOTIFY_BUFFER_MAX`).
const STATUS_MAX: usize = 1024;

/// The service manager, if there is one to talk to.
#[derive(Debug)]
pub struct Notifier {
    manager: Option<Manager>,
    pings: Option<Pings>,
    status: String,
    /// Waits for the workers to take up what SIGHUP asked for.
    reload: Option<JoinHandle<()>>,
    refused: Option<String>,
}

/// What it is time to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A sign of life.
    Ping,
    /// That what SIGHUP asked for is in force, or refused.
    Reloaded,
}

/// Signs of life: how far apart, and when the next is due.
#[derive(Debug, Clone, Copy)]
struct Pings {
    pause: Duration,
    due: Instant,
}

/// Where a manager listens.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Lines it has yet to be told.
    untold: String,
    /// Whether the last word could not be sent, and that was logged.
    deaf: bool,
}

impl Notifier {
    /// The manager that `NOTIFY_SOCKET` names, and the signs of life that `WATCHDOG_USEC` asks for. What cannot be
    /// used is logged, and the relay goes on without.
    pub fn from_environment() -> Self {
        let manager = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let opened = Manager::open(&name);
            let complain = |error: &io::Error| {
                warn!("NOTIFY_SOCKET={} cannot be used, the relay goes on: {error}", name.display());
            };
            opened.inspect_err(complain).ok()
        });
        let limit = |name: &str| env::var(name).ok();
        let limit = watchdog_limit(limit("WATCHDOG_USEC"), limit("WATCHDOG_PID"), std::process::id());
        let pings = limit.filter(|_| manager.is_some()).map(|limit| {
            let pause = limit / PINGS;
            Pings { pause, due: Instant::now() + pause }
        });
        Self { manager, pings, status: String::new(), reload: None, refused: None }
    }

    /// The file is applied, workers run, and the control socket accepts.
    pub fn ready(&mut self, summary: &str) {
        self.note(summary);
        self.tell("READY=1\n");
    }

    /// SIGHUP has come. The time is what tells a manager which of several signals this answers.
    pub fn reloading(&mut self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
    }

    /// What SIGHUP asked for is in force once it is taken up, or refused for a reason that the status keeps until
    /// one succeeds. Either way [`Due::Reloaded`] follows. Needs a tokio runtime.
    pub fn reloaded(&mut self, refused: Option<String>, taken_up: impl Future<Output = ()> + Send + 'static) {
        self.refused = refused;
        self.reload = Some(tokio::spawn(taken_up));
    }

    /// The daemon is about to end.
    pub fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=relaying what the rings still hold\n");
    }

    /// Says how things stand where that has changed, and again what a manager has not taken.
    pub fn status(&mut self, summary: &str) {
        self.note(summary);
        self.tell("");
    }

    /// Ends when there is something to say; never, where nothing will be.
    pub async fn due(&mut self) -> Due {
        let pings = self.pings;
        let ping = async {
            match pings {
                Some(pings) => sleep_until(pings.due).await,
                None => std::future::pending().await,
            }
        };
        let reloaded = async {
            match &mut self.reload {
                // It neither panics nor is it aborted.
                Some(taken_up) => drop(taken_up.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ping => Due::Ping,
            () = reloaded => {
                self.reload = None;
                Due::Reloaded
            }
        }
    }

    /// Gives a sign of life. To be called by the task that does the supervisor's work: where that hangs, this does.
    pub fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            pings.due = Instant::now() + pings.pause;
            self.tell("WATCHDOG=1\n");
        }
    }

    /// Queues a status, if it is a new one.
    fn note(&mut self, summary: &str) {
        let Some(manager) = &mut self.manager else { return };
        let mut status = summary.to_owned();
        if let Some(refused) = &self.refused {
            let _ = write!(status, "; the last reload was refused: {refused}");
        }
        let status = one_line(&status);
        if status != self.status {
            manager.queue(&format!("STATUS={status}\n"));
            self.status = status;
        }
    }

    fn tell(&mut self, lines: &str) {
        if let Some(manager) = &mut self.manager {
            manager.queue(lines);
            manager.send();
        }
    }
}

impl Manager {
    fn open(name: &OsStr) -> io::Result<Self> {
        let name = name.as_bytes();
        let address = match name.first() {
            Some(b'@') => SocketAddr::from_abstract_name(&name[1..])?,
            Some(b'/') => SocketAddr::from_pathname(OsStr::from_bytes(name))?,
            _ => return Err(io::Error::other("it begins with neither / nor @")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, untold: String::new(), deaf: false })
    }

    /// Adds lines to what it is to be told; of a variable told twice the later value stands.
    fn queue(&mut self, lines: &str) {
        for line in lines.lines() {
            let variable = line.split_inclusive('=').next().unwrap_or(line);
            let kept = self.untold.lines().filter(|before| !before.starts_with(variable));
            self.untold = kept.chain([line]).fold(String::new(), |all, line| all + line + "\n");
        }
    }

    fn send(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let sent = self.socket.send_to_addr(self.untold.as_bytes(), &self.address);
        if let (Err(error), false) = (&sent, self.deaf) {
            warn!("the service manager does not take what it is told, the relay goes on: {error}");
        }
        self.deaf = sent.is_err();
        if sent.is_ok() {
            self.untold.clear();
        }
    }
}

/// How long the manager waits for a sign of life before it takes the process for hung (sd_watchdog_enabled(3)).
fn watchdog_limit(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return None;
    }
    let usec = usec?;
    match usec.parse() {
        Ok(usec @ 1..) => Some(Duration::from_micros(usec)),
        Ok(0) | Err(_) => {
            warn!("WATCHDOG_USEC={usec} is no time in microseconds: no signs of life are given");
            None
        }
    }
}

/// A text that can stand in one line of a datagram.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(STATUS_MAX));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> Manager {
        Manager::open(OsStr::new("@mcr-nobody-listens-here")).unwrap()
    }

    #[test]
    fn what_was_not_taken_is_kept_once_and_in_order() {
        let mut manager = manager();
        for lines in ["READY=1\nSTATUS=a\n", "WATCHDOG=1\n", "STATUS=b=c\n", "WATCHDOG=1\n"] {
            manager.queue(lines);
            manager.send();
        }
        assert!(manager.deaf);
        assert_eq!(manager.untold, "READY=1\nSTATUS=b=c\nWATCHDOG=1\n");
    }

    #[test]
    fn a_limit_is_for_the_process_named() {
        let limit =
            |usec: &str, pid: Option<&str>| watchdog_limit(Some(usec.into()), pid.map(Into::into), 42);
        let second = Some(Duration::from_secs(1));
        assert_eq!(limit("1000000", None), second);
        assert_eq!(limit("1000000", Some("42")), second);
        assert_eq!(limit("1000000", Some("43")), None);
        for bad in ["0", "", "-1", "soon"] {
            assert_eq!(limit(bad, None), None, "{bad:?}");
        }
        assert_eq!(watchdog_limit(None, None, 42), None);
    }

    #[test]
    fn a_status_is_one_line_within_bounds() {
        assert_eq!(one_line("line 1\nREADY=1\t"), "line 1 READY=1 ");
        let long = one_line(&"€".repeat(STATUS_MAX));
        assert!(long.len() <= STATUS_MAX && long.ends_with('€'));
    }

    #[test]
    fn names_that_are_no_sockets_are_refused() {
        for name in ["", "mcr.sock", "vsock:2:1234"] {
            Manager::open(OsStr::new(name)).unwrap_err();
        }
    }
}
