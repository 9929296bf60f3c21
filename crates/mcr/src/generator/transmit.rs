//! How packets leave: the fastest way that is right for the device, one frame on the wire per packet.
//!
//! At even, low rates that is a plain send. Bursts leave by `UDP_SEGMENT` where the kernel cuts the
//! super-frame before the device, else as frames through a packet socket, else by `sendmmsg`.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use dataplane::sys::blast;
use dataplane::sys::ethtool::Device;
use dataplane::sys::sendmmsg::{Outgoing, sendmmsg};
use dataplane::sys::sockopt::set_recverr;
use mcast::Dscp;
use socket2::{Domain, SockAddr, Socket, Type};

use super::frame::FrameSocket;
use super::pacing::BURST_MAX;
use super::target::{Interface, Target, TargetError};

/// Up to this many flows a burst holds at least four packets of each, so that cutting is worth a call per flow.
const SEGMENTED_FLOWS_MAX: u16 = 16;

/// Most payload one segmented send has: an IP packet's 65,535 less the headers of either family.
const SEGMENTED_BYTES_MAX: usize = 65_000;

/// Room for bursts in flight; what the kernel grants may be less, and then sends wait.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TransmitError {
    /// The endpoint does not do.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Source and destination of two families.
    #[error("source {0} and destination {1} are of two families: give a source of the destination's")]
    Family(IpAddr, IpAddr),
    /// A source this host does not own, without the right to use it.
    #[error(
        "cannot send from {0}, which this host does not own: that takes CAP_NET_ADMIN; run as root or grant it \
         with `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    ForeignSource(IpAddr),
    /// A socket call failed.
    #[error("cannot {0}: {1}")]
    Socket(String, #[source] io::Error),
}

/// What packets look like around their payload.
#[derive(Debug, Clone, Copy)]
pub struct Headers {
    /// Source address; absent: the kernel's choice.
    pub source: Option<IpAddr>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Code point; ECN is left 0.
    pub dscp: Dscp,
    /// UDP payload, bytes.
    pub size: usize,
}

/// A send that failed, and how many packets with it.
#[derive(Debug)]
pub struct Failed {
    /// Packets the failed call would have sent.
    pub packets: usize,
    /// What the kernel said.
    pub error: io::Error,
}

/// The way a run's packets leave.
#[derive(Debug)]
pub struct Transmitter {
    socket: Socket,
    /// Each flow's address; empty when the socket is connected.
    to: Vec<SockAddr>,
    size: usize,
    path: Path,
}

/// The calls used.
#[derive(Debug)]
enum Path {
    Datagrams,
    Segmented,
    Frames(FrameSocket),
}

impl Transmitter {
    /// Opens what it takes to send `target`'s flows; `bursts` says that packets come many at a time.
    ///
    /// # Errors
    /// When the target or the source cannot be had.
    pub fn open(target: &Target, headers: Headers, bursts: bool) -> Result<Self, TransmitError> {
        let first = target.socket_address(0)?;
        let socket = open_socket(target, first, headers)?;
        let single = target.flows() == 1;
        let mut to = Vec::new();
        if single {
            connect(&socket, first)?;
        } else {
            to = (0..target.flows())
                .map(|flow| target.socket_address(flow).map(SockAddr::from))
                .collect::<Result<_, _>>()?;
        }
        let mut transmitter = Self { socket, to, size: headers.size, path: Path::Datagrams };
        if let Some(interface) = target.interface().filter(|_| bursts) {
            transmitter.path = transmitter.burst_path(target, interface, headers).unwrap_or_else(|error| {
                eprintln!("sending plain datagrams: {error}");
                Path::Datagrams
            });
        }
        Ok(transmitter)
    }

