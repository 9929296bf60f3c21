//! socat at both ends: what one writes, the other has, byte for byte.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use testbed::{Netns, eventually, skip_unless_available};

use crate::fixture::{SOON, cores_to_itself, last_stats};
use crate::programs::{between, lacks, overruns, recorder};

const DATAGRAMS: usize = 2000;
/// Seven MPEG-TS packets, as is usual.
const BYTES: usize = 1316;
/// The sender's pace, for which nothing waits: the receiving socat's buffer holds some ninety datagrams, and cannot
/// be made larger.
const GAP: Duration = Duration::from_millis(1);

/// Bytes that differ from datagram to datagram, so that none can stand for another.
fn content() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        // Numerical Recipes' generator; its upper bits are good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..DATAGRAMS * BYTES).map(|_| next()).collect()
}

/// Sends the content through socat, a datagram at a time.
fn send(netns: &Netns, to: &str, content: &[u8]) {
    let mut command = netns.command("socat");
    command.args(["-u", "-b", &BYTES.to_string(), "STDIN", to]).stdin(Stdio::piped());
    let mut socat = command.spawn().unwrap();
    let mut pipe = socat.stdin.take().unwrap();
    for datagram in content.chunks(BYTES) {
        pipe.write_all(datagram).unwrap();
        thread::sleep(GAP);
    }
    drop(pipe);
    assert!(socat.wait().unwrap().success());
}

fn arrives(netns: &Netns, file: &Path, content: &[u8]) {
    let length = || std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let what = format!("all of {} bytes in {}", content.len(), file.display());
    let complete = std::panic::AssertUnwindSafe(|| {
        eventually(SOON, &what, || length() >= content.len() as u64);
    });
    let complete = std::panic::catch_unwind(complete);
    assert!(complete.is_ok(), "{} bytes arrived; {}", length(), overruns(netns));
    assert!(std::fs::read(file).unwrap() == content, "{} differs from what was sent", file.display());
}

/// What socat sends to `address`, one of its own, comes in at `input` and reaches each of `receivers` whole.
fn intact(input: &str, address: &str, receivers: &[&str]) {
    skip_unless_available!();
    if lacks(module_path!(), &["socat", "ss"]) {
        return;
    }
    let _cores = cores_to_itself();
    let receivers: Vec<SocketAddr> = receivers.iter().map(|to| to.parse().unwrap()).collect();
    let outputs: Vec<String> = receivers.iter().map(output).collect();
    let (line, relay) = between("str-socat", input, &outputs);
    let folder = tempfile::tempdir().unwrap();
    let start = |to: &SocketAddr| {
        let path = folder.path().join(to.port().to_string());
        (recorder(&line.receiver, *to, &path), path)
    };
    let running: Vec<_> = receivers.iter().map(start).collect();
    let content = content();
    send(line.sender.netns(), address, &content);
    for (_, path) in &running {
        arrives(line.receiver.netns(), path, &content);
    }
    let stats = last_stats(relay);
    let copies = receivers.len() * DATAGRAMS;
    assert_eq!(stats.ingress.matched, DATAGRAMS as u64, "{stats:?}");
    assert_eq!((stats.egress.sent, stats.egress.errors), (copies as u64, 0), "{stats:?}");
    assert_eq!(stats.egress.bytes, (copies * BYTES) as u64, "{stats:?}");
}

/// A receiver as a rule writes it: a group with the interface it is reached by.
fn output(to: &SocketAddr) -> String {
    match to {
        SocketAddr::V4(to) if to.ip().is_multicast() => format!("{}%r-out:{}", to.ip(), to.port()),
        SocketAddr::V6(to) if to.ip().is_multicast() => format!("[{}]%r-out:{}", to.ip(), to.port()),
        host => host.to_string(),
    }
}

#[test]
fn a_group_reaches_another_group_and_a_host() {
    let address = "UDP4-DATAGRAM:239.1.1.1:5000,ip-multicast-if=10.10.1.100";
    intact("239.1.1.1%r-in:5000", address, &["239.2.2.2:6000", "10.10.2.100:7000"]);
}

#[test]
fn what_is_sent_to_the_relay_itself_reaches_a_group() {
    intact("10.10.1.1%r-in:5000", "UDP4-DATAGRAM:10.10.1.1:5000", &["239.2.2.3:6000"]);
}

#[test]
fn over_ipv6_and_from_it_to_ipv4() {
    let receivers = ["[ff15::2]:6000", "[fd00:2::100]:7000", "10.10.2.100:7004"];
    intact("[ff15::1]%r-in:5000", "UDP6-DATAGRAM:[ff15::1]:5000", &receivers);
}
