//! One datagram under headers made here, on an IP raw socket (raw(7)) of UDP, for legs that keep the packet's
//! source port: a UDP socket sends from the port it is bound to.
//!
//! The kernel still routes, resolves neighbours and queues. It does not fragment raw packets, so that is done here
//! (RFC 791, section 3.2; RFC 8200, section 4.5).

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use mcast::wire::extension::{FRAGMENT_LEN, Fragment};
use mcast::wire::fragment::LENGTH_MAX;
use mcast::wire::ip::{self, Fragmentation};
use mcast::wire::{Addresses, Protocol, ipv4, ipv6, udp};
use socket2::SockAddr;

use crate::envelope::{Addressed, Control, Envelope, FLAGS};
use crate::sys::sendmmsg::sendmmsg;

/// IPv6 header and fragment header, the longest made here.
const HEADER_BYTES_MAX: usize = ipv6::HEADER_LEN + FRAGMENT_LEN;

/// What tells the fragments of one datagram from another's. Between two addresses they are one sequence, whatever the
/// ports (RFC 6864, section 4; RFC 8200, section 4.5): so all legs draw from it, tables come and go beside it, and
/// workers have stripes of their own, runs apart.
#[derive(Debug)]
pub struct Identifications {
    next: Cell<u32>,
    stride: u32,
}

impl Identifications {
    /// The stripe of one of so many workers, beginning far from where a predecessor may have been.
    pub fn new(worker: u32, workers: u32) -> Self {
        let stride = workers.max(1);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A millionth of a second each: no worker sends fragmented datagrams as fast.
        let start = (since.as_micros() as u32 / stride).wrapping_mul(stride);
        Self { next: Cell::new(start.wrapping_add(worker)), stride }
    }

    /// The next one.
    pub fn draw(&self) -> u32 {
        self.draw_run(1)
    }

    /// The first of so many, each one more than that before it, as the kernel numbers what it cuts. Other workers' may meet
    /// them: the sixteen bits of IPv4 come round within a second at rates that have runs (RFC 6864, section 5.2).
    pub fn draw_run(&self, count: u32) -> u32 {
        self.next.replace(self.next.get().wrapping_add(self.stride.wrapping_mul(count)))
    }
}

/// A part of a UDP datagram, header included, that one packet carries.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: usize,
    end: usize,
    /// Whether others follow.
    more: bool,
}

impl Piece {
    fn is_whole(self) -> bool {
        self.start == 0 && !self.more
    }
}

/// Sends a datagram with this payload from the envelope's source, in fragments of at most `mtu` bytes where it is
/// longer; `identification` tells them from another datagram's.
///
/// # Errors
/// Those of sendmsg(2), after which fragments may be missing; `EMSGSIZE`, as a UDP socket has it, where an IPv6 payload
/// is longer than an IPv4 packet can be; `InvalidInput` where the envelope has no source, or one
/// of another family than its destination, or the payload exceeds a datagram.
pub fn send(
    envelope: &Envelope,
    socket: BorrowedFd<'_>,
    payload: &[u8],
    mtu: usize,
    identification: u32,
) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (source, source_port) = envelope.source.zip(envelope.source_port).ok_or_else(invalid)?;
    let to = envelope.destination;
    let addresses = Addresses::new(source, to.ip()).ok_or_else(invalid)?;
    let ports = udp::Repr { source_port, destination_port: to.port() };
    let header = ports.header(&addresses, payload).map_err(|_| invalid())?;
    let length = header.len() + payload.len();
    if to.is_ipv4() && ipv4::HEADER_LEN + length > LENGTH_MAX {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    for piece in pieces(length, &addresses, mtu) {
        let mut buffer = [0; HEADER_BYTES_MAX];
        let ip = ip_header(envelope, &addresses, piece, identification, &mut buffer).ok_or_else(invalid)?;
        // A piece begins with the UDP header or behind it: it has eight bytes, and so has the least piece.
        let udp = if piece.start == 0 { &header[..] } else { &[] };
        let data = &payload[piece.start.saturating_sub(header.len())..piece.end - header.len()];
        send_packet(envelope, socket, &[ip, udp, data].map(IoSlice::new))?;
    }
    Ok(())
}

