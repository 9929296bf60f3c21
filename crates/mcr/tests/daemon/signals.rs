//! SIGTERM, SIGINT and SIGHUP: what they do, and what is left behind.

use std::fs;

use rustix::process::Signal;
use testbed::{Netns, rule, skip_unless_available};

use crate::fixture::{PATIENCE, Place, assert_all_arrive, numbers, send_numbered, signal};

fn config() -> String {
    rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])
        + &rule("b", "10.10.1.7@239.1.1.2%r-in:5000", &["239.2.2.2%r-out:6001"])
        + &rule("c", "10.10.1.1%r-in:5000", &["10.10.2.100:6002"])
        + &rule("d", "[ff3e::1]%r-in:5000", &["[ff3e::2]%r-out:6003,sport=9000"])
}

/// What a namespace's kernel holds for processes: sockets and groups, without what counts or times them.
fn held(netns: &Netns) -> Vec<String> {
    let table = |file: &str, columns: std::ops::Range<usize>| {
        let path = format!("/proc/thread-self/net/{file}");
        let text = netns.enter(|| fs::read_to_string(&path).unwrap());
        let line = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            format!(
                "{file} {}",
                words[columns.start.min(words.len())..columns.end.min(words.len())].join(" ")
            )
        };
        text.lines().skip(1).map(line).collect::<Vec<_>>()
    };
    let tables = [
        ("packet", 2..9),
        ("udp", 1..2),
        ("udp6", 1..2),
        ("raw", 1..2),
        ("netlink", 1..2),
        ("igmp", 0..1),
        ("igmp6", 1..3),
        ("mcfilter", 0..5),
        ("mcfilter6", 0..5),
    ];
    tables.into_iter().flat_map(|(file, columns)| table(file, columns)).collect()
}

fn ends_cleanly(how: Signal) {
    let mut place = Place::start("dm-end", "");
    let netns = place.line.relay().clone();
    place.relay.stop();
    let before = held(&netns);
    let folder = place.relay.config().parent().unwrap().to_owned();
    fs::write(place.relay.config(), config()).unwrap();
    place.relay.start_again().unwrap();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(place.relay.state(name), ("active".to_owned(), String::new()), "{name}");
    }
    assert!(held(&netns).len() > before.len() + 8, "{:#?}", held(&netns));

    let mut probe = place.probe(6000);
    let sender = place.sender(4000);
    // In the rings and not read yet when the signal comes.
    let workers = place.relay.ctl_json(&["workers"]);
    let pids: Vec<u64> =
        workers.as_array().unwrap().iter().map(|worker| worker["pid"].as_u64().unwrap()).collect();
    for pid in &pids {
        signal(*pid, Signal::STOP);
    }
    send_numbered(&sender, "239.1.1.1:5000", 0, 500);
    place.relay.daemon().signal(how);
    for pid in &pids {
        signal(*pid, Signal::CONT);
    }
    let status = place.relay.daemon().wait(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert_all_arrive(&mut probe, 500);
    let last = place.relay.daemon().stats_last().unwrap();
    assert_eq!((last.ingress.matched, last.egress.sent, last.egress.submitted), (500, 500, 500));
    assert!(last.ingress.balances(), "{last:?}");

    assert_eq!(netns.pids().unwrap(), [0; 0]);
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mcr.toml"]);
    assert_eq!(held(&netns), before);
}

/// As systemd does where KillMode is not set, and `pkill mcrd`: workers leave when they are told to.
#[test]
fn signals_to_workers_too_change_nothing() {
    skip_unless_available!();
    let mut place = Place::start("dm-group", &config());
    let mut probe = place.probe(6000);
    let workers = place.relay.ctl_json(&["workers"]);
    let pids: Vec<u64> =
        workers.as_array().unwrap().iter().map(|worker| worker["pid"].as_u64().unwrap()).collect();
    let to_all =
        |signals: &[Signal]| pids.iter().for_each(|pid| signals.iter().for_each(|it| signal(*pid, *it)));
    to_all(&[Signal::HUP, Signal::INT, Signal::TERM]);
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 100);
    assert_all_arrive(&mut probe, 100);
    assert_eq!(place.relay.ctl_json(&["workers"])[0]["restarts"], 0);

    to_all(&[Signal::STOP]);
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 300);
    to_all(&[Signal::TERM]);
    place.relay.daemon().signal(Signal::TERM);
    to_all(&[Signal::CONT]);
    assert_eq!(place.relay.daemon().wait(PATIENCE).code(), Some(0));
    assert_all_arrive(&mut probe, 300);
    assert_eq!(place.relay.daemon().stats_last().unwrap().egress.sent, 400);
}

