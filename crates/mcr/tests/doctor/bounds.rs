//! What an examination may cost: others are served meanwhile, nothing is lost by it, and however many rules there are,
//! the answer is bounded.

use std::process::Command;
use std::thread;
use std::time::Instant;

use testbed::{Daemon, Datagram, Line, Probe, eventually, rule, skip_unless_available};

use crate::ward::{PROGRAMS, SOON, Ward, four};

const OUTPUT: &str = "239.2.2.2%r-out:6000";

/// An examination that goes on.
fn examination(ward: &Ward, seconds: &str) -> Daemon {
    let mut command = Command::new(PROGRAMS.mcrctl);
    command.arg("--socket").arg(ward.relay.socket()).args(["--json", "doctor", "--listen", seconds]);
    Daemon::start("doctor", command).unwrap()
}

/// Packet sockets of the relay that hear every protocol: those of examinations.
fn ears(ward: &Ward) -> usize {
    let packet = || std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    let lines = ward.line.relay().enter(packet);
    // Socket, references, type, protocol.
    lines.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some("0003")).count()
}

#[test]
fn others_are_served_while_it_listens() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &[OUTPUT]);
    assert_eq!(ears(&ward), 0);
    let mut long: Vec<Daemon> = (0..4).map(|_| examination(&ward, "10")).collect();
    eventually(SOON, "four examinations listen", || ears(&ward) == 4);
    let refused = ward.relay.ctl(&["doctor"]);
    assert!(refused.code() == 1 && refused.stderr.contains("try again"), "{refused:?}");
    let mut probe = Probe::on(&ward.line.receiver.link).unwrap().only(|seen| seen.dport == Some(6000));
    ward.relay.ctl_ok(&["add", "b", "239.1.1.2%r-in:5000", OUTPUT]);
    ward.input.send(&Datagram::between("10.10.1.100:4000", "239.1.1.2:5000")).unwrap();
    probe.expect_one(SOON);
    assert!(long.iter_mut().all(Daemon::is_running), "they went on meanwhile");
    for examination in &mut long {
        // Nothing has arrived for rule a.
        assert_eq!(examination.wait(SOON).code(), Some(1));
    }
    eventually(SOON, "their sockets are closed", || ears(&ward) == 0);
}

/// One of which enough was heard is left, so that a slow one is heard beside it.
#[test]
fn a_flood_of_one_group_costs_neither_packets_nor_another_groups_findings() {
    skip_unless_available!();
    let rules = rule("a", "239.1.1.1%r-in:5000", &[OUTPUT])
        + &rule("slow", "239.1.1.2%r-in:5000", &["239.2.2.3%r-out:6001"]);
    let ward = Ward::with(&rules);
    let input = ward.input.clone();
    let flood = thread::spawn(move || {
        let (frame, slow) = (
            four().frame(input.mac()),
            Datagram::between("10.10.1.100:4000", "239.1.1.2:5000").frame(input.mac()),
        );
        let (mut sent, start) = (0_u64, Instant::now());
        while start.elapsed().as_secs() < 4 {
            for _ in 0..1000 {
                input.send_raw(&frame).unwrap();
            }
            input.send_raw(&slow).unwrap();
            sent += 1001;
        }
        sent
    });
    ward.relay.wait_stats(SOON, |stats| stats["totals"]["recv"].as_u64() > Some(1000));
    let found = ward.found(&["doctor"]);
    let sent = flood.join().unwrap();
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    let heard = |rule: usize| {
        let checks = found.0["rules"][rule]["checks"].as_array().unwrap();
        let packets = checks.iter().find(|finding| finding["check"] == "packets").unwrap();
        assert_eq!(packets["verdict"], "ok", "{packets:#}");
        let evidence = packets["evidence"].as_str().unwrap();
        evidence.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    // Enough, and what was in its ring by then; most of what flew by was not looked at.
    assert!((1000..sent / 10).contains(&heard(0)) && heard(1) > 0, "{} and {}", heard(0), heard(1));
    let stats = ward.relay.wait_stats(SOON, |stats| stats["totals"]["recv"].as_u64() >= Some(sent));
    let of = |name: &str| stats["totals"][name].as_u64().unwrap();
    assert_eq!(of("matched") + of("buf_exhaust"), sent, "{stats:#}");
}

#[test]
fn of_very_many_rules_those_in_trouble_come_first() {
    skip_unless_available!();
    let mut rules = String::new();
    for n in 0..600_u32 {
        let input = format!("239.1.{}.{}%r-in:5000", n / 200, n % 200);
        rules += &rule(&format!("r{n}"), &input, &[OUTPUT]);
    }
    let line = Line::new("doc").unwrap();
    // What kernels before 6.8 have, where it is the namespace's own.
    let _ = line.relay().sysctl("net.core.optmem_max", "20480");
    let ward = Ward::on(line, &(rules + &rule("last", "239.1.9.9%eth9:5000", &[OUTPUT])));
    let streams = [0, 599].map(|n| {
        let to = format!("239.1.{}.{}:5000", n / 200, n % 200);
        ward.stream(&[Datagram::between("10.10.1.100:4000", &to)])
    });
    let found = ward.found(&["doctor"]);
    drop(streams);
    let names: Vec<_> = found.0["rules"].as_array().unwrap().iter().map(|rule| &rule["name"]).collect();
    assert_eq!((names.len(), names[0], names[1]), (400, &"last".into(), &"r0".into()));
    assert_eq!(found.0["left_out"], 201);
    let packets = |rule: usize| {
        let checks = found.0["rules"][rule]["checks"].as_array().unwrap();
        checks.iter().find(|finding| finding["check"] == "packets").unwrap()["verdict"].clone()
    };
    assert_eq!([0, 1, 2].map(packets), ["skip", "ok", "fail"]);
    ward.found(&["doctor", "r599", "--listen", "0.2"]).assert("state", "ok", "active");
}