fn send_packet(envelope: &Envelope, socket: BorrowedFd<'_>, packet: &[IoSlice<'_>]) -> io::Result<()> {
    let mut to = envelope.scoped_destination();
    // The raw sockets of IPv6 take a port for a protocol number, which must be the socket's or 0.
    to.set_port(0);
    let mut control = Control::default();
    // The source is in the header; named here it would have to be the host's.
    control.push_way_out(to, envelope.ifindex, None);
    let addressed = Addressed { to: SockAddr::from(to), control };
    sendmmsg(socket, &[addressed.outgoing(packet)], FLAGS).map(drop)
}

/// How a UDP datagram of `length` bytes is divided.
fn pieces(length: usize, addresses: &Addresses, mtu: usize) -> impl Iterator<Item = Piece> {
    let (whole, fragment) = match addresses {
        Addresses::V4 { .. } => (ipv4::HEADER_LEN, ipv4::HEADER_LEN),
        Addresses::V6 { .. } => (ipv6::HEADER_LEN, HEADER_BYTES_MAX),
    };
    // Offsets are told in units of eight bytes.
    let step = if whole + length <= mtu { length } else { (mtu.saturating_sub(fragment) & !7).max(8) }.max(1);
    (0..length).step_by(step).map(move |start| {
        let end = (start + step).min(length);
        Piece { start, end, more: end < length }
    })
}

/// Everything before a piece, at the start of `buffer`.
fn ip_header<'b>(
    envelope: &Envelope,
    addresses: &Addresses,
    piece: Piece,
    identification: u32,
    buffer: &'b mut [u8; HEADER_BYTES_MAX],
) -> Option<&'b [u8]> {
    let Envelope { ttl, traffic_class, .. } = *envelope;
    let (whole, offset) = (piece.is_whole(), u16::try_from(piece.start).ok()?);
    // In IPv6 a header of its own says of a fragment what the IPv4 header does.
    let extended = !whole && matches!(addresses, Addresses::V6 { .. });
    let (protocol, extra) = if extended { (Protocol::FRAGMENT, FRAGMENT_LEN) } else { (Protocol::UDP, 0) };
    let header = ip::Repr {
        addresses: *addresses,
        protocol,
        ttl,
        traffic_class,
        fragmentation: Fragmentation {
            // The kernel gives a packet that is whole one of its own for 0.
            identification: if whole { 0 } else { (identification as u16).max(1) },
            dont_fragment: false,
            more_fragments: piece.more,
            offset,
        },
        payload_len: extra + piece.end - piece.start,
    };
    let rest = header.emit(&mut buffer[..]).ok()?;
    if extended {
        let fragment = Fragment { next_header: Protocol::UDP, offset, more: piece.more, identification };
        fragment.emit(rest).ok()?;
    }
    Some(&buffer[..header.header_len() + extra])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(length: usize, mtu: usize, ipv6: bool) -> Vec<Piece> {
        let any: [std::net::IpAddr; 2] =
            if ipv6 { ["::1", "ff3e::1"] } else { ["10.0.0.1", "239.1.1.1"] }.map(|ip| ip.parse().unwrap());
        pieces(length, &Addresses::new(any[0], any[1]).unwrap(), mtu).collect()
    }

    #[test]
    fn a_datagram_is_cut_only_where_it_must_be() {
        for (ipv6, header) in [(false, 20), (true, 40)] {
            assert_eq!(cut(1500 - header, 1500, ipv6).len(), 1);
            assert_eq!(cut(1500 - header + 1, 1500, ipv6).len(), 2);
            assert!(cut(8, 1500, ipv6)[0].is_whole(), "an empty payload still has its UDP header");
        }
    }

    #[test]
    fn workers_draw_from_stripes_of_their_own() {
        let [first, second] = [0, 1].map(|worker| Identifications::new(worker, 2));
        let drawn: Vec<_> = (0..100).flat_map(|_| [first.draw(), second.draw()]).collect();
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), drawn.len());
    }

    #[test]
    fn pieces_follow_each_other_in_units_of_eight_bytes_and_fit() {
        for (length, mtu, ipv6) in
            [(1481, 1500, false), (65_515, 1500, true), (8980, 1281, true), (999, 0, false)]
        {
            let pieces = cut(length, mtu, ipv6);
            let header = if ipv6 { HEADER_BYTES_MAX } else { ipv4::HEADER_LEN };
            let mut next = 0;
            for piece in &pieces {
                assert_eq!((piece.start, piece.start % 8, piece.more), (next, 0, piece.end < length));
                assert!(piece.end - piece.start + header <= mtu.max(header + 8), "{piece:?}");
                next = piece.end;
            }
            assert_eq!(next, length);
        }
    }
}
