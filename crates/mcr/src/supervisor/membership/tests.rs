use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::{Domain, Socket, Type};
use testbed::{Netns, uninterrupted};

use super::*;

/// A namespace with an interface `v0` that is up, and its index.
fn netns_with_v0() -> (Netns, u32) {
    let netns = Netns::new("mcr-join").unwrap();
    let index = add_v0(&netns, "");
    (netns, index)
}

fn add_v0(netns: &Netns, options: &str) -> u32 {
    netns.ip(&format!("link add v0 {options} type veth peer name v1")).unwrap();
    netns.ip("link set v1 up").unwrap();
    netns.ip("link set v0 up").unwrap();
    let shown = netns.ip("-o link show dev v0").unwrap();
    shown.split(':').next().unwrap().parse().unwrap()
}

fn read_proc(netns: &Netns, file: &str) -> String {
    netns.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap())
}

/// The groups the kernel has joined on an interface: /proc/net/igmp and igmp6, well-known ones left out.
fn kernel_groups(netns: &Netns, interface: u32) -> BTreeSet<IpAddr> {
    let mut groups = BTreeSet::new();
    let mut current = 0;
    for line in read_proc(netns, "igmp").lines().skip(1) {
        let first = line.split_whitespace().next().unwrap();
        if line.starts_with(char::is_numeric) {
            current = first.parse().unwrap();
        } else if current == interface {
            let group = u32::from_str_radix(first, 16).unwrap().to_ne_bytes();
            groups.insert(IpAddr::from(Ipv4Addr::from(group)));
        }
    }
    for line in read_proc(netns, "igmp6").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[0].parse() == Ok(interface) {
            let group = u128::from_str_radix(fields[2], 16).unwrap();
            groups.insert(IpAddr::from(Ipv6Addr::from(group)));
        }
    }
    let well_known = |group: &IpAddr| match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => matches!(group.segments()[0], 0xff01 | 0xff02),
    };
    groups.retain(|group| !well_known(group));
    groups
}

/// Group and source of each source filter in INCLUDE mode: /proc/net/mcfilter and mcfilter6.
fn kernel_sources(netns: &Netns) -> BTreeSet<(IpAddr, IpAddr)> {
    let mut sources = BTreeSet::new();
    for file in ["mcfilter", "mcfilter6"] {
        for line in read_proc(netns, file).lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            assert_ne!(fields[4], "0", "{line}");
            sources.insert((kernel_address(fields[2]), kernel_address(fields[3])));
        }
    }
    sources
}

fn kernel_address(text: &str) -> IpAddr {
    match text.strip_prefix("0x") {
        Some(v4) => Ipv4Addr::from(u32::from_str_radix(v4, 16).unwrap()).into(),
        None => Ipv6Addr::from(u128::from_str_radix(text, 16).unwrap()).into(),
    }
}

fn v4_group(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(239, 1, high, low).into()
}

fn v6_group(n: u16) -> IpAddr {
    Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x77, n).into()
}

fn any(interface: u32, group: IpAddr) -> Join {
    Join { interface, group, source: None }
}

/// Makes the host hold just these, and waits for no lingering one.
fn try_sync(netns: &Netns, memberships: &mut Memberships, wanted: &BTreeSet<Join>) -> Vec<(Join, JoinError)> {
    netns.enter(|| {
        let failed = memberships.sync(wanted, Instant::now());
        memberships.leave_due(Instant::now() + LINGER);
        failed
    })
}

fn sync(netns: &Netns, memberships: &mut Memberships, wanted: &BTreeSet<Join>) {
    let failed = try_sync(netns, memberships, wanted);
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn two_hundred_groups_of_each_family_are_joined_and_left() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let groups: BTreeSet<IpAddr> = (0..200).flat_map(|n| [v4_group(n), v6_group(n)]).collect();
    let wanted: BTreeSet<Join> = groups.iter().map(|group| any(v0, *group)).collect();
    sync(&netns, &mut memberships, &wanted);
    assert_eq!(kernel_groups(&netns, v0), groups);
    assert_eq!(memberships.len(), 400);

    let kept: BTreeSet<Join> = wanted.iter().skip(1).step_by(2).copied().collect();
    sync(&netns, &mut memberships, &kept);
    assert_eq!(kernel_groups(&netns, v0), kept.iter().map(|join| join.group).collect());

    sync(&netns, &mut memberships, &wanted);
    assert_eq!(kernel_groups(&netns, v0), groups, "half-empty sockets take joins again");
    drop(memberships);
    // A program that another test is just starting holds a copy of each socket for a moment.
    testbed::eventually(Duration::from_secs(10), "dropping leaves all", || {
        kernel_groups(&netns, v0).is_empty()
    });
}

