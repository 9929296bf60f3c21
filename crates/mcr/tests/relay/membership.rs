//! Memberships as the kernel shows them: there while a rule runs, gone with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use testbed::topology::segment;
use testbed::{Injector, Link, Netns, Probe, eventually, rule, skip_unless_available};

use crate::bed::{Bed, SOON};
use crate::reports::{Record, left, records};

/// One line of `/proc/net/mcfilter` or `mcfilter6`: a source that sockets include or exclude.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    interface: String,
    include: u32,
    exclude: u32,
}

fn joins(link: &Link, group: impl Into<IpAddr>) -> u32 {
    link.joins(group).unwrap()
}

fn read(netns: &Netns, file: &str) -> String {
    netns.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}"))).unwrap()
}

/// Whether the group was asked for from that one source since last looked.
fn reported(probe: &mut Probe, group: Ipv4Addr, source: Ipv4Addr) -> bool {
    let (group, source) = (IpAddr::V4(group), IpAddr::V4(source));
    let asks = |record: &Record| record.group == group && record.sources.contains(&source);
    records(probe).iter().any(|record| asks(record) && !record.leaves())
}

/// The kernel lists a device's sources only if the group it joined last has some.
fn filter4(netns: &Netns, group: Ipv4Addr, source: Ipv4Addr) -> Option<Filter> {
    let hex = |address: Ipv4Addr| format!("0x{:08x}", u32::from(address));
    filter(&read(netns, "mcfilter"), &hex(group), &hex(source))
}

fn filter6(netns: &Netns, group: Ipv6Addr, source: Ipv6Addr) -> Option<Filter> {
    let hex =
        |address: Ipv6Addr| address.octets().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    filter(&read(netns, "mcfilter6"), &hex(group), &hex(source))
}

fn filter(text: &str, group: &str, source: &str) -> Option<Filter> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = lines.filter(|words| words.len() == 6 && words[2] == group && words[3] == source);
    let words = found.next()?;
    let number = |at: usize| words[at].parse().unwrap();
    Some(Filter { interface: words[1].to_owned(), include: number(4), exclude: number(5) })
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const SOURCE_GROUP: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 1);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 100);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 101);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 1, 1);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100);

