use super::super::sources::tests::{index_of, ip, netns_with_two};
use super::*;
use std::net::UdpSocket;
use std::time::Duration;
use testbed::{Netns, uninterrupted};

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
        assert_eq!(uninterrupted(|| sender.recv(&mut [0; 8])).unwrap(), 3);
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
        assert_eq!(uninterrupted(|| receiver.recv(&mut payload)).unwrap(), 3000, "{destination}");
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
        assert_eq!(uninterrupted(|| listener.recv(&mut [0; 8])).unwrap(), 2);
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
