//! One send: where a run of datagrams goes and under which headers, as a `sendmsg` call.
//!
//! The headers travel as control messages (ip(7), ipv6(7), udp(7)), so one unconnected socket serves
//! every leg that leaves by the same interface and source port.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

use crate::sys::sendmmsg::{Outgoing, sendmmsg};

/// What a send must not do: wait, or end the process.
pub(crate) const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Room for the most a send carries: packet info, TTL, traffic class, segment size.
const CONTROL_BYTES: usize = 128;

/// `struct cmsghdr`: length, level, type.
const CMSG_HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

/// Where datagrams go and under which headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Destination address and port.
    pub destination: SocketAddr,
    /// Egress interface; absent: the kernel routes.
    pub ifindex: Option<u32>,
    /// Source address; absent: the kernel picks it.
    pub source: Option<IpAddr>,
    /// Source port; absent: the socket's. With one, [`raw`](crate::raw) makes the headers.
    pub source_port: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 TOS or IPv6 traffic class: DSCP and ECN.
    pub traffic_class: u8,
}

impl Envelope {
    /// Sends the payload as one datagram, or cut into datagrams of `segment` bytes (the last may be shorter).
    ///
    /// # Errors
    /// Those of sendmsg(2); an ICMP error that came back for an earlier datagram of the socket shows here too.
    pub fn send(&self, socket: BorrowedFd<'_>, payload: &[u8], segment: Option<u16>) -> io::Result<()> {
        let (addressed, payload) = (self.address(segment), [IoSlice::new(payload)]);
        sendmmsg(socket, &[addressed.outgoing(&payload)], FLAGS).map(drop)
    }

    /// What of a send is not payload.
    pub fn address(&self, segment: Option<u16>) -> Addressed {
        let mut control = Control::default();
        match self.destination {
            SocketAddr::V4(_) => self.push_ipv4(&mut control),
            SocketAddr::V6(_) => self.push_ipv6(&mut control),
        }
        if let Some(bytes) = segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
        }
        Addressed { to: SockAddr::from(self.scoped_destination()), control }
    }

    /// A link-local IPv6 destination needs its interface as scope (RFC 4007, section 11).
    pub(crate) fn scoped_destination(&self) -> SocketAddr {
        match self.destination {
            SocketAddr::V6(to) => {
                let scope = self.ifindex.unwrap_or(0);
                SocketAddr::V6(SocketAddrV6::new(*to.ip(), to.port(), 0, scope))
            }
            to @ SocketAddr::V4(_) => to,
        }
    }

    fn push_ipv4(&self, control: &mut Control) {
        control.push_way_out(self.destination, self.ifindex, self.source);
        control.push(libc::IPPROTO_IP, libc::IP_TTL, &i32::from(self.ttl).to_ne_bytes());
        control.push(libc::IPPROTO_IP, libc::IP_TOS, &i32::from(self.traffic_class).to_ne_bytes());
    }

    fn push_ipv6(&self, control: &mut Control) {
        control.push_way_out(self.destination, self.ifindex, self.source);
        control.push(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &i32::from(self.ttl).to_ne_bytes());
        control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &i32::from(self.traffic_class).to_ne_bytes());
    }
}

/// An envelope as the kernel takes it.
#[derive(Debug)]
pub struct Addressed {
    pub(crate) to: SockAddr,
    pub(crate) control: Control,
}

impl Addressed {
    /// It with these payloads.
    pub fn outgoing<'a>(&'a self, parts: &'a [IoSlice<'a>]) -> Outgoing<'a> {
        Outgoing { to: Some(&self.to), parts, control: self.control.as_bytes() }
    }
}

/// Control messages, laid out as cmsg(3) has them.
#[derive(Debug)]
pub(crate) struct Control {
    bytes: [u8; CONTROL_BYTES],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self { bytes: [0; CONTROL_BYTES], len: 0 }
    }
}

impl Control {
    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let message = &mut self.bytes[self.len..];
        let length = CMSG_HEADER_BYTES + data.len();
        message[..8].copy_from_slice(&length.to_ne_bytes());
        message[8..12].copy_from_slice(&level.to_ne_bytes());
        message[12..16].copy_from_slice(&kind.to_ne_bytes());
        message[16..length].copy_from_slice(data);
        self.len += length.next_multiple_of(size_of::<usize>());
    }

    /// The interface to leave by and the source address, where not left to the kernel.
    pub(crate) fn push_way_out(&mut self, to: SocketAddr, ifindex: Option<u32>, source: Option<IpAddr>) {
        let ifindex = ifindex.unwrap_or(0).to_ne_bytes();
        match to {
            SocketAddr::V4(_) => {
                let source = match source {
                    Some(IpAddr::V4(source)) => source,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                // struct in_pktinfo: interface index, source address, (ignored) header address.
                let mut info = [0; 12];
                info[..4].copy_from_slice(&ifindex);
                info[4..8].copy_from_slice(&source.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            SocketAddr::V6(_) => {
                let source = match source {
                    Some(IpAddr::V6(source)) => source,
                    _ => Ipv6Addr::UNSPECIFIED,
                };
                // struct in6_pktinfo: source address, interface index.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&source.octets());
                info[16..].copy_from_slice(&ifindex);
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const _: () = assert!(CMSG_HEADER_BYTES == 16, "the layout written by Control::push is that of 64-bit Linux");
