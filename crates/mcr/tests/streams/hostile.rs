//! Frames nobody should send, as many as one sender can, beside a good flow, which loses nothing.

use std::thread;
use std::time::Duration;

use testbed::{Datagram, Injector, Line, rule, skip_unless_available};

use crate::fixture::{Receiver, SOON, cores_to_itself, last_stats, relay, send, without_ipv6};

const FRAMES: usize = 300_000;
const GOOD: u64 = 30_000;

/// Frames a relay takes, each the start of others that it does not.
fn templates() -> Vec<Datagram> {
    let four = || Datagram::between("10.10.1.100:4000", "239.9.9.9:5000").payload([7; 60]);
    let six = || Datagram::between("[fd00:1::100]:4000", "[ff3e::9]:5000").payload([7; 60]);
    vec![
        four(),
        six(),
        four().ip_options([0x94, 4, 0, 0]),
        four().with_wrong_checksum(),
        four().vlan(0, 3),
        six().hop_by_hop(1).destination_options(2),
        six().vlan(9, 0),
    ]
}

/// A number that looks drawn by lot, the same in each run (Marsaglia's xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) as usize
}

/// Some bytes of a frame changed, mostly of its headers, or its end cut off; whole fragments among them.
fn spoilt(frames: &[Vec<u8>], state: &mut u64) -> Vec<u8> {
    let mut frame = frames[next(state) % frames.len()].clone();
    for _ in 0..next(state) % 4 {
        let at = 12 + next(state) % (frame.len() - 12).min(60);
        frame[at] = next(state) as u8;
    }
    if next(state).is_multiple_of(4) {
        frame.truncate(14 + next(state) % (frame.len() - 14));
    }
    frame
}

#[test]
fn a_flood_of_malformed_frames_costs_a_good_flow_nothing() {
    skip_unless_available!();
    let _cores = cores_to_itself();
    let line = Line::new("str-host").unwrap();
    for netns in [line.sender.netns(), line.receiver.netns()] {
        without_ipv6(netns);
    }
    line.egress.link.offload("tx", false).unwrap();
    let file = rule("good", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out:6000"])
        + &rule("four", "239.9.9.9%r-in:5000", &["239.2.2.9%r-out:6009,ttl=decrement"])
        + &rule("six", "[ff3e::9]%r-in", &["239.2.2.9%r-out:6009"]);
    let relay = relay(line.relay(), &file);
    let good = Receiver::start(line.receiver.netns(), &format!("239.2.2.2%d0:6000 --count {GOOD}"));

    let injector = Injector::on(&line.sender.link).unwrap();
    let mac = injector.mac();
    let mut frames: Vec<_> = templates().iter().map(|datagram| datagram.frame(mac)).collect();
    frames.extend(templates().iter().flat_map(|datagram| datagram.fragments(mac, 32)));
    let flood = thread::spawn(move || {
        let mut state = 0x2545_f491_4f6c_dd1d;
        (0..FRAMES).for_each(|_| injector.send_raw(&spoilt(&frames, &mut state)).unwrap());
    });
    let sent = send(
        line.sender.netns(),
        &format!("239.1.1.1%s0:5000 --rate 5000 --count {GOOD}"),
        Duration::from_secs(60),
    );
    flood.join().unwrap();
    assert_eq!(sent["sent"], GOOD);
    let (code, report) = good.verdict(SOON);
    assert_eq!((code, &report["received"], &report["lost"]), (Some(0), &GOOD.into(), &0.into()), "{report}");
    for worker in relay.stats()["workers"].as_array().unwrap() {
        assert_eq!((&worker["restarts"], &worker["state"]), (&0.into(), &"active".into()), "{worker:#}");
    }
    let stats = last_stats(relay);
    assert!(stats.ingress.parse_err > FRAMES as u64 / 10, "{stats:?}");
    assert_eq!(stats.egress.errors, 0, "{stats:?}");
}
