//! What is reported: every fault told apart, and exit codes that follow.

use std::net::SocketAddr;
use std::time::Duration;

use mcr::generator::header::{Header, fill_pattern};
use testbed::{Datagram, Injector, eventually, run, skip_unless_available};

use super::cable::{Cable, LONG};

fn payload(flow: u16, sequence: u64) -> Vec<u8> {
    let mut bytes = vec![0; 200];
    fill_pattern(flow, sequence, &mut bytes);
    Header { flow, sequence, sent_ns: 0 }.emit(&mut bytes);
    bytes
}

fn datagram(payload: Vec<u8>) -> Datagram {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Datagram::new(address("10.10.1.1:7"), address("239.1.1.1:5000")).payload(payload)
}

#[test]
fn faults_are_told_apart() {
    skip_unless_available!();
    let cable = Cable::new();
    let receiver = cable.receiver("239.1.1.1%d0:5000");
    let injector = Injector::on(&cable.s0.link).unwrap();
    for sequence in [0, 1, 5, 3, 3] {
        injector.send(&datagram(payload(0, sequence))).unwrap();
    }
    let mut corrupted = payload(0, 6);
    corrupted[100] ^= 0x10;
    injector.send(&datagram(corrupted)).unwrap();
    injector.send(&datagram(payload(0, 6)).with_wrong_checksum()).unwrap();
    injector.send(&datagram(b"not ours".to_vec())).unwrap();
    let (report, code) = receiver.report();
    let expected = [
        ("received", 5),
        ("lost", 2),
        ("duplicated", 1),
        ("reordered", 1),
        ("corrupted", 1),
        ("bad_checksum", 1),
        ("foreign", 1),
    ];
    for (figure, number) in expected {
        assert_eq!(report[figure], number, "{figure} in {report}");
    }
    assert_eq!(code, 1);
}

/// Each fault alone decides the exit code; foreign packets and reordering do not.
#[test]
fn exit_codes() {
    skip_unless_available!();
    let cable = Cable::new();
    let injector = Injector::on(&cable.s0.link).unwrap();
    let mut corrupted = payload(0, 2);
    corrupted[30] = !corrupted[30];
    let good = |sequence| datagram(payload(0, sequence));
    let foreign = || datagram(b"other".to_vec());
    let cases = [
        ("clean", vec![good(0), good(1)], 0),
        ("foreign", vec![good(0), foreign()], 0),
        ("reordered", vec![good(0), good(2), good(1)], 0),
        ("lost", vec![good(0), good(2)], 1),
        ("duplicated", vec![good(0), good(0)], 1),
        ("corrupted", vec![good(0), good(1), datagram(corrupted)], 1),
        ("bad checksum", vec![good(0), good(1).with_wrong_checksum()], 1),
    ];
    for (name, packets, code) in cases {
        let receiver = cable.receiver("239.1.1.1%d0:5000");
        packets.iter().for_each(|packet| injector.send(packet).unwrap());
        let (report, ended) = receiver.report();
        assert_eq!(ended, code, "{name}: {report}");
    }
}

#[test]
fn nothing_received_fails() {
    skip_unless_available!();
    let cable = Cable::new();
    let (report, code) = cable.receiver("239.1.1.1%d0:5000 --duration 0.3").report();
    assert_eq!((&report["received"], code), (&0.into(), 1), "{report}");
    let one_of_two = cable.run("239.1.1.1%s0:5000 --count 10", "239.1.1.1%d0:5000 --flows 2");
    assert_eq!((&one_of_two.received["silent"][0], one_of_two.code), (&"239.1.1.2".into(), 1));
}

#[test]
fn silence_ends_a_run_after_as_long_as_is_asked_for() {
    skip_unless_available!();
    let cable = Cable::new();
    // A packet a second.
    for (silence, received) in [("--silence 0.2", 1), ("--silence 20 --count 3", 3)] {
        let receiver = cable.receiver(&format!("239.1.1.1%d0:5000 --duration 25 {silence}"));
        let _ = cable.send("239.1.1.1%s0:5000 --rate 1 --count 3");
        assert_eq!(receiver.report().0["received"], received, "{silence}");
    }
}

