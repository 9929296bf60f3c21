use super::*;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use testbed::Netns;

fn index_of(netns: &Netns, interface: &str) -> u32 {
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
fn netns_with_two() -> (Netns, u32, u32) {
    let netns = Netns::new("mcr-src").unwrap();
    let (v0, w0) = (add_veth(&netns, "v0"), add_veth(&netns, "w0"));
    netns.ip("link set v0 mtu 1400").unwrap();
    for (interface, subnet) in [("v0", 1), ("w0", 2)] {
        netns.ip(&format!("addr add 10.0.{subnet}.1/24 dev {interface}")).unwrap();
        netns.ip(&format!("addr add 2001:db8:{subnet}::1/64 dev {interface} nodad")).unwrap();
    }
    (netns, v0, w0)
}

fn ip(text: &str) -> IpAddr {
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

fn egress(netns: &Netns, domain: Domain, port: Option<u16>) -> (UdpSocket, EgressSocket) {
    let port = port.and_then(NonZeroU16::new);
    let wanted = Egress { domain, port, transparent: true, send_buffer: 4 << 20 };
    let opened = netns.enter(|| wanted.open()).unwrap();
    (opened.fd.try_clone().unwrap().into(), opened)
}

#[test]
fn egress_sockets_send_and_receive_nothing() {
    testbed::skip_unless_available!();
    let (netns, ..) = netns_with_two();
    for (domain, host) in [(Domain::IPV4, "127.0.0.1"), (Domain::IPV6, "::1")] {
        let (socket, opened) = egress(&netns, domain, None);
        assert!(opened.send_buffer >= 4 << 20, "{}", opened.send_buffer);
        assert!(!opened.shared);
        let sender = netns.enter(|| UdpSocket::bind((host, 0)).unwrap());
        sender.connect((host, opened.port.get())).unwrap();
        for _ in 0..3 {
            sender.send(b"reply").expect("no port unreachable");
        }
        assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let to = sender.local_addr().unwrap();
        socket.send_to(b"out", to).unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).unwrap(), 3);
        drop(sender);
        // A send meets a closed port; a later one learns of it.
        let error = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            socket.send_to(b"out", to).err()
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionRefused, "{host}");
    }
}

#[test]
fn egress_sockets_share_a_port_and_say_so() {
    testbed::skip_unless_available!();
    let (netns, ..) = netns_with_two();
    let (first, opened) = egress(&netns, Domain::IPV4, None);
    let port = opened.port.get();
    assert_eq!(first.local_addr().unwrap().port(), port);
    assert!(!egress(&netns, Domain::IPV6, Some(port)).1.shared);
    assert!(egress(&netns, Domain::IPV4, Some(port)).1.shared);

    let held = netns.enter(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    let port = NonZeroU16::new(held.local_addr().unwrap().port());
    let wanted = Egress { domain: Domain::IPV4, port, transparent: false, send_buffer: 4096 };
    let error = netns.enter(|| wanted.open()).unwrap_err().to_string();
    assert!(error.contains("source port") && error.contains("another program holds the port"), "{error}");
}

#[test]
fn large_datagrams_are_fragmented() {
    testbed::skip_unless_available!();
    let (netns, v0, _) = netns_with_two();
    let peer = Netns::new("mcr-src").unwrap();
    netns.ip(&format!("link set v0-peer netns {}", peer.name())).unwrap();
    peer.ip("link set v0-peer mtu 1400 up").unwrap();
    peer.ip("addr add 10.0.1.2/24 dev v0-peer").unwrap();
    peer.ip("addr add 2001:db8:1::2/64 dev v0-peer nodad").unwrap();
    let peer_index = index_of(&peer, "v0-peer");
    let cases = [
        (Domain::IPV4, "0.0.0.0", "10.0.1.2", 5000),
        (Domain::IPV4, "0.0.0.0", "239.1.1.1", 5001),
        (Domain::IPV6, "::", "2001:db8:1::2", 5002),
        (Domain::IPV6, "::", "ff15::1", 5003),
    ];
    for (domain, any, destination, port) in cases {
        let receiver = peer.enter(|| UdpSocket::bind((any, port)).unwrap());
        if ip(destination).is_multicast() {
            dataplane::sys::sockopt::join_group(&receiver, peer_index, ip(destination), None).unwrap();
        }
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (socket, opened) = egress(&netns, domain, None);
        match domain {
            Domain::IPV4 => {
                sockopt::set_ip_multicast_if_with_ifindex(
                    &opened.fd,
                    &Ipv4Addr::UNSPECIFIED,
                    &Ipv4Addr::UNSPECIFIED,
                    v0,
                )
                .unwrap();
            }
            _ => sockopt::set_ipv6_multicast_if(&opened.fd, v0).unwrap(),
        }
        // The neighbour may have to be resolved first; the kernel queues what waits for it.
        assert_eq!(socket.send_to(&[7; 3000], (ip(destination), port)).unwrap(), 3000);
        let mut payload = [0; 4096];
        assert_eq!(receiver.recv(&mut payload).unwrap(), 3000, "{destination}");
    }
}

#[test]
fn a_held_port_is_not_unreachable_and_stays_with_its_listener() {
    testbed::skip_unless_available!();
    let (netns, v0, _) = netns_with_two();
    let hold = |address: &str, port| {
        netns.enter(|| unicast_input_socket(ip(address), v0, NonZeroU16::new(port).unwrap()))
    };
    let sends = |address: &str, port: u16| {
        let any = if ip(address).is_ipv4() { "0.0.0.0" } else { "::" };
        let sender = netns.enter(|| UdpSocket::bind((any, 0)).unwrap());
        sender.connect((ip(address), port)).unwrap();
        (0..3).try_for_each(|_| sender.send(b"in").map(|_| ()))
    };
    for address in ["10.0.1.1", "2001:db8:1::1"] {
        assert_eq!(sends(address, 5000).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let PortHold::Held(held) = hold(address, 5000).unwrap() else { panic!("{address} is free") };
        sends(address, 5000).expect("no port unreachable");
        let held = UdpSocket::from(held);
        held.set_nonblocking(true).unwrap();
        assert_eq!(held.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(hold(address, 5000).unwrap(), PortHold::AlreadyHeld));
        let domain = if ip(address).is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        assert!(egress(&netns, domain, Some(5000)).1.shared, "a leg may send from an input's port");

        let listener = netns.enter(|| UdpSocket::bind((ip(address), 6000)).unwrap());
        assert!(matches!(hold(address, 6000).unwrap(), PortHold::AlreadyHeld));
        sends(address, 6000).unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(listener.recv(&mut [0; 8]).unwrap(), 2);
    }
    let error = hold("10.9.9.9", 5000).unwrap_err().to_string();
    assert!(error.contains("hold 10.9.9.9:5000: bind") && error.contains("no such address"), "{error}");
}

#[test]
fn a_link_local_input_belongs_to_its_interface() {
    testbed::skip_unless_available!();
    let (netns, v0, w0) = netns_with_two();
    netns.ip("addr add fe80::55/64 dev v0 nodad").unwrap();
    let port = NonZeroU16::new(5000).unwrap();
    let hold = |interface| netns.enter(|| unicast_input_socket(ip("fe80::55"), interface, port));
    assert!(matches!(hold(v0), Ok(PortHold::Held(_))));
    hold(w0).unwrap_err();
}