/// The successor of a worker that has just died drains the ring, too.
#[test]
fn sigterm_drains_after_a_death() {
    skip_unless_available!();
    let mut place = Place::start_with("dm-late", &config(), &["--cores", "0"]);
    let mut probe = place.probe(6000);
    let worker = place.relay.ctl_json(&["workers"])[0]["pid"].as_u64().unwrap();
    signal(worker, Signal::STOP);
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 300);
    signal(worker, Signal::KILL);
    place.relay.daemon().wait_line(|line| line.contains("a successor takes over"), PATIENCE);
    place.relay.daemon().signal(Signal::TERM);
    assert_eq!(place.relay.daemon().wait(PATIENCE).code(), Some(0));
    assert_all_arrive(&mut probe, 300);
}

#[test]
fn sigterm_drains_and_and_leaves_nothing_behind() {
    skip_unless_available!();
    ends_cleanly(Signal::TERM);
}

#[test]
fn sigint_is_the_same() {
    skip_unless_available!();
    ends_cleanly(Signal::INT);
}

#[test]
fn sighup_applies_the_file_again_or_changes_nothing() {
    skip_unless_available!();
    let mut place = Place::start("dm-hup", &config());
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 1000);
    place.relay.ctl_ok(&["add", "lost-at-reload", "239.7.7.7%r-in", "10.10.2.100"]);
    let config = config();
    let next = config.replace("6001", "6099");
    fs::write(place.relay.config(), &next).unwrap();
    let relay = &mut place.relay;
    relay.daemon().signal(Signal::HUP);
    relay.daemon().wait_line(|line| line.contains("rules applied add=0 remove=1 change=1 keep=3"), PATIENCE);
    let list = relay.ctl_json(&["list"]);
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(list[1]["outputs"][0], "239.2.2.2%r-out:6099");

    let before = (list, relay.stats()["generation"].clone());
    let cases = [
        (Some(next.clone() + "colour = 1\n"), "line 17, column 1: unknown key \"colour\""),
        (Some(next.clone() + &rule("a", "239.8.8.8%r-in", &["10.0.0.1"])), "there is a rule named a already"),
        (None, "cannot read the configuration"),
    ];
    for (refusals, (text, words)) in (1..).zip(cases) {
        match text {
            Some(text) => fs::write(relay.config(), text).unwrap(),
            None => fs::remove_file(relay.config()).unwrap(),
        }
        relay.daemon().signal(Signal::HUP);
        let refused = "reload refused, nothing is changed: ";
        testbed::eventually(PATIENCE, words, || {
            relay.daemon().lines().iter().filter(|line| line.text.contains(refused)).count() == refusals
        });
        relay.daemon().wait_line(|line| line.contains(words), PATIENCE);
        assert_eq!((relay.ctl_json(&["list"]), relay.stats()["generation"].clone()), before);
    }
    assert_all_arrive(&mut probe, traffic.stop());
}

#[test]
fn a_client_that_holds_on_does_not_hold_up_the_end() {
    skip_unless_available!();
    let mut place = Place::start("dm-holdon", &config());
    let idle: Vec<_> =
        (0..80).map(|_| std::os::unix::net::UnixStream::connect(place.relay.socket()).unwrap()).collect();
    let mut probe = place.probe(6000);
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 9, 1);
    assert_eq!(numbers(&probe.expect(1, PATIENCE)), [9]);
    // Within 15 s and with code 0.
    place.relay.stop();
    drop(idle);
}
