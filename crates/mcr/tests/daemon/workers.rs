//! The worker processes: what they give up, and what their death or silence costs.

use std::collections::BTreeMap;
use std::fs;
use std::thread::{self, available_parallelism};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use testbed::relay::Relay;
use testbed::{Sender, rule, skip_unless_available};

use crate::fixture::{PATIENCE, Place, assert_all_arrive, numbers, send_numbered, signal};

fn config() -> String {
    rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])
}

/// `/proc/PID/status` by key.
pub(crate) fn status(pid: u64) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pair =
        |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).collect()
}

/// User and group that workers are to have on this machine.
fn worker_user() -> (u32, u32) {
    let user = nix::unistd::User::from_name("mcr").unwrap();
    (user.map_or(65534, |user| user.uid.as_raw()), 65534)
}

/// The process has no capability, cannot gain one, has its own user, and one core.
pub(crate) fn assert_confined(pid: u64) {
    let status = status(pid);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    let (uid, gid) = worker_user();
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    assert_eq!((&status["Uid"], &status["Gid"], &status["Groups"]), (&four(uid), &four(gid), &String::new()));
    assert!(status["Cpus_allowed_list"].parse::<u32>().is_ok(), "{}", status["Cpus_allowed_list"]);
    assert_eq!(status["Threads"], "1");
}

fn workers(relay: &Relay) -> Vec<Value> {
    relay.ctl_json(&["workers"]).as_array().unwrap().clone()
}

fn pid(relay: &Relay, worker: usize) -> u64 {
    workers(relay)[worker]["pid"].as_u64().unwrap()
}

/// Waits until a worker has been restarted so often and runs again.
fn wait_restarted(relay: &Relay, worker: usize, times: u64) -> Value {
    relay.wait_stats(PATIENCE, |stats| {
        let worker = &stats["workers"][worker];
        worker["restarts"] == times && worker["state"] == "active"
    })
}

/// For each of two workers a source port whose flow to 239.1.1.1:5000 the kernel gives to that worker.
fn ports_of_both(place: &Place) -> [u16; 2] {
    let mut found: [Option<u16>; 2] = [None; 2];
    for port in 20_000..20_100 {
        let of = |stats: &Value, worker: usize| stats["workers"][worker]["matched"].as_u64().unwrap();
        let before = place.relay.stats();
        let sender = Sender::open(&place.line.sender.link, (place.line.sender.v4, port).into()).unwrap();
        send_numbered(&sender, "239.1.1.1:5000", 0, 1);
        let total = before["totals"]["matched"].as_u64().unwrap() + 1;
        let after = place.relay.wait_stats(PATIENCE, |stats| stats["totals"]["matched"] == total);
        let taker = (0..2).find(|worker| of(&after, *worker) > of(&before, *worker)).unwrap();
        found[taker].get_or_insert(port);
        if let [Some(first), Some(second)] = found {
            return [first, second];
        }
    }
    panic!("a hundred flows all went to one worker: {found:?}");
}

/// Whether two workers can run here; says so where not.
fn two_cores() -> bool {
    let two = available_parallelism().unwrap().get() >= 2;
    if !two {
        eprintln!("test-skipped: {}: one core", module_path!());
    }
    two
}

#[test]
fn workers_are_confined_one_a_core() {
    skip_unless_available!();
    let mut place = Place::start("dm-confined", &config());
    let all = workers(&place.relay);
    assert_eq!(all.len(), available_parallelism().unwrap().get());
    let mut cores = Vec::new();
    for (id, worker) in all.iter().enumerate() {
        let pid = worker["pid"].as_u64().unwrap();
        assert_confined(pid);
        assert_eq!(status(pid)["Cpus_allowed_list"], worker["core"].to_string());
        assert_eq!(
            (&worker["id"], &worker["state"], &worker["restarts"]),
            (&id.into(), &"active".into(), &0.into())
        );
        cores.push(worker["core"].as_u64().unwrap());
    }
    cores.dedup();
    assert_eq!(cores.len(), all.len(), "no two on one core");
    // A successor is confined alike.
    signal(pid(&place.relay, 0), Signal::KILL);
    wait_restarted(&place.relay, 0, 1);
    assert_confined(pid(&place.relay, 0));

    // NET_BIND_SERVICE, NET_ADMIN, NET_RAW, KILL, SETGID, SETUID, SETPCAP: by number in capability.h.
    let kept = [10, 12, 13, 5, 6, 7, 8].iter().fold(0_u64, |mask, bit| mask | 1 << bit);
    let pid = place.relay.daemon().pid();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = thread.unwrap().file_name().into_string().unwrap().parse().unwrap();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(u64::from_str_radix(&status(thread)[set], 16).unwrap() & !kept, 0, "{set} of mcrd");
        }
    }
}