#[test]
fn fragments_are_said_not_taken_for_silence() {
    skip_unless_available!();
    let cable = Cable::new();
    for (to, at) in [("239.1.1.1%s0:5000", "239.1.1.1%d0:5000"), ("[ff3e::1]%s0:5000", "[ff3e::1]%d0:5000")] {
        let receiver = cable.receiver(&format!("{at} --count 20 --duration 2"));
        let sent = cable.send(&format!("{to} --count 20 --size 3000 --rate max"));
        assert_eq!(sent.json()["sent"], 20, "{sent:?}");
        let (report, code) = receiver.report();
        assert_eq!((&report["fragments"], &report["lost"], code), (&60.into(), &20.into(), 1), "{report}");
    }
}

#[test]
fn a_count_makes_the_tail_count() {
    skip_unless_available!();
    let cable = Cable::new();
    let short = cable.run("239.1.1.1%s0:5000 --count 40", "239.1.1.1%d0:5000 --count 50");
    assert_eq!((&short.received["lost"], short.code), (&10.into(), 1), "{}", short.received);
}

#[test]
fn only_the_source_asked_for_is_counted() {
    skip_unless_available!();
    let cable = Cable::new();
    let receiver = cable.receiver("192.0.2.1@239.1.1.1%d0:5000 --count 20");
    cable.send("239.1.1.1%s0:5000 --count 30 --rate max");
    cable.send("192.0.2.1@239.1.1.1%s0:5000 --count 20 --rate max");
    let (report, code) = receiver.report();
    assert_eq!((&report["received"], code), (&20.into(), 0), "{report}");
    assert_eq!(report["sources"], serde_json::json!(["192.0.2.1"]));
}

/// More groups than a socket can join are joined, on as many sockets as it takes, and left at the end.
#[test]
fn fifty_groups_are_joined() {
    skip_unless_available!();
    let cable = Cable::new();
    let joined = || cable.d0.netns().ip("maddress show dev d0").unwrap().matches(" 239.7.").count();
    let receiver = cable.receiver("239.7.1.1%d0:5000 --flows 50 --count 500");
    assert_eq!(joined(), 50);
    cable.send("239.7.1.1%s0:5000 --flows 50 --count 500 --rate 20000");
    let (report, code) = receiver.report();
    assert_eq!((&report["lost"], code), (&0.into(), 0), "{report}");
    eventually(Duration::from_secs(5), "the groups are left", || joined() == 0);
}

/// A refused port would come back as an error of the sender's.
#[test]
fn a_unicast_receiver_holds_its_ports() {
    skip_unless_available!();
    let cable = Cable::new();
    let outcome = cable.run("10.10.1.2:5000 --flows 3 --count 60", "10.10.1.2:5000 --flows 3 --count 60");
    assert_eq!((&outcome.sent["errors"], outcome.code), (&0.into(), 0), "{}", outcome.sent);
    let unheld = cable.send("10.10.1.2:6000 --count 60");
    assert!(unheld.json()["errors"].as_u64().unwrap() > 0, "{unheld:?}");
}

#[test]
fn refusals() {
    skip_unless_available!();
    let cable = Cable::new();
    for (line, code, says) in [
        ("239.1.1.1:5000", 2, "names no interface"),
        ("10.10.1.2", 2, "names no port"),
        ("239.1.1.2@239.1.1.1%d0:5000", 2, "source 239.1.1.2 is a group"),
        ("10.99.99.99:5000", 1, "address of this host"),
    ] {
        let finished = run(Cable::command(cable.d0.netns(), &format!("recv {line} --duration 1")), LONG);
        assert_eq!(finished.code(), code, "{line}: {finished:?}");
        assert!(finished.stderr.contains(says), "{line}: {finished:?}");
    }
}
