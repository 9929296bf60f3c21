//! The sockets the daemon opens for its workers and its inputs. None delivers a datagram to a reader: egress sockets only
//! send, a unicast input's only keeps the kernel from answering its senders with port unreachable.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

use dataplane::sys::blast;
use dataplane::sys::sockopt::set_recverr;
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::descriptors::spare;

/// `BPF_RET | BPF_K` with 0: keep no byte, that is, drop (linux/filter.h).
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A socket could not be had: what for, which step failed and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {purpose}: {step}: {error}{}", remedy(.error))]
pub struct SocketError {
    purpose: String,
    step: &'static str,
    /// What the kernel said.
    #[source]
    pub error: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise the limit of open files (LimitNOFILE=, ulimit -n)",
        Some(Errno::ACCESS) => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        Some(Errno::PERM) => "; grant CAP_NET_ADMIN",
        Some(Errno::ADDRINUSE) => "; another program holds the port (see ss -ulpn): choose another",
        Some(Errno::ADDRNOTAVAIL) => "; the host has no such address (or still checks it for duplicates)",
        _ => "",
    }
}

/// What an egress socket is to be.
#[derive(Debug, Clone, Copy)]
pub struct Egress {
    /// `Domain::IPV4` or `Domain::IPV6`; one socket never serves both.
    pub domain: Domain,
    /// Source port; absent: one the kernel picks.
    pub port: Option<NonZeroU16>,
    /// Whether it may send from addresses the host does not own.
    pub transparent: bool,
    /// Bytes of send buffer wanted.
    pub send_buffer: usize,
}

/// An egress socket: unconnected, non-blocking, bound to its source port on every address.
#[derive(Debug)]
pub struct EgressSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// The source port it has.
    pub port: NonZeroU16,
    /// Bytes of send buffer granted, as the kernel accounts them (twice what it was asked, overhead included).
    pub send_buffer: usize,
    /// Whether another socket had the port before. Were that another program's, it would lose unicast sent to the
    /// port, for the newest socket gets it: worth a warning unless the other is the daemon's own.
    pub shared: bool,
}

impl Egress {
    /// Opens the socket. Sends larger than the MTU are fragmented, replies are dropped, and errors of earlier
    /// sends are reported by later ones. Its error queue keeps the details until it is read or full.
    ///
    /// # Errors
    /// The option or the bind the kernel refused.
    pub fn open(self) -> Result<EgressSocket, SocketError> {
        let family = if self.domain == Domain::IPV4 { "IPv4" } else { "IPv6" };
        let purpose = || match self.port {
            None => format!("an {family} egress socket"),
            Some(port) => format!("an {family} egress socket with source port {port}"),
        };
        self.try_open().map_err(|(step, error)| SocketError { purpose: purpose(), step, error })
    }

    fn try_open(self) -> Result<EgressSocket, Step> {
        let socket = Socket::new(self.domain, Type::DGRAM, None).and_then(spare).map_err(at("socket"))?;
        socket.set_nonblocking(true).map_err(at("O_NONBLOCK"))?;
        // Before the bind: from the first moment on nothing is received.
        socket.attach_filter(&[DROP_ALL]).map_err(at("SO_ATTACH_FILTER"))?;
        if self.domain == Domain::IPV4 { self.set_up_v4(&socket) } else { self.set_up_v6(&socket) }?;
        let send_buffer = grant_send_buffer(&socket, self.send_buffer).map_err(at("SO_SNDBUF"))?;
        let (port, shared) = self.bind(&socket).map_err(at("bind"))?;
        Ok(EgressSocket { fd: socket.into(), port, send_buffer, shared })
    }

