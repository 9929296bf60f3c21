//! Namespaces, topologies and processes: they are what they say, and nothing of them stays.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::netns::sweep;
use testbed::process::Signal;
use testbed::{
    Chain, Daemon, Fan, Injector, Line, Netns, Probe, eventually, json, run, skip_unless_available,
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_namespace_goes_with_its_processes() {
    skip_unless_available!();
    let netns = Netns::new("tbp").unwrap();
    let path = format!("/run/netns/{}", netns.name());
    let mut left_behind = netns.command("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(left_behind.id()).unwrap();
    eventually(SOON, "the process is in the namespace", || netns.pids().unwrap().contains(&pid));
    let handle = netns.clone();
    drop(netns);
    assert!(Path::new(&path).exists(), "gone while a handle was left");
    drop(handle);
    assert!(!Path::new(&path).exists());
    let status = left_behind.wait().unwrap();
    assert!(!status.success());
}

#[test]
fn what_another_process_left_is_swept() {
    skip_unless_available!();
    let mut maker = Command::new("true").spawn().unwrap();
    let gone = maker.id();
    maker.wait().unwrap();
    let (left, other) = (format!("tb-swept-b-{gone}-0"), format!("tb-sweptx-{gone}-0"));
    let ip = |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
    ip(&["netns", "add", &left]);
    ip(&["netns", "add", &other]);
    let own = Netns::new("tb-swept").unwrap();
    let mut inside = Command::new("ip").args(["netns", "exec", &left, "sleep", "60"]).spawn().unwrap();
    eventually(SOON, "the process is inside", || {
        let pids = Command::new("ip").args(["netns", "pids", &left]).output().unwrap();
        !pids.stdout.is_empty()
    });
    assert_eq!(sweep("tb-swept", |pid| pid == gone).unwrap(), [left]);
    assert!(!inside.wait().unwrap().success(), "it was killed");
    assert!(own.ip("link").is_ok(), "another's");
    ip(&["netns", "del", &other]);
}

#[test]
fn a_closure_runs_inside_and_its_panic_comes_out() {
    skip_unless_available!();
    let netns = Netns::new("tbp").unwrap();
    let links = netns.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert_eq!(links.lines().count(), 3, "{links}");
    netns.sysctl("net.ipv4.igmp_max_memberships", "33").unwrap();
    assert_eq!(netns.sysctl_value("net.ipv4.igmp_max_memberships").unwrap(), "33");
    assert!(netns.sysctl("net.ipv4.no_such_thing", "1").is_err());
    let caught = std::panic::catch_unwind(|| netns.enter(|| panic!("from inside")));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"from inside"));
}

#[test]
fn a_line_filters_strictly_and_reaches_across() {
    skip_unless_available!();
    let line = Line::new("tbp").unwrap();
    for (netns, interface) in [(line.relay(), "r-in"), (line.relay(), "r-out"), (line.receiver.netns(), "d0")]
    {
        for key in ["all", interface] {
            let value = netns.sysctl_value(&format!("net.ipv4.conf.{key}.rp_filter")).unwrap();
            assert_eq!(value, "1", "{key}");
        }
    }
    assert_eq!(line.sender.v4.to_string(), "10.10.1.100");
    assert_eq!(line.ingress.v4.to_string(), "10.10.1.1");
    assert_eq!(line.egress.v6.to_string(), "fd00:2::1");
    assert_eq!(line.receiver.v6.to_string(), "fd00:2::100");
    for target in ["10.10.1.1:7", "[fd00:1::1]:7"] {
        let target: std::net::SocketAddr = target.parse().unwrap();
        let local = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let far = line.relay().enter(|| std::net::UdpSocket::bind(target).unwrap());
        let near = line.sender.netns().enter(|| std::net::UdpSocket::bind(local).unwrap());
        near.send_to(b"reached", target).unwrap();
        far.set_read_timeout(Some(SOON)).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(far.recv(&mut buffer).unwrap(), 7);
    }
}

