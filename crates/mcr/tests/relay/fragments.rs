//! Datagrams that arrive in fragments leave as the datagrams they were; each fragment is counted once.

use testbed::{Datagram, Fan, Sender, eventually, rule, skip_unless_available};

use crate::bed::{Account, Bed, QUIET, SOON};
use crate::expected::{Expected, payload, payloads};
use crate::sizes::read;

pub(crate) const TO: [&str; 2] = ["239.2.2.2:6000", "[ff3e::2:2]:6000"];

pub(crate) fn rules() -> String {
    rule("four", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("six", "[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000"])
}

/// One of each family, with their own identification.
pub(crate) fn both(number: u16) -> [Datagram; 2] {
    let payload = payload(number.into(), 1200);
    [("10.10.1.100:4000", "239.1.1.1:5000"), ("[fd00:1::100]:4000", "[ff3e::1:1]:5000")]
        .map(|(from, to)| Datagram::between(from, to).payload(payload.clone()).id(7000 + number))
}

/// The frames of its fragments: of 1,208 bytes behind the IP header, three.
pub(crate) fn cut(bed: &Bed, datagram: &Datagram) -> Vec<Vec<u8>> {
    datagram.fragments(bed.input.mac(), 512)
}

pub(crate) fn send(bed: &Bed, frames: &[Vec<u8>]) {
    frames.iter().for_each(|frame| bed.input.send_raw(frame).unwrap());
}

/// Both legs sent these payloads, and nothing else left.
fn assert_relayed(bed: &mut Bed, payloads: &[Vec<u8>]) {
    let mut seen = bed.probes[0].expect(2 * payloads.len(), SOON);
    for to in TO {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, payloads);
    }
    bed.probes[0].expect_silence(QUIET);
}

/// Of the frames that matched `datagrams` were relayed, the others are parts of them.
fn assert_reassembled(account: &Account, matched: u64, datagrams: u64, others: &[(&str, u64)]) {
    account.assert_drops(&[&[("reassembled", matched - datagrams)], others].concat());
    let totals = ["matched", "sent", "errors"].map(|name| account.total(name));
    assert_eq!(totals, [matched, datagrams, 0], "{account:#?}");
    assert_eq!(account.relayed(), datagrams, "{account:#?}");
}

#[test]
fn fragments_in_any_order_leave_as_their_datagrams() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [1, 0, 2], [0, 2, 1]];
    for (number, order) in (0..).zip(orders) {
        let pair = both(number).map(|datagram| cut(&bed, &datagram));
        // The fragments of one among those of the other.
        order.iter().for_each(|at| pair.iter().for_each(|frames| send(&bed, &frames[*at..=*at])));
    }
    assert_relayed(&mut bed, &payloads(6, 1200));
    assert_reassembled(&bed.finish(), 36, 12, &[]);
}

/// Headers before the fragment header and options are those of each fragment; DSCP, ECN and TTL the first one's.
#[test]
fn headers_of_the_first_fragment_are_the_datagrams() {
    skip_unless_available!();
    let outputs = |group| format!("{group}%r-out1:6000,ttl=decrement");
    let rules = rule("four", "239.1.1.1%r-in:5000", &[&outputs("239.2.2.2")])
        + &rule("six", "[ff3e::1:1]%r-in:5000", &[&outputs("[ff3e::2:2]")]);
    let mut bed = Bed::new("rlf", 1, &rules);
    let [four, six] = both(0).map(|datagram| datagram.ttl(9).dscp(46).ecn(1));
    // Router alert (RFC 2113).
    let firsts = [four.ip_options([0x94, 4, 0, 0]).vlan(0, 5), six.hop_by_hop(1).destination_options(2)];
    for (first, rest) in firsts.iter().zip(both(0)) {
        // Another TTL, DSCP and no option on the others; ECN says that congestion was met.
        let rest = rest.ttl(33).dscp(1);
        let rest = [cut(&bed, &rest.clone().ecn(2)).remove(1), cut(&bed, &rest.ecn(3)).remove(2)];
        send(&bed, &rest);
        send(&bed, &cut(&bed, first)[..1]);
    }
    let mut seen = bed.probes[0].expect(2, SOON);
    for to in TO {
        let expected = Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to);
        expected.ttl(8).dscp(46).ecn(3).assert(&mut seen, &payloads(1, 1200));
    }
    assert_reassembled(&bed.finish(), 6, 2, &[]);
}

/// A fragment that is all of its datagram is that datagram, whatever else has its identification (RFC 6946).
#[test]
fn atomic_fragments_are_whole_datagrams() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let (pending, [four, six]) = (both(0), both(0).map(|datagram| datagram.payload(payload(1, 300))));
    let pending = pending.map(|datagram| cut(&bed, &datagram));
    pending.iter().for_each(|frames| send(&bed, &frames[..2]));
    send(&bed, &six.fragments(bed.input.mac(), 512));
    bed.input.send(&four).unwrap();
    pending.iter().for_each(|frames| send(&bed, &frames[2..]));
    let mut seen = bed.probes[0].expect(4, SOON);
    for to in TO {
        let expected = Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to);
        // With two workers the whole one may be the other's: order is not asserted.
        seen.sort_by_key(|seen| std::cmp::Reverse(seen.payload.len()));
        expected.assert(&mut seen, &[payload(0, 1200), payload(1, 300)]);
    }
    assert_reassembled(&bed.finish(), 8, 4, &[]);
}