#[test]
fn groups_are_joined_while_rules_need_them() {
    skip_unless_available!();
    let mut bed = Bed::new("rlm", 1, &rule("first", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    let (input, output) = (bed.fan.ingress.link.clone(), bed.fan.egress[0].link.clone());
    assert_eq!(joins(&input, GROUP), 1);
    assert_eq!(joins(&output, GROUP), 0);
    assert_eq!(joins(&output, Ipv4Addr::new(239, 2, 2, 2)), 0, "outputs are not joined");
    bed.relay.ctl_ok(&["add", "second", "239.1.1.1%r-in:5001", "239.2.2.3%r-out1:6000"]);
    bed.relay.ctl_ok(&["add", "six", "[ff3e::1:1]%r-in", "[ff3e::2:2]%r-out1"]);
    assert_eq!((joins(&input, GROUP), joins(&input, GROUP6)), (1, 1));
    bed.relay.ctl_ok(&["remove", "first"]);
    assert_eq!(joins(&input, GROUP), 1, "the second rule still needs it");
    bed.relay.ctl_ok(&["remove", "second"]);
    eventually(SOON, "it is left", || joins(&input, GROUP) == 0);
    assert_eq!(joins(&input, GROUP6), 1);
    bed.relay.stop();
    assert_eq!(joins(&input, GROUP6), 0);
}

#[test]
fn sources_are_joined_one_by_one() {
    skip_unless_available!();
    let rules = rule("one", "10.10.1.100@232.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("two", "10.10.1.101@232.1.1.1%r-in:5000", &["239.2.2.3%r-out1:6000"])
        + &rule("six", "[fd00:1::100]@[ff3e::1:1]%r-in", &["[ff3e::2:2]%r-out1"]);
    let mut bed = Bed::new("rlm", 1, &rules);
    let (netns, input) = (bed.fan.relay().clone(), bed.fan.ingress.link.clone());
    let included = || Some(Filter { interface: "r-in".to_owned(), include: 1, exclude: 0 });
    assert_eq!(filter4(&netns, SOURCE_GROUP, SOURCE), included());
    assert_eq!(filter4(&netns, SOURCE_GROUP, OTHER), included());
    assert_eq!(filter6(&netns, GROUP6, SOURCE6), included());
    bed.relay.ctl_ok(&["remove", "one"]);
    eventually(SOON, "its source is left", || filter4(&netns, SOURCE_GROUP, SOURCE).is_none());
    assert_eq!(filter4(&netns, SOURCE_GROUP, OTHER), included());
    bed.relay.ctl_ok(&["remove", "six"]);
    eventually(SOON, "its source is left", || filter6(&netns, GROUP6, SOURCE6).is_none());
    assert_eq!(joins(&input, GROUP6), 0);
    bed.relay.stop();
    assert_eq!(joins(&input, SOURCE_GROUP), 0);
}

#[test]
fn a_kill_leaves_no_membership_and_a_new_start_joins_again() {
    skip_unless_available!();
    let mut bed = Bed::new("rlm", 1, &rule("first", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    let input = bed.fan.ingress.link.clone();
    bed.relay.kill();
    eventually(SOON, "the membership went with its process", || joins(&input, GROUP) == 0);
    bed.relay.start_again().unwrap();
    assert_eq!(joins(&input, GROUP), 1);
    bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, b"again").unwrap();
    assert_eq!(bed.probes[0].expect_one(SOON).payload, b"again");
}

/// A link that goes down or away takes memberships with it; they are back when it is.
#[test]
fn groups_are_joined_again_when_their_interface_returns() {
    skip_unless_available!();
    let rules = rule("any", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("source", "10.10.1.100@232.1.1.1%r-in:5000", &["239.2.2.3%r-out1:6000"]);
    let mut bed = Bed::new("rlm", 1, &rules);
    let (netns, input) = (bed.fan.relay().clone(), bed.fan.ingress.link.clone());
    let mut reports = Probe::on(&bed.fan.sender.link).unwrap();
    bed.fan.ingress.link.down().unwrap();
    bed.relay.wait_state("any", "pending", SOON);
    reports.others();
    bed.fan.ingress.link.up().unwrap();
    bed.relay.wait_state("any", "active", SOON);
    eventually(SOON, "the source is reported again", || reported(&mut reports, SOURCE_GROUP, SOURCE));
    assert_eq!((joins(&input, GROUP), joins(&input, SOURCE_GROUP)), (1, 1));
    bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, b"again").unwrap();
    assert_eq!(bed.probes[0].expect_one(SOON).payload, b"again");

    // Another interface of the name, another index.
    drop(reports);
    bed.fan.ingress.link.delete().unwrap();
    bed.relay.wait_state("any", "pending", SOON);
    let sender = bed.fan.sender.netns();
    // It repeats each report so often, so that the probe, which comes later, hears one.
    netns.sysctl("net.ipv4.igmp_qrv", "10").unwrap();
    let (far, _near) = segment(1, (sender, "s0", 100), (&netns, "r-in", 1)).unwrap();
    let mut reports = Probe::on(&far.link).unwrap();
    bed.relay.wait_state("any", "active", SOON);
    eventually(SOON, "the source is reported again", || reported(&mut reports, SOURCE_GROUP, SOURCE));
    assert_eq!((joins(&input, GROUP), joins(&input, SOURCE_GROUP)), (1, 1));
    Injector::on(&far.link).unwrap().udp("10.10.1.100:4000", "232.1.1.1:5000", 16, 0, b"new").unwrap();
    assert_eq!(bed.probes[0].expect_one(SOON).payload, b"new");
}

/// The groups that upstream saw left. It joins and leaves another: once that is seen, so is all that went before,
/// although joins that nobody wants linger.
fn left_by_now(bed: &Bed, upstream: &mut Probe) -> Vec<IpAddr> {
    bed.relay.ctl_ok(&["add", "mark", "239.9.9.9%r-in:5000", "10.10.1.100:7000"]);
    bed.relay.ctl_ok(&["remove", "mark"]);
    let mark = IpAddr::from([239, 9, 9, 9]);
    let mut seen = Vec::new();
    eventually(SOON, "the mark is left", || {
        seen.extend(left(upstream));
        seen.contains(&mark)
    });
    seen.retain(|group| *group != mark);
    seen
}

#[test]
fn upstream_sees_no_gap_while_a_rule_is_replaced() {
    skip_unless_available!();
    let bed = Bed::new("rlm", 1, &rule("first", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    let mut upstream = Probe::on(&bed.fan.sender.link).unwrap();
    for port in [5001, 5002, 5003] {
        bed.relay.ctl_ok(&["remove", "first"]);
        let input = format!("239.1.1.1%r-in:{port}");
        bed.relay.ctl_ok(&["add", "first", &input, "239.2.2.2%r-out1:6000"]);
    }
    assert_eq!(left_by_now(&bed, &mut upstream), [] as [IpAddr; 0]);
    bed.relay.ctl_ok(&["remove", "first"]);
    eventually(SOON, "in the end it is left", || left(&mut upstream).contains(&GROUP.into()));
}

#[test]
fn a_limit_of_the_kernel_is_named_and_met_again_when_it_is_raised() {
    skip_unless_available!();
    let fan = testbed::Fan::new("rlm", 1).unwrap();
    let netns = fan.relay().clone();
    netns.sysctl("net.ipv4.igmp_max_memberships", "0").unwrap();
    let bed = Bed::on(fan, &rule("first", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    let (state, reason) = bed.relay.state("first");
    assert_eq!(state, "failed");
    assert!(reason.contains("raise net.ipv4.igmp_max_memberships"), "{reason}");
    netns.sysctl("net.ipv4.igmp_max_memberships", "20").unwrap();
    bed.relay.wait_state("first", "active", SOON);
    assert_eq!(joins(&bed.fan.ingress.link, GROUP), 1);
}

#[test]
fn thousands_of_groups_of_one_interface_are_relayed() {
    skip_unless_available!();
    const GROUPS: u16 = 3000;
    let group = |n: u16| Ipv4Addr::from(0xef05_0000 + u32::from(n));
    let rules: String = (0..GROUPS)
        .map(|n| {
            rule(
                &format!("g{n}"),
                &format!("{}%r-in:5000", group(n)),
                &[&format!("239.2.2.2%r-out1:{}", 10_000 + n)],
            )
        })
        .collect();
    let mut bed = Bed::new("rlm", 1, &rules);
    let netns = bed.fan.relay().clone();
    // 239.5.x.y as /proc/net/igmp writes it.
    let text = read(&netns, "igmp");
    let joined = text.split_whitespace().filter(|word| word.len() == 8 && word.ends_with("05EF")).count();
    assert_eq!(joined, usize::from(GROUPS));
    for n in (0..GROUPS).step_by(211) {
        bed.input.udp("10.10.1.100:4000", &format!("{}:5000", group(n)), 16, 0, &n.to_be_bytes()).unwrap();
        let seen = bed.probes[0].expect_one(SOON);
        assert_eq!((seen.payload.as_slice(), seen.dport), (n.to_be_bytes().as_slice(), Some(10_000 + n)));
    }
}

/// A rule whose only output flaps waits and drops, and does not leave: upstream would prune the group, and take time
/// to graft it again.
#[test]
fn groups_stay_joined_while_the_output_flaps() {
    skip_unless_available!();
    let flows = [
        ("any", "239.1.1.1%r-in:5000", "239.2.2.2%r-out1:6000", "10.10.1.100:4000", "239.1.1.1:5000"),
        (
            "source",
            "10.10.1.100@232.1.1.1%r-in:5000",
            "239.2.2.3%r-out1:6000",
            "10.10.1.100:4000",
            "232.1.1.1:5000",
        ),
        ("six", "[ff3e::1:1]%r-in:5000", "[ff3e::2:2]%r-out1:6000", "[fd00:1::100]:4000", "[ff3e::1:1]:5000"),
    ];
    let groups: [IpAddr; 3] = [GROUP.into(), SOURCE_GROUP.into(), GROUP6.into()];
    let rules: String = flows.map(|(name, input, output, ..)| rule(name, input, &[output])).concat();
    let mut bed = Bed::new("rlm", 1, &rules);
    // Its socket would not outlive its own link's flap.
    bed.probes.clear();
    let mut upstream = Probe::on(&bed.fan.sender.link).unwrap();
    let input = bed.fan.ingress.link.clone();
    let joined = || groups.map(|group| joins(&input, group));
    let state =
        |bed: &Bed, state: &str| flows.iter().for_each(|(name, ..)| bed.relay.wait_state(name, state, SOON));
    let send =
        |bed: &Bed| flows.iter().for_each(|(.., from, to)| bed.input.udp(from, to, 16, 0, b"x").unwrap());
    let (output, far) = (bed.fan.egress[0].link.clone(), bed.fan.receivers[0].link.clone());
    // Down itself, and without carrier.
    for (link, lost) in [(&output, 3), (&far, 6)] {
        link.down().unwrap();
        state(&bed, "pending");
        assert_eq!((left_by_now(&bed, &mut upstream), joined()), (vec![], [1; 3]));
        send(&bed);
        bed.account().assert_drops(&[("no_leg", lost)]);
        link.up().unwrap();
        state(&bed, "active");
        let mut receiver = Probe::on(&far).unwrap();
        send(&bed);
        receiver.expect(3, SOON);
        assert_eq!(joined(), [1; 3]);
    }
    let account = bed.account();
    assert_eq!((account.total("matched"), account.relayed()), (12, 6), "{account:#?}");

    assert_eq!(left_by_now(&bed, &mut upstream), [] as [IpAddr; 0]);
    // And leaves are seen: the test can fail.
    for (name, ..) in flows {
        bed.relay.ctl_ok(&["remove", name]);
    }
    let mut seen = Vec::new();
    eventually(SOON, "all are left once their rules are removed", || {
        seen.extend(left(&mut upstream));
        groups.iter().all(|group| seen.contains(group))
    });
    assert_eq!(joined(), [0; 3]);
}