#[test]
fn cores_named_are_the_workers() {
    skip_unless_available!();
    let core = workers(&Place::start("dm-core", "").relay)[0]["core"].to_string();
    let by_option = Place::start_with("dm-core", &config(), &["--cores", &core]);
    let by_file = Place::start("dm-core", &format!("{}[worker]\ncores = \"{core}\"\n", config()));
    // The option counts more than the file.
    let both = Place::start_with("dm-core", "[worker]\ncores = \"1023\"\n", &["--cores", &core]);
    for place in [by_option, by_file, both] {
        let all = workers(&place.relay);
        assert_eq!((all.len(), all[0]["core"].to_string()), (1, core.clone()));
    }
}

#[test]
fn the_death_of_a_worker_costs_its_flows_little_and_others_nothing() {
    skip_unless_available!();
    if !two_cores() {
        return;
    }
    let place = Place::start("dm-kill", &config());
    let relay = &place.relay;
    let ports = ports_of_both(&place);
    let list = relay.ctl_json(&["list"]);
    let before = relay.stats();
    let mut survivor = place.probe(6000);
    let untouched = place.traffic(ports[1], "239.1.1.1:5000", 2000);
    testbed::eventually(PATIENCE, "the flow runs", || {
        relay.stats()["totals"]["matched"].as_u64() > before["totals"]["matched"].as_u64()
    });
    let mut last = relay.stats();
    for times in 1..=3 {
        signal(pid(relay, 0), Signal::KILL);
        let now = wait_restarted(relay, 0, times);
        for (key, value) in now["totals"].as_object().unwrap() {
            assert!(value.as_u64() >= last["totals"][key].as_u64(), "{key} went back: {last:#} {now:#}");
        }
        last = now;
    }
    let sent = untouched.stop();
    assert_all_arrive(&mut survivor, sent);
    assert_eq!(relay.ctl_json(&["list"]), list);
    // And the worker that died takes its own flow again.
    send_numbered(&place.sender(ports[0]), "239.1.1.1:5000", 0, 20);
    assert_all_arrive(&mut survivor, 20);
    let after = relay.stats();
    let own = |worker: usize| {
        after["workers"][worker]["matched"].as_u64().unwrap()
            - before["workers"][worker]["matched"].as_u64().unwrap()
    };
    assert_eq!((own(0), own(1)), (20, sent));
}

#[test]
fn a_successor_resumes_the_same_ring() {
    skip_unless_available!();
    let place = Place::start_with("dm-ring", &config(), &["--cores", "0"]);
    let mut probe = place.probe(6000);
    let sender = place.sender(4000);
    let mut sent = 0;
    for times in 1..=5 {
        // Silent, so that nothing is under way in it; what arrives now waits in the ring.
        signal(pid(&place.relay, 0), Signal::STOP);
        send_numbered(&sender, "239.1.1.1:5000", sent, 300);
        sent += 300;
        signal(pid(&place.relay, 0), Signal::KILL);
        let stats = wait_restarted(&place.relay, 0, times);
        assert_eq!(stats["totals"]["buf_exhaust"], 0);
        place.relay.wait_stats(PATIENCE, |stats| stats["totals"]["sent"] == sent);
    }
    assert_all_arrive(&mut probe, sent);
    let stats = place.relay.stats();
    assert_eq!((&stats["totals"]["matched"], &stats["rules"][0]["packets"]), (&sent.into(), &sent.into()));
}

#[test]
fn a_worker_killed_under_load_loses_nothing_and_repeats_one_round_at_most() {
    skip_unless_available!();
    let place = Place::start_with("dm-load", &config(), &["--cores", "0"]);
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 5000);
    for times in 1..=5 {
        testbed::eventually(PATIENCE, "it relays", || {
            place.relay.stats()["workers"][0]["relayed"].as_u64() > Some(times * 100)
        });
        signal(pid(&place.relay, 0), Signal::KILL);
        wait_restarted(&place.relay, 0, times);
    }
    let sent = traffic.stop();
    // What is sent last arrives, so all before has had its chance.
    let mut seen = Vec::new();
    testbed::eventually(PATIENCE, "the last datagram", || {
        seen.extend(numbers(&probe.drain()));
        seen.last() == Some(&(sent - 1))
    });
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    let (lost, repeated) = (sent - distinct.len() as u64, (seen.len() - distinct.len()) as u64);
    // What was sent and not yet marked as relayed when it died is sent again: at most a round, of 4,096.
    assert_eq!(lost, 0, "of {sent}, {repeated} repeated");
    assert!(repeated <= 5 * 4096, "{repeated} repeated of {sent}");
    let totals = &place.relay.stats()["totals"];
    assert_eq!(totals["buf_exhaust"], 0);
    let of = |name: &str| totals[name].as_u64().unwrap_or_default();
    assert_eq!(of("recv"), of("matched") + of("parse_err") + of("no_match"), "{totals}");
    assert_eq!(of("submitted"), of("sent") + of("errors"), "{totals}");
}

