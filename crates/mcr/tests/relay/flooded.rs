//! Reassembly under pressure: floods of fragments, several workers, workers that die.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testbed::{Datagram, Injector, Relay, Sender, eventually, rule, skip_unless_available};

use crate::bed::{Bed, SOON};
use crate::expected::{number, payload, payloads};
use crate::fragments::{both, cut, rules, send};
use crate::sizes::read;

const ONE_WORKER: &str = "[worker]\ncores = \"0\"\n";

fn pid(bed: &Bed) -> i32 {
    bed.relay.stats()["workers"][0]["pid"].as_i64().unwrap().try_into().unwrap()
}

/// Sends a signal to the worker.
fn signal(bed: &Bed, signal: Signal) {
    kill_process(Pid::from_raw(pid(bed)).unwrap(), signal).unwrap();
}

/// Memory of the worker's own, in KiB: no rings, no shared counters.
fn own_kib(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// All that was sent before this is off the ring.
fn assert_taken(bed: &mut Bed) {
    bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, b"behind it").unwrap();
    bed.input.udp("[fd00:1::100]:4000", "[ff3e::1:1]:5000", 16, 0, b"behind it").unwrap();
    let seen = bed.probes[0].expect(2, SOON);
    assert!(seen.iter().all(|seen| seen.payload == b"behind it"), "{seen:#?}");
}

/// Between the fragments of good datagrams come ten thousands of strange ones, of which none ever becomes whole,
/// as many at a time as there is nearly room for.
#[test]
fn a_flood_costs_good_flows_nothing_and_takes_bounded_memory() {
    skip_unless_available!();
    let mut bed = Bed::new("rlx", 1, &(rules() + ONE_WORKER));
    let (pid, mac) = (pid(&bed), bed.input.mac());
    let (rounds, between) = (10_u16, 1700_u16);
    let mut fullest = 0;
    let before = own_kib(pid);
    for round in 0..rounds {
        let good = both(round).map(|datagram| cut(&bed, &datagram));
        good.iter().for_each(|frames| send(&bed, &frames[..2]));
        for strange in 0..between {
            let from = format!("10.{}.{}.9:4000", 20 + round, strange % 200);
            let flood = Datagram::between(&from, "239.1.1.1:5000").payload(vec![7; 3000]).id(strange);
            let start = 1480 * usize::from(strange % 2);
            bed.input.send_raw(&flood.piece(mac, start..start + 1480, true)).unwrap();
        }
        fullest = fullest.max(own_kib(pid));
        good.iter().for_each(|frames| send(&bed, &frames[2..]));
        let seen = bed.probes[0].expect(2, SOON);
        assert!(seen.iter().all(|seen| seen.payload == payload(round.into(), 1200)), "{round}: {seen:#?}");
        // A whole one beside them.
        assert_taken(&mut bed);
    }
    let grown = fullest.max(own_kib(pid)) - before;
    let flood = u64::from(rounds) * u64::from(between);
    // Kept, they would take 24 MiB.
    assert!((2 << 10..=4 << 10).contains(&grown), "{grown} KiB more after {flood} fragments");
    let account = bed.finish();
    let good = u64::from(rounds) * 2;
    account.assert_drops(&[("reassembled", good * 2), ("fragment", flood)]);
    assert_eq!((account.relayed(), account.total("buf_exhaust")), (2 * good, 0), "{account:#?}");
}

/// The kernel gives all fragments of a datagram to one worker, in both families.
#[test]
fn each_datagrams_fragments_reach_the_same_worker() {
    skip_unless_available!();
    if available_parallelism().unwrap().get() < 2 {
        eprintln!("test-skipped: {}: one core", module_path!());
        return;
    }
    let input = ["239.1.1.1%r-in:5000", "[ff3e::1:1]%r-in:5000"];
    for (input, family) in input.into_iter().zip(0..) {
        let mut bed = Bed::new("rlx", 1, &rule("spread", input, &["239.2.2.2%r-out1:6000"]));
        // Other senders, other ports: other workers.
        // An odd number: whoever dealt frames out in turn would not give all of one to the same.
        let sent = payloads(61, 1200);
        let cut: Vec<_> = sent
            .iter()
            .enumerate()
            .map(|(number, payload)| {
                let (host, port) = (number % 20 + 1, 4000 + number);
                let (from, to) = [
                    (format!("10.10.1.{host}:{port}"), "239.1.1.1:5000"),
                    (format!("[fd00:1::{host}]:{port}"), "[ff3e::1:1]:5000"),
                ][family]
                    .clone();
                let plain = Datagram::between(&from, to).payload(payload.clone());
                let datagram = plain.id(u16::try_from(number).unwrap());
                // Headers before the fragment header are no reason to go elsewhere.
                let datagram =
                    if family == 1 && number % 2 == 0 { datagram.destination_options(1) } else { datagram };
                cut(&bed, &datagram)
            })
            .collect();
        for at in [2, 0, 1] {
            cut.iter().for_each(|frames| send(&bed, &frames[at..=at]));
        }
        let seen = bed.probes[0].expect(sent.len(), SOON);
        let arrived: BTreeSet<_> = seen.iter().map(|seen| &seen.payload).collect();
        assert!(arrived.into_iter().eq(sent.iter().collect::<BTreeSet<_>>()), "{seen:#?}");
        let stats = bed.relay.stats();
        let workers = stats["workers"].as_array().unwrap();
        assert!(workers.iter().filter(|worker| worker["relayed"] != 0).count() >= 2, "{stats:#}");
        let account = bed.finish();
        account.assert_drops(&[("reassembled", 122)]);
        assert_eq!(account.relayed(), 61, "{account:#?}");
    }
}