#[test]
fn a_fan_has_a_link_for_each_receiver() {
    skip_unless_available!();
    let fan = Fan::new("tbp", 3).unwrap();
    let names: Vec<&str> = fan.egress.iter().map(testbed::Port::name).collect();
    assert_eq!(names, ["r-out1", "r-out2", "r-out3"]);
    for (number, (egress, receiver)) in fan.egress.iter().zip(&fan.receivers).enumerate() {
        let mut probe = Probe::open(receiver.netns(), "d0").unwrap();
        let payload = [u8::try_from(number).unwrap()];
        Injector::on(&egress.link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, &payload).unwrap();
        assert_eq!(probe.expect_one(SOON).payload, payload);
    }
}

#[test]
fn a_chain_is_linked_one_to_the_next() {
    skip_unless_available!();
    let chain = Chain::new("tbp", 3).unwrap();
    let mut hops = vec![(chain.sender.clone(), chain.relays[0].ingress.clone())];
    hops.extend(chain.relays.windows(2).map(|pair| (pair[0].egress.clone(), pair[1].ingress.clone())));
    hops.push((chain.relays[2].egress.clone(), chain.receiver.clone()));
    assert_eq!(hops.len(), 4);
    for (near, far) in hops {
        assert_eq!(near.v4.octets()[..3], far.v4.octets()[..3]);
        let mut probe = Probe::open(far.netns(), far.name()).unwrap();
        Injector::on(&near.link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"hop").unwrap();
        assert_eq!(probe.expect_one(SOON).src_mac, Some(near.link.mac().unwrap()));
    }
}

#[test]
fn a_daemons_lines_signals_and_stats_are_read() {
    skip_unless_available!();
    let netns = Netns::new("tbp").unwrap();
    let script = "trap 'echo ending; exit 3' TERM; echo ready >&2
        echo '[STATS:Ingress] recv=1 matched=1 parse_err=0 no_match=0 buf_exhaust=0 (0 pps)'
        echo '[STATS:Egress] sent=1 submitted=1 errors=0 bytes=9 (0 pps)'
        echo '[STATS:Ingress] recv=5 matched=4 parse_err=0 no_match=1 buf_exhaust=0 (4 pps)'
        echo '[STATS:Egress] sent=8 submitted=8 errors=0 bytes=72 (7 pps)'
        while :; do sleep 0.02; done";
    let mut daemon = Daemon::spawn(&netns, "/bin/sh", &["-c", script]).unwrap();
    assert_eq!(daemon.wait_line(|line| line.starts_with("rea"), SOON), "ready");
    let stats = daemon.wait_stats(|stats| stats.egress.sent == 8, SOON);
    assert_eq!((stats.ingress.recv, stats.ingress.no_match, stats.egress.bytes), (5, 1, 72));
    assert!(stats.ingress.balances() && stats.egress.balances());
    assert!(daemon.is_running());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(SOON).code(), Some(3));
    assert_eq!(daemon.lines().last().unwrap().text, "ending");
}

#[test]
#[should_panic(expected = "no such line within 5s; it ended: exit status: 4")]
fn a_daemon_that_ends_is_not_waited_for() {
    let mut command = Command::new("sh");
    command.args(["-c", "exit 4"]);
    Daemon::start("sh", command).unwrap().wait_line(|line| line == "ready", SOON);
}

#[test]
fn commands_are_run_to_their_end() {
    skip_unless_available!();
    let netns = Netns::new("tbp").unwrap();
    let mut command = netns.command("ip");
    command.args(["-j", "link"]);
    assert_eq!(json(command)[0]["ifname"], "lo");
    let mut command = netns.command("sh");
    command.args(["-c", "echo out; echo err >&2; exit 2"]);
    let finished = run(command, SOON);
    assert_eq!((finished.code(), finished.stdout.as_str(), finished.stderr.as_str()), (2, "out\n", "err\n"));
}

#[test]
#[should_panic(expected = "not within 50ms: pigs fly")]
fn a_condition_that_never_holds_is_named() {
    eventually(Duration::from_millis(50), "pigs fly", || false);
}