    /// What the way is called in reports.
    pub fn path_name(&self) -> &'static str {
        match self.path {
            Path::Datagrams => "datagrams",
            Path::Segmented => "segmented",
            Path::Frames(_) => "frames",
        }
    }

    /// Most packets a burst should have: all of them in one call where that is possible.
    pub fn burst_max(&self) -> u64 {
        let whole = (SEGMENTED_BYTES_MAX / self.size).max(1) as u64;
        match self.path {
            Path::Segmented if self.to.is_empty() => whole.min(BURST_MAX),
            Path::Segmented | Path::Datagrams | Path::Frames(_) => BURST_MAX,
        }
    }

    /// From here on payloads have `size` bytes: at most as many as the transmitter was opened for, or a burst would
    /// not fit the device any more.
    ///
    /// # Errors
    /// What the kernel said; the size stays as it was.
    pub fn set_size(&mut self, size: usize) -> io::Result<()> {
        match &mut self.path {
            Path::Segmented => {
                blast::set_udp_segment(self.socket.as_fd(), u16::try_from(size).unwrap_or(0))?;
            }
            Path::Frames(frames) => frames.set_size(size)?,
            Path::Datagrams => {}
        }
        self.size = size;
        Ok(())
    }

    /// Whether packets of one flow should stand next to each other in a burst.
    pub fn prefers_runs(&self) -> bool {
        matches!(self.path, Path::Segmented)
    }

    /// Sends the first packets of a burst, at least one: `flows` names each packet's flow and `payloads` holds
    /// their payloads end to end. Returns how many went.
    ///
    /// # Errors
    /// The kernel's answer to the first packet.
    pub fn send(&mut self, flows: &[u16], payloads: &[u8]) -> Result<usize, Failed> {
        let sent = match &mut self.path {
            Path::Datagrams => self.send_datagrams(flows, payloads),
            Path::Segmented => return self.send_segmented(flows, payloads),
            Path::Frames(frames) => frames.send(flows, payloads),
        };
        sent.map_err(|error| Failed { packets: 1, error })
    }

    fn send_datagrams(&self, flows: &[u16], payloads: &[u8]) -> io::Result<usize> {
        let parts: Vec<_> = payloads.chunks_exact(self.size).map(|payload| [IoSlice::new(payload)]).collect();
        let packets: Vec<_> = parts
            .iter()
            .zip(flows)
            .map(|(parts, flow)| Outgoing { to: self.to.get(usize::from(*flow)), parts, control: &[] })
            .collect();
        sendmmsg(self.socket.as_fd(), &packets, 0)
    }

    fn send_segmented(&mut self, flows: &[u16], payloads: &[u8]) -> Result<usize, Failed> {
        let run = flows.iter().take_while(|flow| **flow == flows[0]).count();
        let packets = run.min(SEGMENTED_BYTES_MAX / self.size).max(1);
        let bytes = &payloads[..packets * self.size];
        let sent = match self.to.get(usize::from(flows[0])) {
            Some(to) => self.socket.send_to(bytes, to),
            None => self.socket.send(bytes),
        };
        match sent {
            Ok(_) => Ok(packets),
            // A route or device that cannot cut (IPsec, some tunnels) refuses with these: udp(7).
            Err(error) if matches!(error.raw_os_error(), Some(EIO | EINVAL | EMSGSIZE)) => {
                self.path = Path::Datagrams;
                let off = blast::set_udp_segment(self.socket.as_fd(), 0);
                off.and_then(|()| self.send_datagrams(flows, payloads))
                    .map_err(|error| Failed { packets: 1, error })
            }
            Err(error) => Err(Failed { packets, error }),
        }
    }

    /// The fastest way for bursts on `interface`.
    fn burst_path(&self, target: &Target, interface: &Interface, headers: Headers) -> io::Result<Path> {
        let device = Device::open(interface.name.as_str())?;
        let ip_header = if target.address(0).is_ipv4() { 20 } else { 40 };
        if ip_header + 8 + self.size > device.mtu()? {
            return Ok(Path::Datagrams);
        }
        // Where the device segments by itself, a virtual one would pass the super-frame on whole.
        let kernel_cuts = device.feature("tx-udp-segmentation")? == Some(false);
        if kernel_cuts && target.flows() <= SEGMENTED_FLOWS_MAX {
            blast::set_udp_segment(self.socket.as_fd(), u16::try_from(self.size).unwrap_or(0))?;
            return Ok(Path::Segmented);
        }
        match device.ethernet_address()? {
            Some(address) if target.is_multicast() => {
                FrameSocket::open(target, interface, address, &self.socket, headers).map(Path::Frames)
            }
            _ => Ok(Path::Datagrams),
        }
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
const EMSGSIZE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// A UDP socket with all of `headers` set, on the target's interface.
fn open_socket(target: &Target, first: SocketAddr, headers: Headers) -> Result<Socket, TransmitError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| TransmitError::Socket(what, error)
    };
    let socket =
        Socket::new(Domain::for_address(first), Type::DGRAM, None).map_err(failed("open a UDP socket"))?;
    if let Some(interface) = target.interface() {
        socket
            .bind_device(Some(interface.name.as_str().as_bytes()))
            .map_err(failed(&format!("bind to interface {}", interface.name)))?;
    }
    set_headers(&socket, first, headers).map_err(failed("set TTL, DSCP and error reports"))?;
    // A smaller buffer only makes sends wait.
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    match headers.source {
        Some(source) => bind_source(&socket, source, first)?,
        None => socket.bind(&unspecified(first).into()).map_err(failed("bind a UDP port"))?,
    }
    Ok(socket)
}

fn set_headers(socket: &Socket, first: SocketAddr, headers: Headers) -> io::Result<()> {
    let tos = u32::from(headers.dscp.value()) << 2;
    let ttl = u32::from(headers.ttl);
    match first {
        SocketAddr::V4(_) => {
            socket.set_ttl_v4(ttl)?;
            socket.set_multicast_ttl_v4(ttl)?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_tos_v4(tos)?;
        }
        SocketAddr::V6(_) => {
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_multicast_hops_v6(ttl)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_tclass_v6(tos)?;
        }
    }
    // Without it a full queue swallows multicast silently.
    set_recverr(socket, first.is_ipv6())
}

fn bind_source(socket: &Socket, source: IpAddr, first: SocketAddr) -> Result<(), TransmitError> {
    if source.is_ipv4() != first.is_ipv4() {
        return Err(TransmitError::Family(source, first.ip()));
    }
    let scope = match first {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let mut local = SocketAddr::new(source, 0);
    if let SocketAddr::V6(v6) = &mut local {
        v6.set_scope_id(scope);
    }
    // An own address binds without privilege; only a foreign one needs transparency.
    if socket.bind(&local.into()).is_ok() {
        return Ok(());
    }
    let transparent = match first {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    };
    transparent.map_err(|_| TransmitError::ForeignSource(source))?;
    socket
        .bind(&local.into())
        .map_err(|error| TransmitError::Socket(format!("bind to source {source}"), error))
}

/// Any address and port of `like`'s family.
fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Fixes the one flow's destination, so that the route is looked up once.
fn connect(socket: &Socket, to: SocketAddr) -> Result<(), TransmitError> {
    socket.connect(&to.into()).map_err(|error| TransmitError::Socket(format!("send to {to}"), error))
}