    fn set_up_v4(self, socket: &Socket) -> Result<(), Step> {
        if self.transparent {
            socket.set_ip_transparent_v4(true).map_err(at("IP_TRANSPARENT"))?;
        }
        socket.set_multicast_all_v4(false).map_err(at("IP_MULTICAST_ALL"))?;
        socket.set_multicast_loop_v4(false).map_err(at("IP_MULTICAST_LOOP"))?;
        set_recverr(socket, false).map_err(at("IP_RECVERR"))?;
        // DF stays clear, so routers fragment too. With it set (WANT, the default) a path's small MTU costs the
        // datagrams until it is learnt, and for groups it is never learnt (RFC 1122, 3.2.2: no ICMP about them).
        let discovery = sockopt::Ipv4PathMtuDiscovery::DONT;
        sockopt::set_ip_mtu_discover(socket, discovery).map_err(|error| ("IP_MTU_DISCOVER", error.into()))
    }

    fn set_up_v6(self, socket: &Socket) -> Result<(), Step> {
        socket.set_only_v6(true).map_err(at("IPV6_V6ONLY"))?;
        if self.transparent {
            socket.set_ip_transparent_v6(true).map_err(at("IPV6_TRANSPARENT"))?;
        }
        socket.set_multicast_all_v6(false).map_err(at("IPV6_MULTICAST_ALL"))?;
        socket.set_multicast_loop_v6(false).map_err(at("IPV6_MULTICAST_LOOP"))?;
        set_recverr(socket, true).map_err(at("IPV6_RECVERR"))?;
        // The kernel still learns path MTUs and fragments to them; only the error for the send after is spared.
        let discovery = sockopt::Ipv6PathMtuDiscovery::DONT;
        sockopt::set_ipv6_mtu_discover(socket, discovery).map_err(|error| ("IPV6_MTU_DISCOVER", error.into()))
    }

    /// SO_REUSEADDR comes after a first try: with it set, the kernel counts a port held by a like-minded socket
    /// of another program as free when it picks one.
    fn bind(self, socket: &Socket) -> io::Result<(NonZeroU16, bool)> {
        let any: IpAddr = match self.domain {
            Domain::IPV4 => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let address = SocketAddr::new(any, self.port.map_or(0, NonZeroU16::get)).into();
        let first = socket.bind(&address);
        socket.set_reuse_address(true)?;
        let shared = match first {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                socket.bind(&address)?;
                true
            }
            first => first.map(|()| false)?,
        };
        let local = socket.local_addr()?.as_socket();
        let port = local.and_then(|local| NonZeroU16::new(local.port()));
        Ok((port.ok_or_else(|| io::Error::other("the kernel bound no port"))?, shared))
    }
}

/// A socket that sends IP packets as they are made (raw(7)), routed, queued and resolved like any others, up to the
/// MTU. It is of UDP's protocol, or the kernel would not tell it of ICMP errors, and receives nothing.
///
/// # Errors
/// The option the kernel refused.
pub fn raw_socket(ipv6: bool, send_buffer: usize) -> Result<OwnedFd, SocketError> {
    let open = || {
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket =
            Socket::new(domain, Type::RAW, Some(Protocol::UDP)).and_then(spare).map_err(at("socket"))?;
        socket.set_nonblocking(true).map_err(at("O_NONBLOCK"))?;
        socket.attach_filter(&[DROP_ALL]).map_err(at("SO_ATTACH_FILTER"))?;
        // Or each datagram of a joined group would be copied for the filter to drop.
        if ipv6 { socket.set_multicast_all_v6(false) } else { socket.set_multicast_all_v4(false) }
            .map_err(at("MULTICAST_ALL"))?;
        if ipv6 { socket.set_header_included_v6(true) } else { socket.set_header_included_v4(true) }
            .map_err(at("HDRINCL"))?;
        if ipv6 { socket.set_multicast_loop_v6(false) } else { socket.set_multicast_loop_v4(false) }
            .map_err(at("MULTICAST_LOOP"))?;
        set_recverr(&socket, ipv6).map_err(at("RECVERR"))?;
        grant_send_buffer(&socket, send_buffer).map_err(at("SO_SNDBUF"))?;
        Ok(socket.into())
    };
    open().map_err(|(step, error)| {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        SocketError { purpose: format!("a raw {family} egress socket"), step, error }
    })
}

