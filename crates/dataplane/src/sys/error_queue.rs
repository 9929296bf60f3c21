//! The error queue of an egress socket: ICMP errors that came back for datagrams already sent (ip(7),
//! `IP_RECVERR`), each with the destination it belongs to.
#![expect(unsafe_code, reason = "control messages arrive in uninitialised memory")]

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::slice;

use mcast::wire::extension::Upper;
use mcast::wire::{Protocol, ipv6};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, SockRef};

/// Bytes of the returned datagram that are read: an IPv4 header with options, or an IPv6 one with a fragment header, and
/// the ports behind.
const QUOTED_BYTES: usize = 64;

/// Room for `sock_extended_err` with the offender's address, and for `in6_pktinfo`.
const CONTROL_BYTES: usize = 256;

/// `sock_extended_err.ee_origin` of errors the network reported: `SO_EE_ORIGIN_ICMP`, `…_ICMP6`.
const ORIGIN_ICMP: [u8; 2] = [2, 3];

/// `struct cmsghdr`: length, level, type.
const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

/// An ICMP error for a datagram sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Where the datagram was going; of a fragment without UDP header port 0.
    pub destination: SocketAddr,
    /// The address it left from, to which the error came: told by sockets with `IP_PKTINFO`.
    pub source: Option<IpAddr>,
    /// The port it left from: told by raw sockets, to which datagrams come back with their headers.
    pub source_port: Option<u16>,
    /// Index of the interface the error came by: `lo` where this host made it.
    pub ifindex: Option<u32>,
    /// What became of it, as an error number.
    pub errno: i32,
}

/// Takes the next ICMP error off the queue, leaving out errors the local stack reported (those `sendmsg`
/// returned already).
pub fn take_returned(socket: BorrowedFd<'_>) -> Option<Returned> {
    loop {
        let mut control = [MaybeUninit::<u8>::uninit(); CONTROL_BYTES];
        let mut quoted = [MaybeUninit::<u8>::uninit(); QUOTED_BYTES];
        let mut buffers = [MaybeUninitSlice::new(&mut quoted)];
        // SockAddr::from sets the length to the family's; the larger one leaves room for either.
        let mut destination = SockAddr::from(SocketAddr::from(([0u16; 8], 0)));
        let mut message = MsgHdrMut::new()
            .with_addr(&mut destination)
            .with_buffers(&mut buffers)
            .with_control(&mut control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        let bytes = SockRef::from(&socket).recvmsg(&mut message, flags).ok()?;
        let used = message.control_len();
        let told = Told::read(written(&control, used));
        let Some(mut destination) = destination.as_socket() else { continue };
        let mut source_port = None;
        if destination.port() == 0
            && let Some([from, to]) = quoted_ports(written(&quoted, bytes))
        {
            source_port = Some(from);
            destination.set_port(to);
        }
        let Told { errno, origin, source, ifindex } = told;
        if ORIGIN_ICMP.contains(&origin) {
            return Some(Returned { destination, source, source_port, ifindex, errno });
        }
    }
}

/// The part of a buffer that the kernel says it wrote.
fn written(buffer: &[MaybeUninit<u8>], bytes: usize) -> &[u8] {
    let bytes = bytes.min(buffer.len());
    // SAFETY: of both buffers recvmsg(2) answers how many bytes it wrote, from the first on.
    unsafe { slice::from_raw_parts(buffer.as_ptr().cast(), bytes) }
}

/// Source and destination port of a UDP packet that begins at its IP header and may be cut short; absent of a fragment
/// that is not its datagram's first.
fn quoted_ports(quoted: &[u8]) -> Option<[u16; 2]> {
    let udp = match quoted.first()? >> 4 {
        4 => {
            let offset = u16::from_be_bytes(*quoted.get(6..)?.first_chunk()?) & 0x1fff;
            let rest = quoted.get(usize::from(quoted[0] & 0x0f) * 4..)?;
            (offset == 0).then_some(rest)?
        }
        _ => match Upper::walk(Protocol(*quoted.get(6)?), quoted.get(ipv6::HEADER_LEN..)?).ok()? {
            Upper::Whole { payload, .. } => payload,
            Upper::Fragment { fragment, payload } => (fragment.offset == 0).then_some(payload)?,
        },
    };
    let [a, b, c, d] = *udp.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// What the control messages of an error say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    errno: i32,
    origin: u8,
    source: Option<IpAddr>,
    ifindex: Option<u32>,
}

impl Told {
    fn read(mut control: &[u8]) -> Self {
        let mut told = Self::default();
        while let Some((message, rest)) = next_message(control) {
            told.note(message);
            control = rest;
        }
        told
    }

    fn note(&mut self, Message { level, kind, data }: Message<'_>) {
        match (level, kind) {
            // struct sock_extended_err of linux/errqueue.h: ee_errno, ee_origin.
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                if let (Some(&errno), Some(&origin)) = (data.first_chunk(), data.get(4)) {
                    (self.errno, self.origin) = (i32::from_ne_bytes(errno), origin);
                }
            }
            // struct in_pktinfo of ip(7): ipi_ifindex, ipi_spec_dst, ipi_addr (the error's destination address).
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                if let (Some(&ifindex), Some(&address)) = (data.first_chunk(), data.last_chunk()) {
                    let address: [u8; 4] = address;
                    (self.ifindex, self.source) =
                        (Some(u32::from_ne_bytes(ifindex)), Some(Ipv4Addr::from(address).into()));
                }
            }
            // struct in6_pktinfo of RFC 3542, section 6: ipi6_addr, ipi6_ifindex.
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(&address), Some(&ifindex)) = (data.first_chunk(), data.last_chunk()) {
                    let address: [u8; 16] = address;
                    (self.ifindex, self.source) =
                        (Some(u32::from_ne_bytes(ifindex)), Some(Ipv6Addr::from(address).into()));
                }
            }
            _ => {}
        }
    }
}

