use super::*;
use std::time::{Duration, Instant};
use testbed::Netns;

pub(crate) fn index_of(netns: &Netns, interface: &str) -> u32 {
    let shown = netns.ip(&format!("-o link show dev {interface}")).unwrap();
    shown.split(':').next().unwrap().parse().unwrap()
}

fn add_veth(netns: &Netns, name: &str) -> u32 {
    netns.ip(&format!("link add {name} type veth peer name {name}-peer")).unwrap();
    netns.ip(&format!("link set {name}-peer up")).unwrap();
    netns.ip(&format!("link set {name} up")).unwrap();
    index_of(netns, name)
}

/// Two interfaces with addresses of both families; `v0` has an MTU of 1400 bytes.
pub(crate) fn netns_with_two() -> (Netns, u32, u32) {
    let netns = Netns::new("mcr-src").unwrap();
    let (v0, w0) = (add_veth(&netns, "v0"), add_veth(&netns, "w0"));
    netns.ip("link set v0 mtu 1400").unwrap();
    for (interface, subnet) in [("v0", 1), ("w0", 2)] {
        netns.ip(&format!("addr add 10.0.{subnet}.1/24 dev {interface}")).unwrap();
        netns.ip(&format!("addr add 2001:db8:{subnet}::1/64 dev {interface} nodad")).unwrap();
    }
    (netns, v0, w0)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_kernel_picks_source_and_mtu() {
    testbed::skip_unless_available!();
    let (netns, v0, w0) = netns_with_two();
    netns.ip("addr add 10.0.1.3/24 dev v0").unwrap();
    netns.ip("route add 10.50.0.0/16 via 10.0.1.2 src 10.0.1.3 mtu 1300").unwrap();
    let cases = [
        ("10.0.1.9", None, "10.0.1.1", 1400),
        ("10.50.1.1", None, "10.0.1.3", 1300),
        ("10.0.2.9", Some(w0), "10.0.2.1", 1500),
        ("239.1.1.1", Some(v0), "10.0.1.1", 1400),
        ("239.1.1.1", Some(w0), "10.0.2.1", 1500),
        ("224.0.0.251", Some(w0), "10.0.2.1", 1500),
        ("2001:db8:1::9", None, "2001:db8:1::1", 1400),
        ("ff3e::1", Some(w0), "2001:db8:2::1", 1500),
        ("127.0.0.1", None, "127.0.0.1", 65535),
    ];
    let mut scratch = Scratch::default();
    for (destination, interface, source, mtu) in cases.iter().chain(cases.iter().rev()).copied() {
        let expected = Picked { source: ip(source), mtu };
        let picked = netns.enter(|| pick(ip(destination), interface)).unwrap();
        assert_eq!(picked, expected, "{destination}");
        let picked = netns.enter(|| scratch.pick(ip(destination), interface)).unwrap();
        assert_eq!(picked, expected, "{destination}, not the first asked");
    }
    for destination in ["ff02::1", "fe80::9"] {
        let picked = netns.enter(|| pick(ip(destination), Some(v0))).unwrap();
        assert!(picked.source.to_string().starts_with("fe80:"), "{destination}: {picked:?}");
    }
}

#[test]
fn what_has_no_source_says_why() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-src").unwrap();
    netns.sysctl("net.ipv6.conf.default.addr_gen_mode", "1").unwrap();
    let v0 = add_veth(&netns, "v0");
    let no_v4 = "no IPv4 address to send from to 239.1.1.1 on interface v0: add one";
    let no_v6 = "no IPv6 address to send from to ff3e::1 on interface v0: add one";
    let cases = [
        ("10.0.0.100", None, "no route to 10.0.0.100"),
        ("2001:db8::1", None, "no route to 2001:db8::1"),
        ("239.1.1.1", Some(v0), no_v4),
        ("ff3e::1", Some(v0), no_v6),
        ("239.1.1.1", Some(9999), "interface with index 9999 does not exist"),
        ("fe80::1", None, "fe80::1 is a link-local address: name its interface"),
        ("255.255.255.255", Some(v0), "255.255.255.255 on interface v0 is a broadcast address or its route"),
    ];
    for (destination, interface, expected) in cases {
        let error = netns.enter(|| pick(ip(destination), interface)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    netns.ip("link set v0 down").unwrap();
    let error = netns.enter(|| pick(ip("239.1.1.1"), Some(v0))).unwrap_err();
    assert_eq!(error.to_string(), "no route to 239.1.1.1 on interface v0");
}

#[test]
fn five_thousand_picks_are_quick() {
    testbed::skip_unless_available!();
    let (netns, v0, _) = netns_with_two();
    let took = netns.enter(|| {
        let start = Instant::now();
        let mut scratch = Scratch::default();
        for n in 0..2500_u16 {
            let [high, low] = n.to_be_bytes();
            scratch.pick([239, 1, high, low].into(), Some(v0)).unwrap();
            scratch.pick(ip("2001:db8:2::9"), None).unwrap();
        }
        start.elapsed()
    });
    println!("5,000 picks: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}
