//! The receiver's ear: a packet ring on the interface, and the sockets that make traffic come.
//!
//! Groups are joined on sockets that receive nothing; a unicast target's ports are held by bound ones, or the
//! kernel would answer the sender with port-unreachable. What the ring itself loses is counted apart.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::OwnedFd;
use std::time::Duration;

use dataplane::sys::packet::{PacketSocket, Protocol};
use dataplane::sys::ring::{Arrival, LinkTarget, Ring};
use dataplane::sys::sockopt::join_group;
use mcast::wire::ChecksumTrust;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use super::clock;
use super::target::{Target, TargetError};

/// Bytes of a tap's ring: room for 65 ms of 500 kpps while the reader is off its core.
pub const RING_BYTES: usize = 64 << 20;

/// Frames read before their slots go back.
const BATCH_FRAMES: usize = 256;

/// How long packets may gather in the ring once some were read.
const GATHER: Duration = Duration::from_millis(1);

/// Why the traffic cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The endpoint does not do.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No right to tap.
    #[error(
        "cannot tap an interface: that takes CAP_NET_RAW; run as root or grant it with `setcap cap_net_raw+ep`"
    )]
    Permission,
    /// The tap failed otherwise.
    #[error("cannot tap {0}: {1}")]
    Tap(String, #[source] io::Error),
    /// A group could not be joined.
    #[error("cannot join {0} on {1}: {2}")]
    Join(IpAddr, String, #[source] io::Error),
    /// A unicast port could not be held.
    #[error("cannot hold {0}, which must be a free port at an address of this host: {1}")]
    Hold(SocketAddr, #[source] io::Error),
    /// Reading failed.
    #[error("cannot read the tap: {0}")]
    Read(#[source] io::Error),
}

/// A packet off the tap.
#[derive(Debug, Clone, Copy)]
pub struct Tapped<'a> {
    /// From the IP header on.
    pub packet: &'a [u8],
    /// What the kernel knows of its checksums.
    pub checksum: ChecksumTrust,
    /// Payload of each datagram where it is a super-frame, bytes.
    pub segment: Option<NonZeroU16>,
    /// Arrival on `CLOCK_MONOTONIC`, nanoseconds.
    pub arrived_ns: u64,
}

/// An open tap.
#[derive(Debug)]
pub struct Tap {
    ring: Ring,
    /// A second descriptor of the ring's socket, for its loss counter and its errors.
    socket: PacketSocket,
    lost: u64,
    /// When the ring was last found to have nothing unread; 0 if never.
    empty_ns: u64,
    _membership: Option<Membership>,
}

/// What makes a target's traffic come: joined groups or held ports, until it is dropped.
#[derive(Debug)]
pub struct Membership {
    _sockets: Vec<Socket>,
}

impl Membership {
    /// Joins each of `target`'s groups, or binds each of its ports.
    ///
    /// # Errors
    /// When a group or a port cannot be had.
    pub fn open(target: &Target) -> Result<Self, TapError> {
        let sockets = if target.is_multicast() { join(target, &place(target))? } else { hold(target)? };
        Ok(Self { _sockets: sockets })
    }
}

fn place(target: &Target) -> String {
    target.interface().map_or_else(|| "all interfaces".to_owned(), |i| i.name.to_string())
}

impl Tap {
    /// Taps `target`'s interface, or all of them for a host's address without one, then joins or binds.
    ///
    /// # Errors
    /// When the tap, a group or a port cannot be had.
    pub fn open(target: &Target) -> Result<Self, TapError> {
        let tap = Self::listen(target, RING_BYTES, NonZeroU32::MIN)?;
        Ok(Self { _membership: Some(Membership::open(target)?), ..tap })
    }

    /// Taps with a ring of `ring_bytes` and neither joins nor binds: what comes is what comes by itself. Of `one_in` frames
    /// one is taken, picked by chance.
    ///
    /// # Errors
    /// When the tap cannot be had.
    pub fn listen(target: &Target, ring_bytes: usize, one_in: NonZeroU32) -> Result<Self, TapError> {
        let place = place(target);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => TapError::Permission,
            _ => TapError::Tap(place.clone(), error),
        };
        let socket = PacketSocket::open(ring_bytes).map_err(failed)?;
        SockRef::from(&socket).attach_filter(&filter(target, one_in)).map_err(failed)?;
        let reading = socket.try_clone().map_err(failed)?;
        let bytes = socket.ring_bytes();
        let ring = Ring::map(OwnedFd::from(reading), bytes, 0).map_err(failed)?;
        let protocol = if target.address(0).is_ipv4() { Protocol::Ipv4 } else { Protocol::Ipv6 };
        socket.bind(protocol, target.interface().map(|interface| interface.index)).map_err(failed)?;
        Ok(Self { ring, socket, lost: 0, empty_ns: 0, _membership: None })
    }

    /// Hands the packets that have arrived to `take`; where there are none, waits for up to `timeout` and hands
    /// over those that came meanwhile.
    ///
    /// # Errors
    /// When waiting failed.
    pub fn read(&mut self, timeout: Duration, mut take: impl FnMut(Tapped<'_>)) -> Result<(), TapError> {
        let mut frames = self.take_batch(&mut take);
        if frames == 0 {
            self.wait(timeout)?;
            frames = self.take_batch(&mut take);
        }
        let now = clock::monotonic_ns();
        if self.ring.is_empty() {
            self.empty_ns = now;
            if frames > 0 {
                // Arrival times are the kernel's: nothing is gained by a wake-up for each packet, and on a shared
                // core much is lost.
                std::thread::sleep(GATHER);
            }
        }
        Ok(())
    }

    /// When the ring was last found to have nothing unread, nanoseconds on `CLOCK_MONOTONIC`; 0 if never.
    pub fn empty_ns(&self) -> u64 {
        self.empty_ns
    }

    fn take_batch(&mut self, take: &mut impl FnMut(Tapped<'_>)) -> usize {
        let lead_ns = clock::realtime_lead_ns();
        let mut frames = 0;
        while frames < BATCH_FRAMES {
            let Some(arrival) = self.ring.receive() else { break };
            frames += 1;
            match arrival {
                Arrival::Frame(frame) if frame.target == LinkTarget::Us => {
                    let arrived = u64::try_from(self.ring.arrived().as_nanos()).unwrap_or(0);
                    take(Tapped {
                        packet: self.ring.bytes(frame.packet),
                        checksum: frame.checksum,
                        segment: frame.segment,
                        arrived_ns: arrived.saturating_sub(lead_ns),
                    });
                }
                Arrival::Frame(_) => {}
                Arrival::Truncated => self.lost += 1,
            }
        }
        self.ring.release();
        frames
    }

    /// Frames the tap lost so far for want of room; a super-frame is one.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn lost(&mut self) -> Result<u64, TapError> {
        self.lost += u64::from(self.socket.take_losses().map_err(TapError::Read)?);
        Ok(self.lost)
    }

    fn wait(&self, timeout: Duration) -> Result<(), TapError> {
        let timeout =
            Timespec::try_from(timeout).map_err(|_| TapError::Read(io::ErrorKind::InvalidInput.into()))?;
        let mut polled = [PollFd::new(&self.ring, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            // Left where it is, an error would end every wait at once.
            Ok(_) if polled[0].revents().contains(PollFlags::ERR) => self.take_error(),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(TapError::Read(error.into())),
        }
    }

    /// That its interface went down a tap bears: it goes on once that is up again.
    fn take_error(&self) -> Result<(), TapError> {
        match SockRef::from(&self.socket).take_error().map_err(TapError::Read)? {
            Some(error) if error.kind() != io::ErrorKind::NetworkDown => Err(TapError::Read(error)),
            _ => Ok(()),
        }
    }
}

/// Joins every group, on as many sockets as the kernel's limits per socket take.
fn join(target: &Target, place: &str) -> Result<Vec<Socket>, TapError> {
    let index = target.interface().map_or(0, |interface| interface.index);
    let domain = if target.address(0).is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let mut sockets = Vec::new();
    for group in (0..target.flows()).map(|flow| target.address(flow)) {
        let failed = |error| TapError::Join(group, place.to_owned(), error);
        let joined = sockets.last().map(|socket: &Socket| join_group(socket, index, group, target.source()));
        // A full socket refuses (igmp_max_memberships, optmem_max); a new one tells whether it was that.
        if !matches!(joined, Some(Ok(()))) {
            let socket = Socket::new(domain, Type::DGRAM, None).map_err(failed)?;
            join_group(&socket, index, group, target.source()).map_err(failed)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// Binds every port of a unicast target with a filter that lets nothing in.
fn hold(target: &Target) -> Result<Vec<Socket>, TapError> {
    let bind = |flow| {
        let address = target.socket_address(flow)?;
        let failed = |error| TapError::Hold(address, error);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).map_err(failed)?;
        socket.attach_filter(&[REFUSE]).map_err(failed)?;
        socket.bind(&address.into()).map_err(failed)?;
        Ok(socket)
    };
    (0..target.flows()).map(bind).collect()
}

const LOAD_WORD_ABSOLUTE: u16 = 0x20;
const MODULO: u16 = 0x94;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// `SKF_NET_OFF`: offsets from here on count from the network header.
const NETWORK_OFFSET: u32 = 0xfff0_0000;
/// `SKF_AD_OFF + SKF_AD_RANDOM`: not of the packet, but a random word.
const RANDOM_WORD: u32 = 0xffff_f000 + 56;

const REFUSE: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
const TAKE: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);

/// A classic BPF program that takes packets to the target's addresses, told by their last 32 bits, or all where
/// those of the first are above those of the last; of these, one in so many.
fn filter(target: &Target, one_in: NonZeroU32) -> Vec<SockFilter> {
    let mut filter = Vec::new();
    if one_in > NonZeroU32::MIN {
        filter.extend([
            SockFilter::new(LOAD_WORD_ABSOLUTE, 0, 0, RANDOM_WORD),
            SockFilter::new(MODULO, 0, 0, one_in.get()),
            SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0),
            REFUSE,
        ]);
    }
    let low = |flow: u16| match target.address(flow) {
        IpAddr::V4(address) => (16, address.to_bits()),
        IpAddr::V6(address) => (36, (address.to_bits() & u128::from(u32::MAX)) as u32),
    };
    let ((offset, first), (_, last)) = (low(0), low(target.flows() - 1));
    if first <= last {
        filter.extend([
            SockFilter::new(LOAD_WORD_ABSOLUTE, 0, 0, NETWORK_OFFSET + offset),
            SockFilter::new(JUMP_IF_GREATER_OR_EQUAL, 0, 1, first),
            SockFilter::new(JUMP_IF_GREATER, 0, 1, last),
            REFUSE,
        ]);
    }
    filter.push(TAKE);
    filter
}