#[test]
fn a_hundred_sources_of_one_group_live_beside_any_source() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let mut wanted = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for n in 1..=100_u8 {
        let pairs: [(IpAddr, IpAddr); 2] = [
            ([232, 1, 1, 1].into(), [10, 0, 0, n].into()),
            ("ff35::1".parse().unwrap(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into()),
        ];
        for (group, source) in pairs {
            wanted.insert(Join { interface: v0, group, source: Some(source) });
            sources.insert((group, source));
        }
    }
    sync(&netns, &mut memberships, &wanted);
    assert_eq!(kernel_sources(&netns), sources);
    // Sockets with as many sources as they may have refuse each one for that, whether they have it or not.
    assert_eq!(netns.enter(|| memberships.repair()), 0);

    let mut with_any = wanted.clone();
    with_any.extend(wanted.iter().map(|join| Join { source: None, ..*join }));
    sync(&netns, &mut memberships, &with_any);
    assert_eq!(memberships.len(), 202);
    sync(&netns, &mut memberships, &wanted);
    assert_eq!(kernel_sources(&netns), sources, "the sources outlive the join from any");

    let last = wanted.pop_last().unwrap();
    sync(&netns, &mut memberships, &wanted);
    sources.remove(&(last.group, last.source.unwrap()));
    assert_eq!(kernel_sources(&netns), sources);
    sync(&netns, &mut memberships, &BTreeSet::new());
    assert_eq!(kernel_sources(&netns), BTreeSet::new());
    assert_eq!(memberships.sockets(), 0);
}

/// The groups named in the IGMPv3 reports (RFC 3376, section 4.2) that left until `last` was among them.
fn reported_until(tap: &mut Socket, last: IpAddr) -> Vec<IpAddr> {
    let mut groups = Vec::new();
    let mut packet = [0; 2048];
    while !groups.contains(&last) {
        let length = uninterrupted(|| tap.read(&mut packet)).expect("an IGMP report in time");
        let header = usize::from(packet[0] & 0xf) * 4;
        if packet[9] != 2 || packet[header] != 0x22 {
            continue;
        }
        let mut records = &packet[header + 8..length];
        while let [_, _, _, sources, a, b, c, d, ..] = *records {
            groups.push(IpAddr::from([a, b, c, d]));
            records = &records[8 + 4 * usize::from(sources)..];
        }
    }
    groups
}

#[test]
fn what_stays_is_not_reported_anew() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-join").unwrap();
    // An interface takes it over when it is made: each change is then reported once, not repeated.
    netns.sysctl("net.ipv4.igmp_qrv", "1").unwrap();
    let v0 = add_v0(&netns, "");
    netns.ip("addr add 10.1.1.1/24 dev v0").unwrap();
    let ipv4 = socket2::Protocol::from(i32::from(0x0800_u16.to_be()));
    let mut tap = netns.enter(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(ipv4)).unwrap());
    tap.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

    let mut memberships = Memberships::default();
    let kept = any(v0, v4_group(1));
    sync(&netns, &mut memberships, &BTreeSet::from([kept]));
    reported_until(&mut tap, kept.group);
    for n in 2..40 {
        sync(&netns, &mut memberships, &BTreeSet::from([kept, any(v0, v4_group(n))]));
    }
    let reported = reported_until(&mut tap, v4_group(39));
    assert!(!reported.contains(&kept.group), "{reported:?}");
    sync(&netns, &mut memberships, &BTreeSet::new());
    reported_until(&mut tap, kept.group);
}

#[test]
fn an_interface_that_goes_and_returns_is_joined_anew() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let source = Some(IpAddr::from([10, 0, 0, 1]));
    let joins = |index| {
        let ssm = Join { interface: index, group: [232, 9, 9, 9].into(), source };
        BTreeSet::from([any(index, v4_group(7)), any(index, v6_group(7)), ssm])
    };
    let groups: BTreeSet<IpAddr> = joins(v0).iter().map(|join| join.group).collect();
    sync(&netns, &mut memberships, &joins(v0));
    assert_eq!(kernel_groups(&netns, v0), groups);

    netns.ip("link del v0").unwrap();
    let failed = try_sync(&netns, &mut memberships, &BTreeSet::from([any(v0, v4_group(8))]));
    assert_eq!(failed.len(), 1);
    assert!(failed[0].1.to_string().contains("interface is gone"), "{}", failed[0].1);
    assert_eq!(memberships.sockets(), 0);

    let v0 = add_v0(&netns, "");
    sync(&netns, &mut memberships, &joins(v0));
    assert_eq!(kernel_groups(&netns, v0), groups);

    // The same index again before anyone looked.
    netns.ip("link del v0").unwrap();
    assert_eq!(add_v0(&netns, &format!("index {v0}")), v0);
    assert_eq!(kernel_groups(&netns, v0), BTreeSet::new());
    assert_eq!(netns.enter(|| memberships.repair()), 3);
    sync(&netns, &mut memberships, &joins(v0));
    assert_eq!(kernel_groups(&netns, v0), groups);
    assert_eq!(netns.enter(|| memberships.repair()), 0);
}

