//! Switches that forward a group only to who keeps answering their queries: the relay's input behind one, its
//! receiver behind another, for longer than a membership lasts.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use testbed::relay::Relay;
use testbed::{Bridge, Link, Netns, Probe, Sender, eventually, rule, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, Traffic, numbers, signal};

/// A switch forgets who has not reported for so long (RFC 3376, section 8.4), instead of 260 s.
const MEMBERSHIP: Duration = Duration::from_secs(3);
/// Reports of one change follow each other within this: the testbed's namespaces do not delay them.
const QUIET: Duration = Duration::from_millis(500);
const PPS: u32 = 200;

/// A switch that snoops, queries each second and forgets soon.
fn switch(name: &str) -> (Netns, Bridge) {
    let netns = Netns::new(name).unwrap();
    let bridge = Bridge::new(&netns, "br0").unwrap();
    let centiseconds = MEMBERSHIP.as_millis() / 10;
    let times = format!(
        "mcast_query_interval 100 mcast_startup_query_interval 25 mcast_membership_interval {centiseconds} \
         mcast_last_member_interval 20"
    );
    bridge.link().set(&format!("type bridge {times}")).unwrap();
    bridge.snooping(true).unwrap();
    (netns, bridge)
}

fn port(bridge: &Bridge, name: &str, far: (&Netns, &str), address: &str) -> Link {
    let link = bridge.connect(name, far).unwrap();
    link.add_address(address.parse().unwrap(), 24).unwrap();
    eventually(PATIENCE, "carrier", || link.carrier().unwrap());
    link
}

/// Waits until numbers have come without a gap for twice the time a membership lasts.
fn wait_steady(probe: &mut Probe, after: &str) {
    let enough = 2 * MEMBERSHIP.as_secs() * u64::from(PPS);
    let (mut first, mut last) = (None, None);
    eventually(PATIENCE, after, || {
        for number in numbers(&probe.drain()) {
            if last.is_none_or(|last| number != last + 1) {
                first = Some(number);
            }
            last = Some(number);
        }
        first.zip(last).is_some_and(|(first, last)| last - first >= enough)
    });
}

#[test]
fn a_stream_through_switches_outlasts_memberships_flaps_and_a_worker() {
    skip_unless_available!();
    let [sender, relay, receiver, idle] =
        ["dm-s", "dm-r", "dm-d", "dm-x"].map(|name| Netns::new(name).unwrap());
    let ((_up, upstream), (_down, downstream)) = (switch("dm-up"), switch("dm-down"));
    let s0 = port(&upstream, "p0", (&sender, "s0"), "10.10.1.100");
    let r_in = port(&upstream, "p1", (&relay, "r-in"), "10.10.1.1");
    let r_out = port(&downstream, "p0", (&relay, "r-out"), "10.10.2.1");
    // Bursts leave as the datagrams they consist of.
    r_out.offload("tx", false).unwrap();
    let d0 = port(&downstream, "p1", (&receiver, "d0"), "10.10.2.100");
    // Has joined nothing: what it gets says that a switch floods instead of snooping.
    let x0 = port(&upstream, "p2", (&idle, "x0"), "10.10.1.9");
    let relay =
        Relay::start(PROGRAMS, &relay, &rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])).unwrap();
    let member = receiver.enter(|| std::net::UdpSocket::bind("0.0.0.0:6000").unwrap());
    member.join_multicast_v4(&"239.2.2.1".parse().unwrap(), &"10.10.2.100".parse().unwrap()).unwrap();
    let mut probe = Probe::on(&d0).unwrap().only(|seen| seen.dport == Some(6000));
    let mut bystander = Probe::on(&x0).unwrap().only(|seen| seen.dport == Some(5000));

    s0.route_multicast().unwrap();
    let source = std::sync::Arc::new(Sender::open(&s0, "10.10.1.100:4000".parse().unwrap()).unwrap());
    let traffic = Traffic::start(&source, "239.1.1.1:5000", PPS);
    wait_steady(&mut probe, "a steady stream");
    bystander.drain();
    for link in [&r_in, &r_out] {
        link.down().unwrap();
        relay.wait_state("a", "pending", PATIENCE);
        link.up().unwrap();
        relay.wait_state("a", "active", PATIENCE);
        wait_steady(&mut probe, &format!("a steady stream after {} flapped", link.name()));
    }
    bystander.drain();
    let worker = relay.ctl_json(&["workers"])[0]["pid"].as_u64().unwrap();
    signal(worker, Signal::KILL);
    wait_steady(&mut probe, "a steady stream after a worker died");
    assert!(bystander.drain().is_empty(), "the switch forwards to members only");
    traffic.stop();
}

/// A switch that has lost a port's memberships with its link may not ask for minutes: it has to be told.
#[test]
fn groups_are_reported_anew_when_only_the_carrier_was_away() {
    skip_unless_available!();
    let [switch, relay, listener] = ["dm-w", "dm-r", "dm-l"].map(|name| Netns::new(name).unwrap());
    // It floods, so that a third port hears what the relay says.
    let bridge = Bridge::new(&switch, "br0").unwrap();
    let r_in = port(&bridge, "p0", (&relay, "r-in"), "10.10.1.1");
    let l0 = port(&bridge, "p1", (&listener, "l0"), "10.10.1.2");
    let rules = ["239.1.1.1", "[ff3e::1:1]"].map(|group| {
        let name = if group.starts_with('[') { "six" } else { "four" };
        rule(name, &format!("{group}%r-in:5000"), &["10.10.1.2%r-in:6000"])
    });
    let mut probe = Probe::on(&l0).unwrap();
    let _relay = Relay::start(PROGRAMS, &relay, &rules.concat()).unwrap();
    let reports = |probe: &mut Probe| {
        let others = probe.others();
        let of = |group: &[u8]| {
            others.iter().any(|other| other.payload.windows(group.len()).any(|at| at == group))
        };
        [of(&[239, 1, 1, 1]), of(&[0xff, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1])]
    };
    let both = |probe: &mut Probe, what: &str| {
        let mut heard = [false; 2];
        eventually(PATIENCE, what, || {
            for (heard, now) in heard.iter_mut().zip(reports(probe)) {
                *heard |= now;
            }
            heard == [true; 2]
        });
    };
    both(&mut probe, "reports of the first joins");
    let near = Link::existing(&switch, "p0");
    for _ in 0..2 {
        // Reports of a change are repeated (RFC 3376, section 8.1), here at once: the last is over.
        let mut heard = Instant::now();
        eventually(PATIENCE, "no more reports", || {
            if reports(&mut probe) != [false; 2] {
                heard = Instant::now();
            }
            heard.elapsed() > QUIET
        });
        near.down().unwrap();
        eventually(PATIENCE, "the carrier is away", || !r_in.carrier().unwrap());
        near.up().unwrap();
        both(&mut probe, "reports after the carrier was away");
    }
}