/// RFC 5722; that goes for IPv4 too, and for fragments that come after it was seen.
#[test]
fn an_overlap_ends_the_datagram_and_a_duplicate_does_not() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let mac = bed.input.mac();
    for datagram in both(0) {
        let frames = cut(&bed, &datagram);
        let duplicates = [&frames[..2], &frames[..2], &frames[1..]].concat();
        send(&bed, &duplicates);
    }
    for datagram in both(1) {
        let frames = cut(&bed, &datagram);
        let overlapping = datagram.piece(mac, 496..520, true);
        send(&bed, &[&frames[..1], &[overlapping], &frames[1..], &frames[..]].concat());
    }
    for datagram in both(2) {
        let frames = cut(&bed, &datagram);
        // The place of another, with other bytes.
        let other = cut(&bed, &datagram.payload(payload(3, 1200))).remove(1);
        send(&bed, &[&frames[1..], &[other], &frames[..1]].concat());
    }
    assert_relayed(&mut bed, &payloads(1, 1200));
    assert_reassembled(&bed.finish(), 6, 2, &[("fragment", 2 * 3 + 2 * 7 + 2 * 4)]);
}

#[test]
fn what_stays_incomplete_is_dropped_after_a_while_without_further_traffic() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    for missing in 0..3 {
        for datagram in both(u16::try_from(missing).unwrap()) {
            let mut frames = cut(&bed, &datagram);
            frames.remove(missing);
            send(&bed, &frames);
        }
    }
    // The account waits until all are counted.
    bed.account().assert_drops(&[("fragment", 12)]);
    // Nobody waits for those any more.
    both(0).iter().for_each(|datagram| send(&bed, &cut(&bed, datagram)[..1]));
    bed.probes[0].expect_silence(QUIET);
    bed.finish().assert_drops(&[("fragment", 14)]);
}

#[test]
fn impossible_fragments_are_dropped_alone() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let mac = bed.input.mac();
    for datagram in both(0) {
        let frames = cut(&bed, &datagram);
        send(&bed, &frames[..1]);
        // Not the last and no multiple of eight; empty; and one that ends beyond 65,535 bytes.
        send(&bed, &[datagram.piece(mac, 512..1023, true), datagram.piece(mac, 512..512, true)]);
        let longest = datagram.clone().payload(vec![0; 65_527]);
        let longest = if longest.is_ipv4() { longest } else { longest.hop_by_hop(1) };
        send(&bed, &[longest.piece(mac, 65_520..65_528, false)]);
        send(&bed, &frames[1..]);
    }
    assert_relayed(&mut bed, &payloads(1, 1200));
    assert_reassembled(&bed.finish(), 6, 2, &[("fragment", 6)]);
}

/// What is wrong with a datagram is known once it is whole, and is so of all its fragments.
#[test]
fn a_datagram_that_is_not_relayed_costs_all_its_fragments_their_reason() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let [four, six] = both(0);
    let wrong = [four.clone().with_wrong_checksum(), six.clone().with_wrong_checksum()];
    for datagram in wrong.iter().chain([&six.without_checksum()]) {
        send(&bed, &cut(&bed, datagram));
    }
    let port = Datagram::between("10.10.1.100:4000", "239.1.1.1:5001").payload(payload(2, 1200)).id(1);
    send(&bed, &cut(&bed, &port));
    bed.probes[0].expect_silence(QUIET);
    // An absent checksum is legal in IPv4.
    send(&bed, &cut(&bed, &four.without_checksum()));
    let mut seen = bed.probes[0].expect(1, SOON);
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], TO[0]).assert(&mut seen, &payloads(1, 1200));
    assert_reassembled(&bed.finish(), 3, 1, &[("bad_checksum", 9), ("no_rule", 3)]);
}