#[test]
fn ipv6_joins_lost_to_a_small_mtu_are_made_anew() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let wanted = BTreeSet::from([any(v0, v4_group(7)), any(v0, v6_group(7))]);
    let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
    sync(&netns, &mut memberships, &wanted);
    netns.ip("link set v0 mtu 1000").unwrap();
    netns.ip("link set v0 mtu 1500").unwrap();
    assert_eq!(kernel_groups(&netns, v0), BTreeSet::from([v4_group(7)]));
    assert_eq!(netns.enter(|| memberships.repair()), 1);
    sync(&netns, &mut memberships, &wanted);
    assert_eq!(kernel_groups(&netns, v0), groups);
}

#[test]
fn a_flap_and_an_address_change_keep_the_joins() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let wanted = BTreeSet::from([any(v0, v4_group(7)), any(v0, v6_group(7))]);
    let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
    netns.ip("addr add 10.1.1.1/24 dev v0").unwrap();
    sync(&netns, &mut memberships, &wanted);
    for change in ["link set v0 down", "link set v0 up", "addr flush dev v0", "addr add 10.2.2.2/24 dev v0"] {
        netns.ip(change).unwrap();
        assert_eq!(kernel_groups(&netns, v0), groups, "after {change}");
    }
}

#[test]
fn a_limit_on_the_first_join_names_the_parameters() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    netns.sysctl("net.ipv4.igmp_max_memberships", "0").unwrap();
    let mut memberships = Memberships::default();
    let wanted = BTreeSet::from([any(v0, v4_group(1)), any(v0, v6_group(1))]);
    let failed = try_sync(&netns, &mut memberships, &wanted);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].1.to_string().ends_with("; raise net.ipv4.igmp_max_memberships"), "{}", failed[0].1);
    assert_eq!((memberships.len(), memberships.sockets()), (1, 1));

    netns.sysctl("net.ipv4.igmp_max_memberships", "20").unwrap();
    sync(&netns, &mut memberships, &wanted);
    assert_eq!(memberships.len(), 2);
}

#[test]
fn five_thousand_joins_are_quick() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let wanted: BTreeSet<Join> =
        (0..2500).flat_map(|n| [any(v0, v4_group(n)), any(v0, v6_group(n))]).collect();
    let (joined, left) = netns.enter(|| {
        let start = Instant::now();
        assert!(memberships.sync(&wanted, Instant::now()).is_empty());
        let joined = start.elapsed();
        let start = Instant::now();
        assert_eq!(memberships.repair(), 0);
        println!("looking for lost ones: {:?}", start.elapsed());
        let start = Instant::now();
        memberships.leave_all();
        (joined, start.elapsed())
    });
    println!("5,000 joins: {joined:?}, leaves: {left:?}");
    assert!(joined < Duration::from_secs(2) && left < Duration::from_secs(2), "{joined:?} {left:?}");
}

#[test]
fn a_join_nobody_wants_lingers_and_is_taken_up_again() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let wanted = BTreeSet::from([any(v0, v4_group(1)), any(v0, v4_group(2))]);
    let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
    let start = Instant::now();
    netns.enter(|| {
        assert!(memberships.sync(&wanted, start).is_empty());
        assert!(memberships.sync(&BTreeSet::new(), start).is_empty());
        memberships.leave_due(start + LINGER - Duration::from_millis(1));
        assert_eq!(kernel_groups(&netns, v0), groups);
        // One is wanted again, then neither; its time begins anew.
        assert!(memberships.sync(&BTreeSet::from([any(v0, v4_group(1))]), start + LINGER / 2).is_empty());
        assert!(memberships.sync(&BTreeSet::new(), start + LINGER / 2).is_empty());
        memberships.leave_due(start + LINGER);
    });
    assert_eq!(kernel_groups(&netns, v0), BTreeSet::from([v4_group(1)]));
    memberships.leave_due(start + 2 * LINGER);
    assert_eq!((kernel_groups(&netns, v0), memberships.sockets()), (BTreeSet::new(), 0));
}

#[test]
fn joins_that_a_socket_has_lost_are_made_again() {
    testbed::skip_unless_available!();
    let (netns, v0) = netns_with_v0();
    let mut memberships = Memberships::default();
    let sources: [(IpAddr, IpAddr); 2] = [
        ([232, 9, 9, 9].into(), [10, 0, 0, 1].into()),
        ("ff35::9".parse().unwrap(), "2001:db8::1".parse().unwrap()),
    ];
    let of_source = |(group, source)| Join { interface: v0, group, source: Some(source) };
    // One kind at a time: /proc/net/mcfilter names no source if the group joined last has none.
    for (wanted, sources) in [
        (BTreeSet::from([any(v0, v4_group(7)), any(v0, v6_group(7))]), BTreeSet::new()),
        (sources.map(of_source).into(), sources.into()),
    ] {
        let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(netns.enter(|| memberships.repair()), 0);
        for (join, id) in &memberships.held {
            memberships.sockets[id].leave_behind_its_back(join);
        }
        assert_eq!(kernel_groups(&netns, v0), BTreeSet::new());
        assert_eq!(netns.enter(|| memberships.repair()), 2);
        sync(&netns, &mut memberships, &wanted);
        assert_eq!((kernel_groups(&netns, v0), kernel_sources(&netns)), (groups, sources));
        assert_eq!(netns.enter(|| memberships.repair()), 0);
    }
}
