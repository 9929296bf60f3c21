//! A sender, a relay and a receiver, traffic that goes on while a test does other things, and a verdict on it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testbed::relay::{Programs, Relay};

use testbed::{Line, Probe, Seen, Sender};

pub(crate) const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

/// What a test waits for at most, where nothing else bounds it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay between a sender and a receiver, with a probe where the receiver is.
pub(crate) struct Place {
    pub(crate) relay: Relay,
    pub(crate) line: Line,
}

impl Place {
    /// Starts the daemon with these rules.
    pub(crate) fn start(prefix: &str, config: &str) -> Self {
        Self::start_with(prefix, config, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(prefix: &str, config: &str, more: &[&str]) -> Self {
        let line = line(prefix);
        let relay = Relay::start_with(PROGRAMS, line.relay(), config, more).unwrap();
        Self { relay, line }
    }

    /// A probe at the receiver for datagrams to `port`.
    pub(crate) fn probe(&self, port: u16) -> Probe {
        Probe::on(&self.line.receiver.link).unwrap().only(move |seen| seen.dport == Some(port))
    }

    /// Sends numbered datagrams from the sender's address and `from_port`, `pps` a second, until stopped.
    pub(crate) fn traffic(&self, from_port: u16, to: &str, pps: u32) -> Traffic {
        Traffic::start(&self.sender(from_port), to, pps)
    }

    pub(crate) fn sender(&self, from_port: u16) -> Arc<Sender> {
        let from = SocketAddr::new(self.line.sender.v4.into(), from_port);
        Arc::new(Sender::open(&self.line.sender.link, from).unwrap())
    }
}

/// The links of a [`Place`], with carrier all the way.
pub(crate) fn line(prefix: &str) -> Line {
    let line = Line::new(prefix).unwrap();
    for port in [&line.ingress, &line.egress] {
        testbed::eventually(PATIENCE, "carrier", || port.link.carrier().unwrap());
    }
    line
}

/// Datagrams under way, numbered from 0.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    sent: JoinHandle<u64>,
}

impl Traffic {
    pub(crate) fn start(sender: &Arc<Sender>, to: &str, pps: u32) -> Self {
        let (stop, to): (Arc<AtomicBool>, SocketAddr) = (Arc::default(), to.parse().unwrap());
        let (stopped, sender) = (stop.clone(), sender.clone());
        let sent = thread::spawn(move || {
            let start = Instant::now();
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                sender.send(to, &number.to_be_bytes()).unwrap();
                number += 1;
                // The sender's pace, for which nothing waits.
                let due = start + Duration::from_secs(number) / pps;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            number
        });
        Self { stop, sent }
    }

    /// Ends it and says how many were sent.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.sent.join().unwrap()
    }
}

/// Sends `count` datagrams numbered from `first`, one after the other.
pub(crate) fn send_numbered(sender: &Sender, to: &str, first: u64, count: u64) {
    for number in first..first + count {
        sender.send(to.parse().unwrap(), &number.to_be_bytes()).unwrap();
    }
}

/// The numbers datagrams carry, in order of arrival.
pub(crate) fn numbers(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| u64::from_be_bytes(seen.payload.as_slice().try_into().unwrap())).collect()
}

/// Every number below `count` arrives once and in order, and nothing else does.
pub(crate) fn assert_all_arrive(probe: &mut Probe, count: u64) {
    let seen = numbers(&probe.expect(usize::try_from(count).unwrap(), PATIENCE));
    let wrong = seen.iter().zip(0..).find(|(number, expected)| *number != expected);
    assert_eq!(wrong, None, "lost, twice or out of order, as (got, expected)");
    assert!(probe.drain().is_empty(), "more arrived than was sent");
}

/// Sends a signal to any process, such as a worker.
pub(crate) fn signal(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The keys of a JSON object, sorted.
pub(crate) fn keys(value: &Value) -> String {
    let keys: BTreeSet<_> =
        value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().collect();
    keys.into_iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