/// Such fragments are not kept: each is counted for its own reason, though its datagram never becomes whole.
#[test]
fn fragments_no_rule_can_want_are_counted_at_once() {
    skip_unless_available!();
    let rules = rule("sourced", "10.10.1.100@239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]);
    let mut bed = Bed::new("rlf", 1, &rules);
    let [wanted, six] = both(0);
    let to = |from, to| Datagram::between(from, to).payload(payload(0, 1200)).id(9);
    let (stranger, elsewhere) =
        (to("10.10.1.101:4000", "239.1.1.1:5000"), to("10.10.1.100:4000", "239.1.1.2:5000"));
    for unwanted in [&stranger, &elsewhere, &six] {
        send(&bed, &cut(&bed, unwanted)[1..]);
    }
    bed.account().assert_drops(&[("wrong_source", 2), ("no_rule", 4)]);
    send(&bed, &cut(&bed, &wanted));
    assert_eq!(bed.probes[0].expect_one(SOON).payload, payload(0, 1200));
    assert_reassembled(&bed.finish(), 3, 1, &[("wrong_source", 2), ("no_rule", 4)]);
}

#[test]
fn a_change_of_rules_costs_no_datagram_under_way() {
    skip_unless_available!();
    let mut bed = Bed::new("rlf", 1, &rules());
    let frames = both(0).map(|datagram| cut(&bed, &datagram));
    frames.iter().for_each(|frames| send(&bed, &frames[..2]));
    bed.relay.ctl_ok(&["add", "more", "239.1.1.7%r-in:5000", "239.2.2.7%r-out1:6000"]);
    frames.iter().for_each(|frames| send(&bed, &frames[2..]));
    assert_relayed(&mut bed, &payloads(1, 1200));
    assert_reassembled(&bed.finish(), 6, 2, &[]);
}

/// The longest datagrams of a real socket, over links of this MTU, to real sockets behind outputs of 1,500: two by
/// the kernel's UDP, one whose packets the relay makes itself.
fn the_longest(mtu: usize, input: &str, from: &str, to: &str, groups: [&str; 3], len: usize) {
    let fan = Fan::new("rlf", 1).unwrap();
    fan.sender.link.set_mtu(mtu).unwrap();
    fan.ingress.link.set_mtu(mtu).unwrap();
    let [first, second, own] = groups.map(|group| format!("{group}%r-out1:6000"));
    let own = format!("{own},sport=keep");
    let bed = Bed::on(fan, &rule("longest", input, &[&first, &second, &own]));
    let sockets = groups.map(|group| bed.listen(0, &format!("{group}:6000")));
    let sender = Sender::open(&bed.fan.sender.link, from.parse().unwrap()).unwrap();
    let sizes = [len, len - 1, 20_000, 1000, len];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
    for (number, payload) in sent.iter().enumerate() {
        sender.send(to.parse().unwrap(), payload).unwrap();
        // One after the other, as whole ones and pieces may be different workers'.
        for socket in &sockets {
            assert!(read(socket, 1)[0] == *payload, "{number}: another payload than that sent");
        }
    }
    // The leg counts a datagram when the kernel has taken it, which a receiver may see first.
    eventually(SOON, "all are counted", || bed.rule("longest")["packets"] == sizes.len());
    let account = bed.finish();
    let fragments = account.total("matched") - sizes.len() as u64;
    assert!(fragments > (3 * 65_000 / mtu) as u64, "{account:#?}");
    account.assert_drops(&[("reassembled", fragments)]);
    assert_eq!(
        (account.relayed(), account.total("sent"), account.total("bytes")),
        (5, 15, 3 * sizes.iter().sum::<usize>() as u64)
    );
}

#[test]
fn the_longest_ipv4_datagrams_are_relayed_whole() {
    skip_unless_available!();
    let groups = ["239.2.2.2", "[ff3e::2:2]", "239.2.2.3"];
    for mtu in [1500, 9000] {
        the_longest(mtu, "239.1.1.1%r-in:5000", "10.10.1.100:4000", "239.1.1.1:5000", groups, 65_507);
    }
}

#[test]
fn the_longest_ipv6_datagrams_are_relayed_whole() {
    skip_unless_available!();
    let groups = ["[ff3e::2:2]", "[ff3e::2:3]", "[ff3e::2:4]"];
    for mtu in [1500, 9000] {
        the_longest(mtu, "[ff3e::1:1]%r-in:5000", "[fd00:1::100]:4000", "[ff3e::1:1]:5000", groups, 65_527);
    }
}

/// The longest of IPv6 has twenty bytes more than one of IPv4.
#[test]
fn what_is_too_long_for_an_outputs_family_is_that_outputs_error() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000", "239.2.2.3%r-out1:6000,sport=keep", "[ff3e::2:2]%r-out1:6000"];
    let mut bed = Bed::new("rlf", 1, &rule("long", "[ff3e::1:1]%r-in:5000", &outputs));
    let sockets = ["239.2.2.2:6000", "239.2.2.3:6000", "[ff3e::2:2]:6000"].map(|to| bed.listen(0, to));
    let sender = Sender::open(&bed.fan.sender.link, "[fd00:1::100]:4000".parse().unwrap()).unwrap();
    for len in [65_508, 65_507] {
        sender.send("[ff3e::1:1]:5000".parse().unwrap(), &payload(len, len)).unwrap();
    }
    assert!(read(&sockets[2], 2) == [payload(65_508, 65_508), payload(65_507, 65_507)]);
    for socket in &sockets[..2] {
        assert!(read(socket, 1) == [payload(65_507, 65_507)], "{socket:?}");
    }
    let account = bed.account();
    assert_eq!(
        (account.relayed(), account.total("sent"), account.total("errors")),
        (2, 4, 2),
        "{account:#?}"
    );
    for (leg, errors) in [(0, 1), (1, 1), (2, 0)] {
        assert_eq!(bed.leg("long", leg)["errors"], errors);
    }
    bed.finish();
}
