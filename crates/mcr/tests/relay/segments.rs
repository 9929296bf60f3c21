//! Senders on virtual links leave checksums and segmentation to a device that never comes: the relay sees
//! super-frames and partial checksums, receivers must see neither.

use testbed::{Sender, eventually, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payloads};
use crate::sizes::read;

/// Both families, as datagrams and as frames.
const OUTPUTS: [&str; 4] = [
    "239.2.2.2%r-out1:6000",
    "[ff3e::2:2]%r-out1:6002",
    "239.2.2.4%r-out1:6004,send=frames",
    "[ff3e::2:6]%r-out1:6006,send=frames",
];

/// What they look like on the wire.
const ARRIVE: [&str; 4] = ["239.2.2.2:6000", "[ff3e::2:2]:6002", "239.2.2.4:6004", "[ff3e::2:6]:6006"];

/// Super-frames of a sender with `UDP_SEGMENT`, each datagram of `size` bytes but the last of `last`.
fn super_frames(from: &str, to: &str, rules: &str, outputs: &[&str], size: usize, last: usize) {
    const FRAMES: usize = 5;
    const SEGMENTS: usize = 40;
    let mut bed = Bed::new("rlg", 1, rules);
    bed.segments_of(size);
    bed.fan.sender.link.offload("tx-udp-segmentation", true).unwrap();
    let sender = Sender::open(&bed.fan.sender.link, from.parse().unwrap()).unwrap();
    let mut sent = payloads(FRAMES * SEGMENTS, size);
    for frame in sent.chunks_mut(SEGMENTS) {
        frame.last_mut().unwrap().truncate(last);
        sender.send_segments(to.parse().unwrap(), &frame.concat(), u16::try_from(size).unwrap()).unwrap();
    }
    let count = sent.len();
    let mut seen = bed.probes[0].expect(outputs.len() * count, SOON);
    for to in outputs {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.probes[0].expect_silence(QUIET);
    bed.finish().assert_all_relayed(count as u64, outputs.len() as u64);
}

#[test]
fn super_frames_leave_as_the_datagrams_they_were() {
    skip_unless_available!();
    let rules = rule("super", "239.1.1.1%r-in:5000", &OUTPUTS);
    let outputs = ARRIVE;
    super_frames("10.10.1.100:4000", "239.1.1.1:5000", &rules, &outputs, 1400, 1400);
    super_frames("10.10.1.100:4000", "239.1.1.1:5000", &rules, &outputs, 100, 1);
}

#[test]
fn ipv6_super_frames_leave_as_the_datagrams_they_were() {
    skip_unless_available!();
    let rules = rule("super", "[ff3e::1:1]%r-in:5000", &OUTPUTS);
    let outputs = ARRIVE;
    super_frames("[fd00:1::100]:4000", "[ff3e::1:1]:5000", &rules, &outputs, 1400, 7);
}

/// What no rule takes is counted by the datagram too.
#[test]
fn super_frames_without_a_rule_are_counted_by_the_datagram() {
    skip_unless_available!();
    let mut bed = Bed::new("rlg", 1, &rule("other", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    bed.segments_of(1000);
    let sender = Sender::open(&bed.fan.sender.link, "10.10.1.100:4000".parse().unwrap()).unwrap();
    sender.send_segments("239.1.1.1:5001".parse().unwrap(), &[7; 29_500], 1000).unwrap();
    sender.send_segments("239.1.1.1:5000".parse().unwrap(), &[7; 2000], 1000).unwrap();
    bed.probes[0].expect(2, SOON);
    bed.probes[0].expect_silence(QUIET);
    let account = bed.finish();
    account.assert_drops(&[("no_rule", 30)]);
    assert_eq!(account.relayed(), 2, "{account:#?}");
}

#[test]
fn partial_checksums_leave_whole() {
    skip_unless_available!();
    let rules = rule("partial", "239.1.1.1%r-in:5000", &[OUTPUTS[0], OUTPUTS[2]])
        + &rule("partial6", "[ff3e::1:1]%r-in:5000", &[OUTPUTS[1], OUTPUTS[3]]);
    let mut bed = Bed::new("rlg", 1, &rules);
    bed.fan.sender.link.offload("tx", true).unwrap();
    let mut arrives = testbed::Probe::on(&bed.fan.ingress.link).unwrap();
    let sent = payloads(10, 700);
    for (from, to) in [("10.10.1.100:4000", "239.1.1.1:5000"), ("[fd00:1::100]:4000", "[ff3e::1:1]:5000")] {
        let sender = Sender::open(&bed.fan.sender.link, from.parse().unwrap()).unwrap();
        for payload in &sent {
            sender.send(to.parse().unwrap(), payload).unwrap();
        }
    }
    assert!(arrives.expect(20, SOON).iter().all(|seen| seen.checksum_partial), "checksums came filled in");
    let mut seen = bed.probes[0].expect(40, SOON);
    for to in ARRIVE {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.finish().assert_all_relayed(20, 2);
}

/// On a device that segments, a burst leaves as one frame; `batch` says how long it may be.
#[test]
fn bursts_are_no_longer_than_the_output_allows() {
    skip_unless_available!();
    const SIZE: usize = 1000;
    let outputs = [
        "239.2.2.2%r-out1:6000",
        "239.2.2.3%r-out1:6000,batch=3",
        "239.2.2.4%r-out1:6000,batch=1",
        "239.2.2.5%r-out1:6000,send=frames",
        "239.2.2.6%r-out1:6000,batch=3,send=frames",
    ];
    let mut bed = Bed::new("rlg", 1, &rule("bursts", "239.1.1.1%r-in:5000", &outputs));
    bed.segments_of(SIZE);
    bed.fan.egress[0].link.offload("tx", true).unwrap();
    bed.fan.egress[0].link.offload("tx-udp-segmentation", true).unwrap();
    let sender = Sender::open(&bed.fan.sender.link, "10.10.1.100:4000".parse().unwrap()).unwrap();
    let sent = payloads(30, SIZE).concat();
    sender.send_segments("239.1.1.1:5000".parse().unwrap(), &sent, u16::try_from(SIZE).unwrap()).unwrap();
    let seen = bed.probes[0].expect(1 + 10 + 30 + 1 + 10, SOON);
    let longest =
        [("239.2.2.2", 30), ("239.2.2.3", 3), ("239.2.2.4", 1), ("239.2.2.5", 30), ("239.2.2.6", 3)];
    for (group, longest) in longest {
        let frames: Vec<_> = seen.iter().filter(|seen| seen.dst.to_string() == group).collect();
        assert!(frames.iter().all(|frame| frame.payload.len() == longest * SIZE), "{frames:#?}");
        assert!(
            frames.iter().flat_map(|frame| &frame.payload).eq(&sent),
            "{group}: other bytes than those sent"
        );
    }
    bed.probes[0].expect_silence(QUIET);
    bed.finish().assert_all_relayed(30, 5);
}

/// A burst that meets an MTU the relay does not know yet is refused whole and sent again one by one; once the
/// relay knows, bursts leave as bursts again and the leg says so.
#[test]
fn a_leg_takes_up_bursts_again() {
    skip_unless_available!();
    const SIZE: usize = 1400;
    let mut bed = Bed::new("rlg", 1, &rule("shrinks", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    bed.segments_of(SIZE);
    let socket = bed.listen(0, "239.2.2.2:6000");
    let sender = Sender::open(&bed.fan.sender.link, "10.10.1.100:4000".parse().unwrap()).unwrap();
    let sent = payloads(20, SIZE);
    let burst = |sender: &Sender| {
        let segment = u16::try_from(SIZE).unwrap();
        sender.send_segments("239.1.1.1:5000".parse().unwrap(), &sent.concat(), segment).unwrap();
    };
    for mtu in [1300, 1500, 1300, 1500] {
        // The relay looks at changes once per 20 ms: at the first of two at once, at the second later.
        bed.fan.egress[0].link.set_mtu(1498).unwrap();
        bed.fan.egress[0].link.set_mtu(mtu).unwrap();
        burst(&sender);
        assert!(read(&socket, sent.len()) == sent, "MTU {mtu}: other payloads than those sent");
    }
    eventually(SOON, "the leg sends bursts again", || {
        burst(&sender);
        assert!(read(&socket, sent.len()) == sent, "other payloads than those sent");
        bed.leg("shrinks", 0)["reason"] == ""
    });
    let account = bed.finish();
    account.assert_all_relayed(account.total("matched"), 1);
}
