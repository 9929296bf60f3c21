//! What an output may ask for: TTL, DSCP, source address and port, bursts.

use testbed::{Datagram, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, number, payloads};

const OPTIONS: [&str; 16] = [
    "",
    ",ttl=7",
    ",ttl=255",
    ",ttl=decrement",
    ",dscp=46",
    ",dscp=0",
    ",sport=7000",
    ",batch=1",
    ",ttl=1,dscp=63,batch=3,sport=7001",
    ",source=interface",
    ",source=FOREIGN",
    ",source=keep,sport=7000",
    ",source=keep",
    ",sport=keep",
    ",source=FOREIGN,sport=keep,ttl=5,dscp=7",
    ",source=keep,ttl=decrement,batch=1",
];

/// What every leg must have sent of datagrams with TTL 9, DSCP 10 and ECN 1.
fn assert_options(bed: &mut Bed, groups: &[String], sent: &[Vec<u8>], foreign: &str, kept: &str) {
    let mut seen = bed.probes[0].expect(groups.len() * sent.len(), SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    let plain = |at: usize| Expected::new(egress, receiver, &groups[at]).dscp(10).ecn(1);
    let own = plain(0).assert(&mut seen, sent);
    let legs = [
        plain(1).ttl(7).sport(own),
        plain(2).ttl(255).sport(own),
        plain(3).ttl(8).sport(own),
        plain(4).dscp(46).sport(own),
        plain(5).dscp(0).sport(own),
        plain(6).sport(7000),
        plain(7).sport(own),
        plain(8).ttl(1).dscp(63).sport(7001),
        plain(9).sport(own),
        plain(10).source(foreign).sport(own),
        plain(11).source(kept).sport(7000),
        plain(12).source(kept).sport(4000),
        plain(13).sport(4000),
        plain(14).source(foreign).sport(4000).ttl(5).dscp(7),
        plain(15).source(kept).sport(4000).ttl(8),
    ];
    for leg in legs {
        leg.assert(&mut seen, sent);
    }
    bed.probes[0].expect_silence(QUIET);
}

/// Each option on a leg of its own, with `send` besides, for what `source` sends to `address`; the legs' groups are in
/// order.
fn each_option_acts(address: &str, source: &str, group: impl Fn(usize) -> String, foreign: &str, send: &str) {
    let outputs = OPTIONS.iter().enumerate().map(|(at, options)| {
        let options = options.replace("FOREIGN", foreign);
        format!("{}%r-out1:6000{options}{send}", group(at))
    });
    let input = format!("{address}%r-in:5000");
    let mut bed = Bed::new("rlo", 1, &rule("options", &input, &outputs.collect::<Vec<_>>()));
    let groups: Vec<_> = (0..OPTIONS.len()).map(|at| format!("{}:6000", group(at))).collect();
    let sent = payloads(30, 200);
    for payload in &sent {
        let datagram = Datagram::between(&format!("{source}:4000"), &format!("{address}:5000"));
        bed.input.send(&datagram.ttl(9).dscp(10).ecn(1).payload(payload.clone())).unwrap();
    }
    assert_options(&mut bed, &groups, &sent, foreign, source.trim_matches(['[', ']']));
    bed.finish().assert_all_relayed(30, OPTIONS.len() as u64);
}

#[test]
fn each_option_acts_on_its_own_leg_only() {
    skip_unless_available!();
    for send in ["", ",send=frames"] {
        each_option_acts("239.1.1.1", "192.0.2.77", |at| format!("239.2.2.{at}"), "192.0.2.9", send);
    }
}

#[test]
fn each_option_acts_in_ipv6_too() {
    skip_unless_available!();
    let group = |at| format!("[ff3e::2:{at}]");
    for send in ["", ",send=frames"] {
        each_option_acts("[ff3e::1:1]", "[2001:db8:77::77]", group, "2001:db8:9::9", send);
    }
}

#[test]
fn a_source_of_the_hosts_other_interface_may_be_named() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000,source=10.10.1.1", "10.10.2.100:6001,source=10.10.1.1"];
    let mut bed = Bed::new("rlo", 1, &rule("own", "239.1.1.1%r-in:5000", &outputs));
    let _quiet = bed.listen(0, "10.10.2.100:6001");
    // Or strict filtering would drop the relay's ARP requests, which carry the source named.
    bed.fan.receivers[0].netns().ip("route add 10.10.1.0/24 via 10.10.2.1").unwrap();
    let sent = payloads(3, 100);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(6, SOON);
    for to in ["239.2.2.2:6000", "10.10.2.100:6001"] {
        let expected = Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to);
        expected.source("10.10.1.1").assert(&mut seen, &sent);
    }
    bed.finish().assert_all_relayed(3, 2);
}

