//! The operator's own commands, which set the device up or change it: run by `sh -c`, with the step in their
//! environment and its flows on standard input.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mcast::Endpoint;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::TesterError;
use super::step::Step;
use crate::generator::clock;
use crate::generator::stop::Stop;
use crate::generator::target::advance;

/// Longest a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(1);

/// Characters of a command that an error shows.
const SHOWN_MAX: usize = 80;

/// What a command is told of the step.
#[derive(Debug, Clone)]
pub(super) struct Told<'a> {
    pub(super) test: &'static str,
    pub(super) step: &'a Step,
    /// The first flow's endpoint at the sender, and at each output.
    pub(super) tx: &'a Endpoint,
    pub(super) rx: &'a [Endpoint],
    /// Each unicast flow's endpoint at the sender and where it arrives.
    pub(super) unicast: &'a [(Endpoint, Endpoint)],
}

/// When a command ran, nanoseconds on `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
}

/// Runs `command`, called `what` in messages, to its end. What it prints goes to standard error.
///
/// # Errors
/// When it cannot be run, fails, takes longer than a minute, or a signal arrives.
pub(super) fn run(
    what: &'static str,
    command: &str,
    told: &Told<'_>,
    stop: &Stop,
) -> Result<Ran, TesterError> {
    let failed = |how: String| TesterError::Command { what, command: shortened(command), how };
    let input = flows_file(told).map_err(|error| TesterError::Process("hand flows to a command", error))?;
    let spaced =
        |endpoints: &[Endpoint]| endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(" ");
    let began_ns = clock::monotonic_ns();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("MCRGEN_TEST", told.test)
        .env("MCRGEN_SIZE", told.step.size.to_string())
        .env("MCRGEN_FANOUT", told.step.fanout.to_string())
        .env("MCRGEN_GROUPS", told.step.groups.to_string())
        .env("MCRGEN_TX", told.tx.to_string())
        .env("MCRGEN_RX", spaced(told.rx))
        .env("MCRGEN_UNICAST_SHARE", told.step.unicast_share.unwrap_or_default().to_string())
        .stdin(input)
        .stdout(std::io::stderr())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be started ({error})")))?;
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().map_err(|error| failed(format!("cannot be waited for ({error})")))? {
            Some(status) if status.success() => {
                return Ok(Ran { began_ns, ended_ns: clock::monotonic_ns() });
            }
            Some(status) => return Err(failed(how(status))),
            None if stop.requested() || Instant::now() >= until => {
                kill(&mut child);
                return Err(if stop.requested() {
                    TesterError::Interrupted
                } else {
                    failed(format!("did not end within {} s and was killed", PATIENCE.as_secs()))
                });
            }
            None => std::thread::sleep(POLL),
        }
    }
}

/// Ends a command with all it started, or what a pipe waits for would go on after the tester.
fn kill(child: &mut Child) {
    // They may have ended meanwhile.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// As much of a command as tells it from others.
fn shortened(command: &str) -> String {
    let line = command.lines().next().unwrap_or_default();
    let start: String = line.chars().take(SHOWN_MAX).collect();
    if start.len() < command.len() { format!("{start} ...") } else { start }
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => format!("was ended by a signal ({status})"),
    }
}

/// A file in memory with a line for each flow that is sent, unicast behind multicast: its endpoint at the sender, then
/// those at the outputs.
fn flows_file(told: &Told<'_>) -> std::io::Result<Stdio> {
    let mut file = std::fs::File::from(memfd_create("flows", MemfdFlags::CLOEXEC)?);
    let mut text = Vec::new();
    let (groups, unicast) = match told.step.unicast_share {
        Some(100) => (0, told.unicast),
        None | Some(0) => (told.step.groups, &[][..]),
        Some(_) => (told.step.groups, told.unicast),
    };
    for flow in 0..groups {
        write!(text, "{}", nth(told.tx, flow))?;
        for output in told.rx {
            write!(text, " {}", nth(output, flow))?;
        }
        writeln!(text)?;
    }
    for (tx, rx) in unicast {
        writeln!(text, "{tx} {rx}")?;
    }
    file.write_all(&text)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Flow `flow`'s endpoint: a group's address counts up, a host's port does.
fn nth(first: &Endpoint, flow: u16) -> Endpoint {
    let mut endpoint = first.clone();
    if first.address.is_multicast() {
        endpoint.address = advance(first.address, flow).unwrap_or(first.address);
    } else {
        endpoint.port = first.port.and_then(|port| port.checked_add(flow));
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::size::parse_sizes;
    use super::*;

    fn with_told<T>(unicast_share: Option<u8>, work: impl FnOnce(&Told<'_>) -> T) -> T {
        let size = parse_sizes("18:7,64:1").unwrap().remove(0);
        let step = Step { size, fanout: 2, groups: 2, unicast_share };
        let (tx, rx) = ("239.1.1.1%s0:5000", ["239.2.1.255%d0:6000", "10.0.0.1:7000"]);
        let rx = rx.map(|text| text.parse().unwrap());
        let unicast = [("10.1.0.2:7".parse().unwrap(), "10.2.0.1:8".parse().unwrap())];
        let tx = tx.parse().unwrap();
        work(&Told { test: "throughput", step: &step, tx: &tx, rx: &rx, unicast: &unicast })
    }

    #[test]
    fn flows_are_told_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told");
        let command = format!("(env | grep ^MCRGEN_ | sort; cat) >{}", path.display());
        with_told(None, |told| run("set-up", &command, told, &Stop::default()).unwrap());
        let mut text = String::new();
        std::fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "MCRGEN_FANOUT=2\nMCRGEN_GROUPS=2\nMCRGEN_RX=239.2.1.255%d0:6000 10.0.0.1:7000\n\
             MCRGEN_SIZE=18:7,64:1\nMCRGEN_TEST=throughput\nMCRGEN_TX=239.1.1.1%s0:5000\nMCRGEN_UNICAST_SHARE=0\n\
             239.1.1.1%s0:5000 239.2.1.255%d0:6000 10.0.0.1:7000\n\
             239.1.1.2%s0:5000 239.2.2.0%d0:6000 10.0.0.1:7001\n"
        );
    }

    #[test]
    fn flows_that_are_not_sent_are_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told");
        let command = format!("cat >{}", path.display());
        let lines = |share| {
            with_told(Some(share), |told| run("set-up", &command, told, &Stop::default()).unwrap());
            std::fs::read_to_string(&path).unwrap()
        };
        let multicast = "239.1.1.1%s0:5000 239.2.1.255%d0:6000 10.0.0.1:7000\n\
                         239.1.1.2%s0:5000 239.2.2.0%d0:6000 10.0.0.1:7001\n";
        let unicast = "10.1.0.2:7 10.2.0.1:8\n";
        assert_eq!(lines(0), multicast);
        assert_eq!(lines(50), format!("{multicast}{unicast}"));
        assert_eq!(lines(100), unicast);
    }

    #[test]
    fn failures_are_told() {
        let long = format!("exit 3; {}", "x".repeat(100));
        for (command, says) in [
            ("exit 3", "exit code 3: exit 3"),
            ("kill -9 $$", "signal"),
            (&long, "xxx ..."),
            ("exit 3\ntrue", "exit code 3: exit 3 ..."),
        ] {
            let error = with_told(None, |told| run("set-up", command, told, &Stop::default()).unwrap_err());
            assert!(error.to_string().contains(says) && error.to_string().len() < 160, "{error}");
        }
    }
}
