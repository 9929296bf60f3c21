//! Host addresses as inputs: senders get no ICMP error, and a program that listens keeps its copy.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use testbed::{Fan, Probe, eventually, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON, listen};
use crate::expected::payloads;
use crate::sizes::read;

const OUTPUTS: [&str; 1] = ["239.2.2.2%r-out1:6000"];
/// Any port of the sender's: another test's process that is being started may hold one just closed for a moment.
const ADDRESSES: [(&str, &str); 2] =
    [("10.10.1.100:0", "10.10.1.1:5000"), ("[fd00:1::100]:0", "[fd00:1::1]:5000")];
const ICMP: [u8; 2] = [1, 58];
/// The relay looks at ports it does not hold each second, and who waits for longer takes the stream for dead: five
/// times that.
const HELD_AGAIN: Duration = Duration::from_secs(5);
/// ICMP type of "destination unreachable" in each family (RFC 792, RFC 4443).
const UNREACHABLE: [u8; 2] = [3, 1];

fn rules() -> String {
    rule("host", "10.10.1.1%r-in:5000", &OUTPUTS) + &rule("host6", "[fd00:1::1]%r-in:5000", &OUTPUTS)
}

/// A connected socket of the sender: the kernel tells it of each ICMP error that comes back.
fn connected(fan: &Fan, from: &str, to: &str) -> UdpSocket {
    let socket = fan.sender.netns().enter(|| UdpSocket::bind(from)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Destination unreachable messages among what a probe saw.
fn unreachable(probe: &mut Probe) -> usize {
    let others = probe.others();
    let is_unreachable = |other: &&testbed::Other| {
        let protocol = other.ip.map(|(_, _, protocol)| protocol);
        let family = ICMP.iter().position(|icmp| Some(*icmp) == protocol);
        family.is_some_and(|family| other.payload.first() == Some(&UNREACHABLE[family]))
    };
    others.iter().filter(is_unreachable).count()
}

/// Whether the kernel answers a sender with port unreachable.
fn is_refused(fan: &Fan, from: &str, to: &str) -> bool {
    let socket = connected(fan, from, to);
    socket.set_read_timeout(Some(QUIET)).unwrap();
    socket.send(b"anyone?").unwrap();
    socket.recv(&mut [0; 8]).unwrap_err().kind() == ErrorKind::ConnectionRefused
}

/// Twenty datagrams to each address are relayed, and none is answered.
fn assert_unanswered(bed: &mut Bed, back: &mut Probe) {
    for (from, to) in ADDRESSES {
        let socket = connected(&bed.fan, from, to);
        for payload in payloads(20, 100) {
            socket.send(&payload).unwrap();
            bed.probes[0].expect_one(SOON);
        }
        socket.set_nonblocking(true).unwrap();
        let answer = socket.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::WouldBlock, "{answer}");
    }
    back.expect_silence(QUIET);
    assert_eq!(unreachable(back), 0);
}

#[test]
fn senders_to_a_host_address_get_no_port_unreachable() {
    skip_unless_available!();
    let mut bed = Bed::new("rlu", 1, &rules());
    let mut back = Probe::on(&bed.fan.sender.link).unwrap();
    assert_unanswered(&mut bed, &mut back);
    bed.account().assert_all_relayed(40, 1);

    // The port is given back with the rule, and then the kernel does answer: the test can fail.
    bed.relay.ctl_ok(&["remove", "host"]);
    assert!(is_refused(&bed.fan, ADDRESSES[0].0, ADDRESSES[0].1));
    eventually(SOON, "the probe sees that answer", || unreachable(&mut back) == 1);
}

#[test]
fn a_program_that_listens_keeps_its_copy() {
    skip_unless_available!();
    let fan = Fan::new("rlu", 1).unwrap();
    let listeners = ADDRESSES.map(|(_, to)| listen(&fan.ingress, to));
    let mut bed = Bed::on(fan, &rules());
    let sent = payloads(20, 100);
    for ((from, to), listener) in ADDRESSES.iter().zip(&listeners) {
        let socket = connected(&bed.fan, from, to);
        for payload in &sent {
            socket.send(payload).unwrap();
        }
        assert!(bed.probes[0].expect(20, SOON).iter().map(|seen| &seen.payload).eq(&sent));
        assert_eq!(read(listener, sent.len()), sent);
        listener.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(listener.recv(&mut [0; 8]).is_err(), "a second copy");
    }
    bed.finish().assert_all_relayed(40, 1);
}

/// While a program listens the port is its own; when it ends, the relay has to take it over.
#[test]
fn a_port_is_held_again_when_its_listener_ends() {
    skip_unless_available!();
    let fan = Fan::new("rlu", 1).unwrap();
    // Each datagram is answered, not some a second: silence means that the port is held.
    for limit in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
        fan.relay().sysctl(limit, "0").unwrap();
    }
    let listeners = ADDRESSES.map(|(_, to)| listen(&fan.ingress, to));
    let mut bed = Bed::on(fan, &rules());
    let mut back = Probe::on(&bed.fan.sender.link).unwrap();
    assert_unanswered(&mut bed, &mut back);
    drop(listeners);
    for (from, to) in ADDRESSES {
        eventually(HELD_AGAIN, format!("{to} is held again"), || !is_refused(&bed.fan, from, to));
    }
    // What was relayed and answered meanwhile.
    bed.account();
    bed.probes[0].drain();
    unreachable(&mut back);
    assert_unanswered(&mut bed, &mut back);
}

/// An address the host does not have yet: the rule waits for it and then works.
#[test]
fn a_host_address_that_comes_later_makes_its_rule_active() {
    skip_unless_available!();
    let mut bed = Bed::new("rlu", 1, &rule("late", "10.10.1.7%r-in:5000", &OUTPUTS));
    let (state, reason) = bed.relay.state("late");
    assert_eq!(state, "pending", "{reason}");
    assert!(reason.contains("10.10.1.7") && reason.contains("r-in"), "{reason}");
    bed.fan.ingress.link.add_address("10.10.1.7".parse().unwrap(), 24).unwrap();
    bed.relay.wait_state("late", "active", SOON);
    let socket = connected(&bed.fan, "10.10.1.100:4000", "10.10.1.7:5000");
    socket.send(b"now").unwrap();
    assert_eq!(bed.probes[0].expect_one(SOON).payload, b"now");
    bed.fan.ingress.link.remove_address("10.10.1.7".parse().unwrap(), 24).unwrap();
    bed.relay.wait_state("late", "pending", SOON);
}