/// Headers vary from packet to packet: none may ride in a burst of another's.
#[test]
fn packets_of_changing_headers_keep_their_own() {
    skip_unless_available!();
    for send in ["", ",send=frames"] {
        packets_of_changing_headers(send);
    }
}

fn packets_of_changing_headers(send: &str) {
    let outputs = ["239.2.2.2%r-out1:6000,ttl=decrement", "239.2.2.3%r-out1:6000,source=keep,sport=7000"]
        .map(|output| format!("{output}{send}"));
    let mut bed = Bed::new("rlo", 1, &rule("varied", "239.1.1.1%r-in:5000", &outputs));
    let sent = payloads(120, 64);
    for (number, payload) in sent.iter().enumerate() {
        let number = u8::try_from(number).unwrap();
        let from = format!("192.0.2.{}:4000", 1 + number % 3);
        let datagram =
            Datagram::between(&from, "239.1.1.1:5000").ttl(2 + number % 5).dscp(number % 2).ecn(number % 4);
        bed.input.send(&datagram.payload(payload.clone())).unwrap();
    }
    let seen = bed.probes[0].expect(2 * sent.len(), SOON);
    // The sources are three flows: order is kept within each.
    let to = |group: &str| {
        let mut of_group: Vec<_> = seen.iter().filter(|seen| seen.dst.to_string() == group).collect();
        for flow in 0..3 {
            assert!(of_group.iter().map(|seen| number(&seen.payload)).filter(|n| n % 3 == flow).is_sorted());
        }
        of_group.sort_by_key(|seen| number(&seen.payload));
        of_group
    };
    let (lowered, kept) = (to("239.2.2.2"), to("239.2.2.3"));
    assert_eq!((lowered.len(), kept.len()), (sent.len(), sent.len()));
    for (number, (lowered, kept)) in lowered.into_iter().zip(kept).enumerate() {
        let small = u8::try_from(number).unwrap();
        assert_eq!((&lowered.payload, &kept.payload), (&sent[number], &sent[number]));
        assert_eq!((lowered.ttl, kept.ttl), (1 + small % 5, 64), "{lowered:?} {kept:?}");
        assert_eq!((lowered.dscp, lowered.ecn), (small % 2, small % 4), "{lowered:?}");
        assert_eq!((kept.dscp, kept.ecn), (small % 2, small % 4), "{kept:?}");
        assert_eq!(lowered.src.to_string(), "10.10.2.1");
        assert_eq!(kept.src.to_string(), format!("192.0.2.{}", 1 + small % 3));
    }
    bed.finish().assert_all_relayed(120, 2);
}

#[test]
fn a_used_up_ttl_is_dropped_where_it_is_decremented() {
    skip_unless_available!();
    let rules = rule(
        "both",
        "239.1.1.1%r-in:5000",
        &["239.2.2.2%r-out1:6000,ttl=decrement", "239.2.2.3%r-out1:6000"],
    ) + &rule("only", "[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000,ttl=decrement"]);
    let mut bed = Bed::new("rlo", 1, &rules);
    let sent = payloads(4, 50);
    for (payload, ttl) in sent.iter().zip([1, 2, 0, 255]) {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", ttl, 0, payload).unwrap();
        bed.input.udp("[fd00:1::100]:4000", "[ff3e::1:1]:5000", ttl, 0, payload).unwrap();
    }
    let seen = bed.probes[0].expect(2 + 4 + 2, SOON);
    for group in ["239.2.2.2", "ff3e::2:2"] {
        let ttls: Vec<_> =
            seen.iter().filter(|seen| seen.dst.to_string() == group).map(|seen| seen.ttl).collect();
        assert_eq!(ttls, [1, 254], "{group}: {seen:#?}");
    }
    bed.probes[0].expect_silence(QUIET);
    let account = bed.account();
    // The other leg of the first rule took them all: its packets are relayed, not dropped.
    account.assert_drops(&[("ttl", 2)]);
    assert_eq!(
        (account.total("matched"), account.relayed(), account.total("sent")),
        (8, 6, 8),
        "{account:#?}"
    );
    assert_eq!(bed.leg("both", 0)["drops"]["ttl"], 2);
    assert_eq!(bed.leg("both", 1)["drops"]["ttl"], 0);
    assert_eq!(bed.leg("only", 0)["drops"]["ttl"], 2);
    bed.finish();
}