/// What a worker held dies with it and is counted by its successor; what comes later of the same datagram stays
/// incomplete.
#[test]
fn fragments_that_die_with_their_worker_are_counted() {
    skip_unless_available!();
    let mut bed = Bed::new("rlx", 1, &(rules() + ONE_WORKER));
    let frames = both(0).map(|datagram| cut(&bed, &datagram));
    frames.iter().for_each(|frames| send(&bed, &frames[..2]));
    assert_taken(&mut bed);
    signal(&bed, Signal::KILL);
    let successor = |stats: &Value| stats["workers"][0]["restarts"] == 1;
    bed.relay.wait_stats(SOON, |stats| successor(stats) && Relay::workers_sum(stats, "fragment") == 4);
    frames.iter().for_each(|frames| send(&bed, &frames[2..]));
    both(1).iter().for_each(|datagram| send(&bed, &cut(&bed, datagram)));
    let seen = bed.probes[0].expect(2, SOON);
    assert!(seen.iter().all(|seen| seen.payload == payload(1, 1200)), "{seen:#?}");
    let account = bed.finish();
    account.assert_drops(&[("fragment", 6), ("reassembled", 4)]);
    assert_eq!(account.relayed(), 4, "{account:#?}");
}

/// The last STATS count what was still waiting.
#[test]
fn fragments_that_wait_at_the_end_are_counted() {
    skip_unless_available!();
    let mut bed = Bed::new("rlx", 1, &(rules() + ONE_WORKER));
    both(0).iter().for_each(|datagram| send(&bed, &cut(&bed, datagram)[1..]));
    assert_taken(&mut bed);
    let stats = bed.relay.stop();
    assert!(stats.ingress.balances(), "{stats:?}");
    assert_eq!((stats.ingress.matched, stats.ingress.parse_err), (2, 4), "{stats:?}");
}

/// More of the longest than a worker puts together at a time, all waiting when it wakes up.
#[test]
fn a_burst_of_the_longest_datagrams_is_relayed_whole() {
    skip_unless_available!();
    let mut bed = Bed::new("rlx", 1, &(rules() + ONE_WORKER));
    let socket = bed.listen(0, "239.2.2.2:6000");
    let sender = Sender::open(&bed.fan.sender.link, "10.10.1.100:4000".parse().unwrap()).unwrap();
    let sent = payloads(11, 65_507);
    signal(&bed, Signal::STOP);
    for payload in &sent {
        sender.send("239.1.1.1:5000".parse().unwrap(), payload).unwrap();
    }
    signal(&bed, Signal::CONT);
    assert!(read(&socket, sent.len()) == sent, "other payloads than those sent");
    let account = bed.account();
    account.assert_drops(&[("reassembled", 11 * 44)]);
    assert_eq!((account.relayed(), account.total("sent")), (11, 11), "{account:#?}");
    bed.finish();
}

/// Each time it costs what the worker held: pieces of one datagram, where its sender makes one after the other.
#[test]
fn a_worker_killed_under_load_costs_a_datagram() {
    skip_unless_available!();
    const KILLS: u64 = 5;
    let mut bed = Bed::new("rlx", 1, &(rules() + ONE_WORKER));
    let input = Injector::on(&bed.fan.sender.link).unwrap();
    let send = |number: usize| {
        let plain = Datagram::between("10.10.1.100:4000", "239.1.1.1:5000").payload(payload(number, 1200));
        for frame in plain.id(number as u16).fragments(input.mac(), 512) {
            input.send_raw(&frame).unwrap();
            thread::sleep(Duration::from_micros(300));
        }
    };
    let stop = AtomicBool::new(false);
    let mut sent = thread::scope(|scope| {
        let until_stopped = || (0..).take_while(|_| !stop.load(Ordering::Relaxed)).map(send).count();
        let traffic = scope.spawn(until_stopped);
        for kills in 1..=KILLS {
            let relayed = |stats: &Value| Relay::workers_sum(stats, "relayed");
            let before = relayed(&bed.relay.stats());
            bed.relay.wait_stats(SOON, |stats| relayed(stats) > before + 100);
            signal(&bed, Signal::KILL);
            let back = |worker: &Value| worker["restarts"] == kills && worker["state"] == "active";
            bed.relay.wait_stats(SOON, |stats| back(&stats["workers"][0]));
        }
        stop.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    send(sent);
    sent += 1;
    let mut arrived = Vec::new();
    eventually(SOON, "the last one", || {
        arrived.extend(bed.probes[0].drain().iter().map(|seen| number(&seen.payload)));
        arrived.last() == Some(&(sent - 1))
    });
    let distinct = arrived.iter().collect::<BTreeSet<_>>().len();
    let (lost, repeated) = ((sent - distinct) as u64, (arrived.len() - distinct) as u64);
    assert!(lost <= KILLS && repeated <= KILLS * 4096, "{lost} lost, {repeated} repeated of {sent}");
    // What was held is counted too, and what else came of it.
    let of = |stats: &Value, name: &str| stats["totals"][name].as_u64().unwrap();
    let stats = bed.relay.wait_stats(SOON, |stats| of(stats, "recv") >= 3 * sent as u64);
    let reasons = ["matched", "parse_err", "no_match", "buf_exhaust"];
    assert_eq!(of(&stats, "recv"), reasons.iter().map(|name| of(&stats, name)).sum::<u64>(), "{stats:#}");
    assert!(Relay::workers_sum(&stats, "fragment") >= lost * 3, "{stats:#}");
}