/// A control message.
struct Message<'a> {
    level: i32,
    kind: i32,
    data: &'a [u8],
}

/// The first control message, as cmsg(3) lays it out on 64-bit Linux, and what follows it.
fn next_message(control: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (header, _) = control.split_first_chunk::<HEADER_BYTES>()?;
    let length = usize::from_ne_bytes(*header.first_chunk()?);
    let word = |at: usize| i32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let data = control.get(HEADER_BYTES..length)?;
    let rest = control.get(length.next_multiple_of(align_of::<libc::cmsghdr>())..).unwrap_or_default();
    Some((Message { level: word(8), kind: word(12), data }, rest))
}

const _: () = assert!(HEADER_BYTES == 16, "the layout read by next_message is that of 64-bit Linux");

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of an IPv6 packet with these headers behind its own.
    fn ipv6(next: Protocol, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; ipv6::HEADER_LEN];
        (packet[0], packet[6]) = (0x60, next.0);
        packet.extend_from_slice(rest);
        packet
    }

    fn ipv4(flags_and_offset: u16) -> Vec<u8> {
        let mut packet = vec![0; 24];
        packet[0] = 0x46;
        packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        packet.extend_from_slice(&[0x10, 0x01, 0x20, 0x02, 0, 8]);
        packet
    }

    #[test]
    fn ports_are_behind_options_and_fragment_headers() {
        let (udp, ports) = ([0x10, 0x01, 0x20, 0x02], Some([0x1001, 0x2002]));
        assert_eq!(quoted_ports(&ipv4(0)), ports);
        assert_eq!(quoted_ports(&ipv4(0x2000)), ports, "the first fragment");
        assert_eq!(quoted_ports(&ipv4(0x2001)), None, "the second");
        assert_eq!(quoted_ports(&ipv6(Protocol::UDP, &udp)), ports);
        let fragment = |offset| [&[Protocol::UDP.0, 0, 0, offset, 0, 0, 0, 9][..], &udp].concat();
        assert_eq!(quoted_ports(&ipv6(Protocol::FRAGMENT, &fragment(1))), ports, "the first fragment");
        assert_eq!(quoted_ports(&ipv6(Protocol::FRAGMENT, &fragment(8))), None, "the second");
    }

    #[test]
    fn ports_that_were_cut_off_are_none() {
        for packet in [ipv4(0), ipv6(Protocol::UDP, &[0x10, 0x01, 0x20, 0x02])] {
            for length in 0..packet.len() {
                let ports = quoted_ports(&packet[..length]);
                assert_eq!(ports.is_some(), length >= 28 && packet[0] == 0x46, "{length} bytes");
            }
        }
    }
}
