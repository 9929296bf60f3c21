//! Packets that come back: to the interface they came by, and round through a second relay.

use std::time::Instant;

use testbed::{Bridge, Injector, Link, Netns, Probe, Relay, eventually, rule, skip_unless_available};

use crate::bed::{Bed, PROGRAMS, QUIET, SOON};
use crate::expected::{Expected, payloads};

#[test]
fn one_arm_is_enough() {
    skip_unless_available!();
    let rules = rule("group", "239.1.1.1%r-in:5000", &["239.2.2.2%r-in:6000", "10.10.1.100:6001"])
        + &rule("port", "239.1.1.2%r-in:5000", &["239.1.1.2%r-in:6002"]);
    let bed = Bed::new("rlc", 1, &rules);
    // What leaves by the one arm is to have its checksums, and to leave datagram by datagram.
    bed.fan.ingress.link.offload("tx", false).unwrap();
    let mut back = Probe::on(&bed.fan.sender.link).unwrap().only(|seen| seen.dport >= Some(6000));
    let _quiet = crate::bed::listen(&bed.fan.sender, "10.10.1.100:6001");
    let sent = payloads(100, 700);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
        bed.input.udp("10.10.1.100:4000", "239.1.1.2:5000", 16, 0, payload).unwrap();
    }
    let mut seen = back.expect(3 * sent.len(), SOON);
    for to in ["239.2.2.2:6000", "10.10.1.100:6001", "239.1.1.2:6002"] {
        Expected::new(&bed.fan.ingress, &bed.fan.sender, to).assert(&mut seen, &sent);
    }
    back.expect_silence(QUIET);
    assert_eq!(
        (bed.rule("group")["packets"].as_u64(), bed.rule("port")["packets"].as_u64()),
        (Some(100), Some(100))
    );
}

/// Two segments, and two relays that both stand on both.
struct Ring {
    input: Injector,
    probes: [Probe; 2],
    relays: [Relay; 2],
    _netns: [Netns; 5],
}

impl Ring {
    /// `rules` are for the first relay and the second.
    fn new(rules: [&str; 2]) -> Self {
        let netns = ["rlc-sw", "rlc-s", "rlc-w", "rlc-r1", "rlc-r2"].map(|name| Netns::new(name).unwrap());
        let [switch, sender, watcher, first, second] = &netns;
        let segments = ["br0", "br1"].map(|name| Bridge::new(switch, name).unwrap());
        let port = |segment: usize, host: &Netns, name: &str, number: u8| -> Link {
            let port = format!("p{segment}-{number}");
            let link = segments[segment].connect(&port, (host, name)).unwrap();
            link.add_address(format!("10.10.{segment}.{number}").parse().unwrap(), 24).unwrap();
            link.offload("tx", false).unwrap();
            eventually(SOON, "carrier", || link.carrier().unwrap());
            link
        };
        let input = Injector::on(&port(0, sender, "s0", 100)).unwrap();
        let probes = [0, 1].map(|at| {
            let link = port(at, watcher, &format!("w{at}"), 200);
            Probe::on(&link).unwrap().only(|seen| seen.dport == Some(5000))
        });
        let relays = [(first, 1), (second, 2)].map(|(host, number)| {
            port(0, host, "e0", number);
            port(1, host, "e1", number);
            Relay::start(PROGRAMS, host, rules[usize::from(number) - 1]).unwrap()
        });
        Self { input, probes, relays, _netns: netns }
    }

    /// Sends a packet on the first segment; the TTLs it is seen with, and where, once it is gone.
    fn sightings(&mut self, ttl: u8) -> Vec<(usize, u8)> {
        self.input.udp("10.10.0.100:4000", "239.1.1.1:5000", ttl, 0, b"round").unwrap();
        let (mut seen, start) = (Vec::new(), Instant::now());
        let mut quiet = start;
        while quiet.elapsed() < QUIET {
            let before = seen.len();
            for (at, probe) in self.probes.iter_mut().enumerate() {
                seen.extend(probe.drain().iter().map(|seen| (at, seen.ttl)));
            }
            if seen.len() > before || seen.is_empty() {
                quiet = Instant::now();
            }
            assert!(start.elapsed() < SOON, "not seen at all, or going round for ever: {seen:?}");
            std::thread::yield_now();
        }
        seen
    }
}

const THERE: (&str, &str) = ("239.1.1.1%e0:5000", "239.1.1.1%e1:5000,ttl=decrement");
const BACK: (&str, &str) = ("239.1.1.1%e1:5000", "239.1.1.1%e0:5000,ttl=decrement");

fn one(name: &str, (input, output): (&str, &str)) -> String {
    rule(name, input, &[output])
}

#[test]
fn a_packet_that_two_relays_send_round_is_seen_once_a_ttl() {
    skip_unless_available!();
    let mut ring = Ring::new([&one("there", THERE), &one("back", BACK)]);
    for ttl in [9, 1, 2, 40] {
        let mut seen = ring.sightings(ttl);
        seen.sort_by_key(|(_, ttl)| std::cmp::Reverse(*ttl));
        let expected: Vec<_> = (1..=ttl).rev().map(|now| (usize::from((ttl - now) % 2), now)).collect();
        assert_eq!(seen, expected);
    }
    for relay in &ring.relays {
        let stats = relay.stats();
        let of = |name: &str| stats["totals"][name].as_u64().unwrap();
        assert_eq!(
            of("recv"),
            of("matched") + of("parse_err") + of("no_match") + of("buf_exhaust"),
            "{stats:#}"
        );
    }
}

#[test]
fn opposite_pairs_of_two_relays_let_a_packet_go_round_once_a_ttl_and_relay() {
    skip_unless_available!();
    let pair = one("there", THERE) + &one("back", BACK);
    let mut ring = Ring::new([&pair, &pair]);
    for ttl in [8, 1, 30] {
        let seen = ring.sightings(ttl);
        // The packet itself, and each relay's copy of it and of the other's copies.
        for now in 1..=ttl {
            let at = usize::from((ttl - now) % 2);
            let times = seen.iter().filter(|sighting| **sighting == (at, now)).count();
            assert_eq!(times, if now == ttl { 1 } else { 2 }, "TTL {now} of {ttl}: {seen:?}");
        }
        assert_eq!(seen.len(), 2 * usize::from(ttl) - 1, "{seen:?}");
    }
}
