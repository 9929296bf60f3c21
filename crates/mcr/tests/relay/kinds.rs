//! Each kind of address in, each kind out: groups and hosts, IPv4 and IPv6, in any mix.

use testbed::{Datagram, Seen, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, number, payload, payloads};

/// One of each kind, with the address part a rule writes.
const OUTPUTS: [(&str, &str); 4] = [
    ("239.2.2.2%r-out1:6000", "239.2.2.2:6000"),
    ("10.10.2.100:6001", "10.10.2.100:6001"),
    ("[ff3e::2:2]%r-out1:6002", "[ff3e::2:2]:6002"),
    ("[fd00:2::100]:6003", "[fd00:2::100]:6003"),
];

/// Sends datagrams from `from` to `to` through a rule with one output of each kind.
fn relays_to_every_kind(input: &str, from: &str, to: &str) {
    let rules = rule("every-kind", input, &OUTPUTS.map(|(output, _)| output));
    let mut bed = Bed::new("rlk", 1, &rules);
    let _quiet = [bed.listen(0, OUTPUTS[1].1), bed.listen(0, OUTPUTS[3].1)];
    let sent: Vec<_> = [1, 2, 3, 18, 63, 64, 65, 512, 1399, 1400, 1452, 7, 1]
        .iter()
        .enumerate()
        .map(|(number, &size)| payload(number, size))
        .collect();
    for payload in &sent {
        let datagram = Datagram::between(from, to).ttl(7).payload(payload.clone());
        bed.input.send(&datagram.to_mac(target(&bed, to))).unwrap();
    }
    let mut seen = bed.probes[0].expect(4 * sent.len(), SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    let sports = OUTPUTS.map(|(_, to)| Expected::new(egress, receiver, to).assert(&mut seen, &sent));
    assert!(sports.iter().all(|sport| *sport == sports[0]), "one source port on all legs: {sports:?}");
    bed.probes[0].expect_silence(QUIET);
    let (bytes, packets) = (sent.iter().map(Vec::len).sum::<usize>() as u64, sent.len() as u64);
    let account = bed.finish();
    account.assert_all_relayed(packets, 4);
    assert_eq!(account.total("bytes"), 4 * bytes, "{account:#?}");
}

/// The MAC that frames to an address of the relay, or to a group, carry.
fn target(bed: &Bed, to: &str) -> testbed::Mac {
    let to: std::net::SocketAddr = to.parse().unwrap();
    testbed::Mac::of_group(to.ip()).unwrap_or_else(|| bed.fan.ingress.link.mac().unwrap())
}

#[test]
fn an_ipv4_group_goes_to_every_kind() {
    skip_unless_available!();
    relays_to_every_kind("239.1.1.1%r-in:5000", "10.10.1.100:4000", "239.1.1.1:5000");
}

#[test]
fn an_ipv4_host_address_goes_to_every_kind() {
    skip_unless_available!();
    relays_to_every_kind("10.10.1.1%r-in:5000", "10.10.1.100:4000", "10.10.1.1:5000");
}

#[test]
fn an_ipv6_group_goes_to_every_kind() {
    skip_unless_available!();
    relays_to_every_kind("[ff3e::1:1]%r-in:5000", "[fd00:1::100]:4000", "[ff3e::1:1]:5000");
}

#[test]
fn an_ipv6_host_address_goes_to_every_kind() {
    skip_unless_available!();
    relays_to_every_kind("[fd00:1::1]%r-in:5000", "[fd00:1::100]:4000", "[fd00:1::1]:5000");
}

#[test]
fn link_local_groups_of_both_families_are_relayed() {
    skip_unless_available!();
    let rules = rule("mdns", "224.0.0.251%r-in:5353", &["224.0.0.251%r-out1:5353,ttl=255"])
        + &rule("mdns6", "[ff02::fb]%r-in:5353", &["[ff02::fb]%r-out1:5353,ttl=255"]);
    let mut bed = Bed::new("rlk", 1, &rules);
    let sent = payloads(3, 200);
    for (from, to) in [("10.10.1.100:5353", "224.0.0.251:5353"), ("[fe80::77]:5353", "[ff02::fb]:5353")] {
        for payload in &sent {
            bed.input.send(&Datagram::between(from, to).ttl(255).payload(payload.clone())).unwrap();
        }
    }
    let mut seen = bed.probes[0].expect(6, SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    Expected::new(egress, receiver, "224.0.0.251:5353").ttl(255).assert(&mut seen, &sent);
    // To a link-local group the kernel sends from the link-local address.
    let source = seen[0].src.to_string();
    assert!(source.starts_with("fe80:"), "{seen:#?}");
    Expected::new(egress, receiver, "[ff02::fb]:5353").source(&source).ttl(255).assert(&mut seen, &sent);
    bed.finish().assert_all_relayed(6, 1);
}

#[test]
fn a_kept_port_is_the_packets_own() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1", "239.3.3.3%r-out1:6000", "10.10.2.100", "[ff3e::2:2]%r-out1"];
    let mut bed = Bed::new("rlk", 1, &rule("any-port", "239.1.1.1%r-in", &outputs));
    let ports = [5000, 5001, 1, 65535];
    let _quiet = ports.map(|port| bed.listen(0, &format!("10.10.2.100:{port}")));
    let sent = payloads(12, 100);
    for (number, payload) in sent.iter().enumerate() {
        let to = format!("239.1.1.1:{}", ports[number % ports.len()]);
        bed.input.udp("10.10.1.100:4000", &to, 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(4 * sent.len(), SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    for (first, port) in ports.iter().enumerate() {
        let own: Vec<_> = sent.iter().skip(first).step_by(ports.len()).cloned().collect();
        for address in ["239.2.2.2", "10.10.2.100", "[ff3e::2:2]"] {
            Expected::new(egress, receiver, &format!("{address}:{port}")).assert(&mut seen, &own);
        }
        // Flows that are merged keep the order within each.
        let is_of_flow = |seen: &mut Seen| number(&seen.payload) % ports.len() == first;
        let mut flow: Vec<_> = seen.extract_if(.., is_of_flow).collect();
        Expected::new(egress, receiver, "239.3.3.3:6000").assert(&mut flow, &own);
    }
    bed.finish().assert_all_relayed(12, 4);
}