#[test]
fn ten_deaths_in_a_row_are_survived() {
    skip_unless_available!();
    let mut place = Place::start_with("dm-ten", &config(), &["--cores", "0"]);
    for times in 1..=10 {
        signal(pid(&place.relay, 0), Signal::KILL);
        let died = Instant::now();
        wait_restarted(&place.relay, 0, times);
        // The back-off ends at 5 s.
        assert!(died.elapsed().as_secs() < 25, "restart {times} took {:?}", died.elapsed());
    }
    let mut probe = place.probe(6000);
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 10);
    assert_all_arrive(&mut probe, 10);
    place
        .relay
        .daemon()
        .wait_line(|line| line.contains("a successor takes over its rings in 5000 ms"), PATIENCE);
    place.relay.stop();
}

#[test]
fn a_silent_worker_holds_up_nobody_else() {
    skip_unless_available!();
    if !two_cores() {
        return;
    }
    let mut place = Place::start("dm-silent", &config());
    let ports = ports_of_both(&place);
    let mut probe = place.probe(6000);
    let traffic = place.traffic(ports[1], "239.1.1.1:5000", 1000);
    let silent = pid(&place.relay, 0);
    signal(silent, Signal::STOP);
    let generation = place.relay.stats()["generation"].as_u64().unwrap();
    let stats = thread::scope(|scope| {
        let relay = &place.relay;
        // Answered once the silent one is gone, within the fixture's 30 s.
        let add =
            scope.spawn(|| relay.ctl_ok(&["add", "new", "239.1.1.9%r-in:5000", "239.2.2.9%r-out:6009"]));
        // Others are answered meanwhile.
        let meanwhile = relay.wait_stats(PATIENCE, |stats| stats["generation"] == generation + 1);
        assert_eq!(meanwhile["workers"][0]["pid"], silent, "asked while it is silent");
        assert!(!add.is_finished(), "not in force at every worker");
        let stats = wait_restarted(relay, 0, 1);
        add.join().unwrap();
        stats
    });
    assert_ne!(stats["workers"][0]["pid"], silent);
    assert!(!fs::exists(format!("/proc/{silent}")).unwrap(), "it was ended");
    assert_eq!(stats["workers"][1]["restarts"], 0);
    assert_all_arrive(&mut probe, traffic.stop());
    // Its successor knows the new rule.
    let mut probe = place.probe(6009);
    for port in ports {
        send_numbered(&place.sender(port), "239.1.1.9:5000", 0, 1);
        assert_eq!(numbers(&probe.expect(1, PATIENCE)), [0]);
    }
    // One that is silent at the end does not keep the daemon from ending, nor STATS from being printed.
    signal(pid(&place.relay, 1), Signal::STOP);
    place.relay.daemon().signal(Signal::TERM);
    assert_eq!(place.relay.daemon().wait(PATIENCE).code(), Some(0));
    assert_eq!(place.line.relay().pids().unwrap(), [0; 0]);
}

#[test]
fn workers_have_a_say_in_the_log_at_the_level_that_is_set() {
    skip_unless_available!();
    let mut place = Place::start_with("dm-say", &config(), &["--cores", "0", "--log", "json"]);
    let said = |place: &mut Place, level: &str, about: &str| {
        place.relay.daemon().wait_line(
            |line| {
                let event: Value = serde_json::from_str(line).unwrap_or_default();
                event["target"] == "worker"
                    && event["level"] == level
                    && event["fields"]["worker"] == 0
                    && event["fields"]["message"].as_str().is_some_and(|text| text.contains(about))
            },
            PATIENCE,
        );
    };
    said(&mut place, "INFO", "confined");
    place.relay.ctl_ok(&["log-level", "worker=debug"]);
    place.relay.ctl_ok(&["remove", "a"]);
    let generation = place.relay.stats()["generation"].to_string();
    said(&mut place, "DEBUG", &format!("follows generation {generation}"));
}

#[test]
fn workers_end_with_their_supervisor_and_a_new_one_takes_over() {
    skip_unless_available!();
    let mut place = Place::start("dm-super", &config());
    let netns = place.line.relay().clone();
    let traffic = place.traffic(4000, "239.1.1.1:5000", 1000);
    for _ in 0..3 {
        let old = workers(&place.relay);
        place.relay.kill();
        testbed::eventually(PATIENCE, "all workers end", || netns.pids().unwrap().is_empty());
        assert!(place.relay.socket().exists(), "it had no chance to remove it");
        place.relay.start_again().unwrap();
        assert_eq!(place.relay.state("a").0, "active");
        assert_eq!(workers(&place.relay).len(), old.len());
    }
    traffic.stop();
    let mut probe = place.probe(6000);
    let before = place.relay.stats()["totals"]["matched"].as_u64().unwrap();
    // What was still under way is through before numbers begin again.
    place.relay.wait_stats(PATIENCE, |stats| stats["totals"]["sent"].as_u64() >= Some(before));
    probe.drain();
    let first = 1 << 40;
    send_numbered(&place.sender(4001), "239.1.1.1:5000", first, 50);
    let seen = testbed::eventually(PATIENCE, "the new daemon relays", || {
        let seen: Vec<u64> = numbers(&probe.drain()).into_iter().filter(|number| *number >= first).collect();
        (!seen.is_empty()).then_some(seen)
    });
    assert_eq!(seen[0], first);
}