/// A packet socket that sends whole frames, each behind a `virtio_net_hdr`, on the interface with that index, and receives
/// nothing.
///
/// # Errors
/// The option the kernel refused.
pub fn frame_socket(ifindex: u32, send_buffer: usize) -> Result<OwnedFd, SocketError> {
    let open = || {
        let socket = blast::frame_socket(ifindex).and_then(spare).map_err(at("socket"))?;
        socket.set_nonblocking(true).map_err(at("O_NONBLOCK"))?;
        grant_send_buffer(&socket, send_buffer).map_err(at("SO_SNDBUF"))?;
        Ok(socket.into())
    };
    open().map_err(|(step, error)| SocketError {
        purpose: format!("a packet socket for frames on interface {ifindex}"),
        step,
        error,
    })
}

/// A failed step and the kernel's answer.
type Step = (&'static str, io::Error);

fn at(step: &'static str) -> impl Fn(io::Error) -> Step {
    move |error| (step, error)
}

/// Takes the size beyond net.core.wmem_max where CAP_NET_ADMIN allows it, else as much as the kernel gives.
fn grant_send_buffer(socket: &Socket, wanted: usize) -> io::Result<usize> {
    if sockopt::set_socket_send_buffer_size_force(socket, wanted).is_err() {
        sockopt::set_socket_send_buffer_size(socket, wanted)?;
    }
    Ok(sockopt::socket_send_buffer_size(socket)?)
}

/// Who answers for a unicast input's port.
#[derive(Debug)]
pub enum PortHold {
    /// This socket, for as long as it is open.
    Held(OwnedFd),
    /// A socket that was there before, another program's or the daemon's own; it keeps its datagrams.
    AlreadyHeld,
}

/// Holds a local address and port, so that the kernel does not answer senders with port unreachable. The socket
/// receives nothing and wakes no one; what it drops the kernel counts as `UdpInErrors`. A program that comes later
/// gets the port for this address if it sets SO_REUSEADDR and binds the address, else EADDRINUSE or nothing.
/// `interface` is the index that a link-local `address` belongs to.
///
/// # Errors
/// The step the kernel refused, mostly because the host has no such address.
pub fn unicast_input_socket(
    address: IpAddr,
    interface: u32,
    port: NonZeroU16,
) -> Result<PortHold, SocketError> {
    try_hold(address, interface, port).map_err(|(step, error)| {
        let purpose = format!("a socket to hold {}", SocketAddr::new(address, port.get()));
        SocketError { purpose, step, error }
    })
}

fn try_hold(address: IpAddr, interface: u32, port: NonZeroU16) -> Result<PortHold, Step> {
    let local = socket_addr(address, Some(interface), port.get());
    let socket =
        Socket::new(Domain::for_address(local), Type::DGRAM, None).and_then(spare).map_err(at("socket"))?;
    socket.attach_filter(&[DROP_ALL]).map_err(at("SO_ATTACH_FILTER"))?;
    if local.is_ipv6() {
        socket.set_only_v6(true).map_err(at("IPV6_V6ONLY"))?;
    }
    match socket.bind(&local.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(PortHold::AlreadyHeld),
        bound => bound.map_err(at("bind"))?,
    }
    // After the bind, or it would take the datagrams of a listener that allows sharing.
    socket.set_reuse_address(true).map_err(at("SO_REUSEADDR"))?;
    Ok(PortHold::Held(socket.into()))
}

/// The socket address of `address`; a link-local one gets `interface` as its scope.
pub(super) fn socket_addr(address: IpAddr, interface: Option<u32>, port: u16) -> SocketAddr {
    match (address, interface) {
        (IpAddr::V6(v6), Some(index)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, index).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
mod tests;
