//! What a service manager is told, over a socket as sd_notify(3) has it: when mcrd is ready, that it reloads, how
//! it stands, that it lives, that it stops.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tempfile::TempDir;
use testbed::{Daemon, Line, json, rule, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, line, signal};

/// Signs of life are asked for within this; mcrd gives them twice as often.
const WATCHDOG: Duration = Duration::from_millis(100);

/// A manager that hears nothing for so long is told nothing: twenty signs of life would be due.
const SILENCE: Duration = Duration::from_secs(1);

fn config() -> String {
    rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])
}

/// A manager's end: the socket it listens on, and the daemon it started.
struct Service {
    manager: UnixDatagram,
    daemon: Daemon,
    folder: TempDir,
    line: Line,
}

impl Service {
    /// Listens at a path and starts mcrd with this file and environment.
    fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        let (line, folder) = (line("dm-notify"), tempfile::tempdir().unwrap());
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Self::start_at(manager, path.to_str().unwrap(), line, folder, config, environment)
    }

    fn start_at(
        manager: UnixDatagram,
        address: &str,
        line: Line,
        folder: TempDir,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        fs::write(folder.path().join("mcr.toml"), config).unwrap();
        let mut command = line.relay().command(PROGRAMS.mcrd);
        command.arg("--config").arg(folder.path().join("mcr.toml"));
        command.arg("--socket").arg(folder.path().join("mcrd.sock"));
        command.env("NOTIFY_SOCKET", address).envs(environment.iter().copied());
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let daemon = Daemon::start("mcrd", command).unwrap();
        Self { manager, daemon, folder, line }
    }

    /// The next datagram, by line; none where none comes in time.
    fn heard(&self) -> Option<Vec<String>> {
        let mut bytes = [0; 4096];
        match self.manager.recv(&mut bytes) {
            Ok(length) => {
                Some(str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads on to a datagram with a line that begins so, and hands that line back.
    fn wait(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let heard = self.heard().unwrap_or_else(|| panic!("{start} is not said"));
            if let Some(line) = heard.into_iter().find(|line| line.starts_with(start)) {
                return line;
            }
        }
        panic!("{start} is not said");
    }

    fn assert_silent(&self, what: &str) {
        self.manager.set_read_timeout(Some(SILENCE)).unwrap();
        assert_eq!(self.heard(), None, "{what}");
        self.manager.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctl(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(PROGRAMS.mcrctl);
        command.arg("--json").arg("--socket").arg(self.path("mcrd.sock")).args(arguments);
        json(command)
    }
}

fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn ready_means_applied_running_and_accepting() {
    skip_unless_available!();
    let mut service = Service::start(&config(), &[]);
    let workers = std::thread::available_parallelism().unwrap();
    let summary = format!("STATUS={workers} of {workers} workers run, 1 rule active");
    let heard = service.heard();
    // Before anything else could make up for word that came too soon.
    let accepts = UnixStream::connect(service.path("mcrd.sock"));
    assert_eq!(heard, Some(vec![summary, "READY=1".to_owned()]));
    accepts.unwrap();
    assert_eq!(service.ctl(&["show", "a"])["state"], "active");
    assert!(service.ctl(&["workers"]).as_array().unwrap().iter().all(|worker| worker["state"] == "active"));

    service.daemon.signal(Signal::TERM);
    assert_eq!(service.heard().unwrap()[0], "STOPPING=1");
    assert_eq!(service.daemon.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_start_that_fails_is_never_ready() {
    skip_unless_available!();
    let bad = config().replace("name", "nome");
    let unknown_to_apply = rule("a", "239.1.1.1%port:5000", &["239.2.2.1%r-out:6000"]);
    for (config, code) in [(bad, 2), (unknown_to_apply, 2)] {
        let line = line("dm-notify");
        let bridge = testbed::Bridge::new(line.relay(), "br0").unwrap();
        let cable = testbed::Veth::pair((line.relay(), "port"), (line.relay(), "peer")).unwrap();
        bridge.attach(&cable.a).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut service = Service::start_at(manager, path.to_str().unwrap(), line, folder, &config, &[]);
        assert_eq!(service.daemon.wait(PATIENCE).code(), Some(code));
        service.manager.set_nonblocking(true).unwrap();
        assert_eq!(service.heard(), None);
    }
}

/// Something takes the control socket's place while the workers start. Where it comes too late, it is tried again.
#[test]
fn without_its_control_socket_it_is_never_ready() {
    skip_unless_available!();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the socket was always there first");
        let mut service = Service::start(&config(), &[]);
        let netns = service.line.relay().clone();
        testbed::eventually(PATIENCE, "workers start", || netns.pids().unwrap().len() > 1);
        if File::create_new(service.path("mcrd.sock")).is_err() {
            continue;
        }
        assert_eq!(service.daemon.wait(PATIENCE).code(), Some(1));
        service.manager.set_nonblocking(true).unwrap();
        assert_eq!(service.heard(), None);
        return;
    }
}

/// Abstract names belong to a network namespace: the manager listens in the relay's.
#[test]
fn a_manager_may_listen_at_an_abstract_name() {
    skip_unless_available!();
    let (line, folder) = (line("dm-notify"), tempfile::tempdir().unwrap());
    let name = format!("mcr-test/{}", std::process::id());
    let manager = line
        .relay()
        .enter(|| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    let service = Service::start_at(manager, &format!("@{name}"), line, folder, &config(), &[]);
    service.wait("READY=1");
}

#[test]
fn a_reload_is_announced_with_its_time_and_ends_ready() {
    skip_unless_available!();
    let service = Service::start(&config(), &[]);
    service.wait("READY=1");
    let reload = |text: &str| {
        fs::write(service.path("mcr.toml"), text).unwrap();
        let before = monotonic_usec();
        service.daemon.signal(Signal::HUP);
        let heard = service.heard().unwrap();
        let after = monotonic_usec();
        assert_eq!(heard[0], "RELOADING=1");
        let usec: i64 = heard[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=after).contains(&usec), "{before} <= {usec} <= {after}");
        // The status may come with the second's tick or with the word that it is done.
        let mut heard = Vec::new();
        while !heard.contains(&"READY=1".to_owned()) {
            heard.extend(service.heard().unwrap());
        }
        let status = heard.into_iter().rfind(|line| line.starts_with("STATUS=")).unwrap();
        (status, service.ctl(&["list"]).as_array().unwrap().len())
    };
    let two = config() + &rule("b", "239.1.1.2%r-in:5000", &["239.2.2.2%r-out:6000"]);
    let (status, rules) = reload(&two);
    assert!(status.ends_with(" workers run, 2 rules active"), "{status}");
    assert_eq!(rules, 2);

    let (status, rules) = reload("colour = 1\n");
    let refusal = "; the last reload was refused: ";
    let unknown = "not valid line 1, column 1: unknown key \"colour\"";
    assert!(status.contains(refusal) && status.contains(unknown), "{status}");
    assert_eq!(rules, 2);

    let (status, rules) = reload(&config());
    assert!(status.ends_with(" workers run, 1 rule active"), "{status}");
    assert_eq!(rules, 1);
}

/// It waits for workers that do not answer, and lives.
#[test]
fn ready_again_is_when_the_workers_have_taken_it_up() {
    skip_unless_available!();
    let usec = WATCHDOG.as_micros().to_string();
    let service = Service::start(&config(), &[("WATCHDOG_USEC", &usec)]);
    service.wait("READY=1");
    let workers = service.ctl(&["workers"]);
    let pids = workers.as_array().unwrap().iter().map(|worker| worker["pid"].as_u64().unwrap());
    let to_all = |it| pids.clone().for_each(|pid| signal(pid, it));
    to_all(Signal::STOP);
    fs::write(service.path("mcr.toml"), "").unwrap();
    service.daemon.signal(Signal::HUP);
    service.wait("RELOADING=1");
    for _ in 0..5 {
        let heard = service.heard().unwrap();
        assert!(heard.iter().all(|line| line != "READY=1"), "{heard:?}");
    }
    to_all(Signal::CONT);
    service.wait("READY=1");
}

#[test]
fn the_status_tells_what_does_not_relay_and_why() {
    skip_unless_available!();
    let rules = config() + &rule("b", "239.1.1.2%v0:5000", &["239.2.2.2%r-out:6000"]);
    let service = Service::start(&rules, &[]);
    let status = service.wait("STATUS=");
    let lacking = "1 of 2 rules active as written; b is pending: interface v0 does not exist";
    assert!(status.ends_with(lacking), "{status}");
    let netns = service.line.relay();
    let cable = testbed::Veth::pair((netns, "v0"), (netns, "v1")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !service.wait("STATUS=").ends_with(" workers run, 2 rules active") {
        assert!(Instant::now() < deadline, "it never came round");
    }
    drop(cable);
}

/// A file that cannot be read to its end holds the supervisor up in the middle of a reload: that is the hang the
/// watchdog is for, and nothing that still lives may cover it up.
#[test]
fn signs_of_life_come_from_the_task_that_works() {
    skip_unless_available!();
    let usec = WATCHDOG.as_micros().to_string();
    let mut service = Service::start(&config(), &[("WATCHDOG_USEC", &usec)]);
    service.wait("READY=1");
    for _ in 0..20 {
        service.wait("WATCHDOG=1");
    }
    let file = service.path("mcr.toml");
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    service.daemon.signal(Signal::HUP);
    service.wait("RELOADING=1");
    service.assert_silent("it hangs and says that it lives");
    File::options().write(true).open(&file).unwrap().write_all(config().as_bytes()).unwrap();
    service.wait("READY=1");
    service.wait("WATCHDOG=1");
    assert_eq!(service.daemon.stop(PATIENCE).code(), Some(0));
}

#[test]
fn signs_of_life_asked_of_another_process_are_not_given() {
    skip_unless_available!();
    let usec = WATCHDOG.as_micros().to_string();
    let service = Service::start(&config(), &[("WATCHDOG_USEC", &usec), ("WATCHDOG_PID", "1")]);
    service.wait("READY=1");
    service.assert_silent("it was not asked");
}

/// The queue of a socket nobody reads is full after a dozen datagrams; then nothing may wait for it.
#[test]
fn a_manager_that_does_not_read_holds_nothing_up() {
    skip_unless_available!();
    let mut service = Service::start(&config(), &[("WATCHDOG_USEC", "40000")]);
    let deaf = "the service manager does not take what it is told, the relay goes on";
    service.daemon.wait_line(|line| line.contains(deaf), PATIENCE);
    assert_eq!(service.ctl(&["show", "a"])["state"], "active");
    // What it was not told is told once it reads, the change of state with the rest.
    service.daemon.signal(Signal::HUP);
    service.daemon.wait_line(|line| line.contains("rules applied add=0"), PATIENCE);
    service.wait("RELOADING=1");
    assert_eq!(service.daemon.stop(PATIENCE).code(), Some(0));
}

#[test]
fn a_manager_that_is_gone_holds_nothing_up() {
    skip_unless_available!();
    let mut service = Service::start(&config(), &[("WATCHDOG_USEC", "40000")]);
    service.wait("READY=1");
    fs::remove_file(service.path("notify")).unwrap();
    let deaf = "the service manager does not take what it is told, the relay goes on: No such file";
    service.daemon.wait_line(|line| line.contains(deaf), PATIENCE);
    assert_eq!(service.ctl(&["show", "a"])["state"], "active");
    // One that listens there again hears of it.
    service.manager = UnixDatagram::bind(service.path("notify")).unwrap();
    service.manager.set_read_timeout(Some(PATIENCE)).unwrap();
    service.wait("WATCHDOG=1");
    assert_eq!(service.daemon.stop(PATIENCE).code(), Some(0));
    let said = service.daemon.lines().iter().filter(|line| line.text.contains("service manager")).count();
    assert_eq!(said, 1, "once, not with each sign of life");
}
