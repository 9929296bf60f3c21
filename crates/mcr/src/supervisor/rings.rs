//! The packet rings of each worker, opened by the supervisor and kept by it: a worker's successor goes on
//! with the same ring, its place in the fanout group included.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use dataplane::sys::packet::{PacketSocket, Protocol};

/// Bytes of the IPv4 and IPv6 rings out of every four: IPv4 carries most multicast, and both together stay
/// within the limit set for a worker.
const SHARES: [(Protocol, usize); 2] = [(Protocol::Ipv4, 3), (Protocol::Ipv6, 1)];

/// A ring could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} for worker {worker}: {error}{}", remedy(.error))]
pub struct RingError {
    step: &'static str,
    worker: usize,
    error: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; grant CAP_NET_RAW and CAP_NET_ADMIN",
        io::ErrorKind::OutOfMemory => "; set a smaller ring_mib under [worker], or free memory",
        _ => "",
    }
}

/// One worker's rings.
#[derive(Debug)]
pub struct Rings {
    sockets: [PacketSocket; 2],
    /// Frames lost in each for want of a free slot, since it was opened.
    lost: u64,
}

impl Rings {
    /// Opens rings of `mib` MiB in all for each of `workers`. They take no frame until
    /// [`Rings::accept_interfaces`] names an interface.
    pub fn open(workers: usize, mib: u32) -> Result<Vec<Self>, RingError> {
        let bytes = mib as usize * (1 << 20) / 4;
        let mut all = Vec::new();
        for worker in 0..workers {
            let open = |(protocol, share): (Protocol, usize)| {
                let failed = |step| move |error| RingError { step, worker, error };
                let socket = PacketSocket::open(bytes * share).map_err(failed("open a packet ring"))?;
                socket.accept_interfaces(&[]).map_err(failed("filter a packet ring"))?;
                socket.bind(protocol, None).map_err(failed("bind a packet ring"))?;
                Ok(socket)
            };
            all.push(Self { sockets: [open(SHARES[0])?, open(SHARES[1])?], lost: 0 });
        }
        if workers > 1 {
            Self::share_flows(&all)?;
        }
        Ok(all)
    }

    fn share_flows(all: &[Self]) -> Result<(), RingError> {
        for protocol in 0..SHARES.len() {
            let mut group = None;
            for (worker, rings) in all.iter().enumerate() {
                let failed = |error| RingError { step: "share flows between packet rings", worker, error };
                let socket = &rings.sockets[protocol];
                match group {
                    None => group = Some(socket.start_fanout().map_err(failed)?),
                    Some(group) => socket.join_fanout(group).map_err(failed)?,
                }
            }
        }
        Ok(())
    }

    /// Takes frames from these interfaces only.
    pub fn accept_interfaces(&self, ifindexes: &[u32]) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.accept_interfaces(ifindexes))
    }

    /// Descriptors, IPv4 first.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.sockets[0].as_fd(), self.sockets[1].as_fd()]
    }

    /// Bytes of each, IPv4 first.
    pub fn bytes(&self) -> [u64; 2] {
        [self.sockets[0].ring_bytes() as u64, self.sockets[1].ring_bytes() as u64]
    }

    /// Frames lost so far for want of a free slot.
    pub fn lost(&mut self) -> u64 {
        for socket in &self.sockets {
            // It cannot fail on an open packet socket; what it did not read, the next call does.
            self.lost += u64::from(socket.take_losses().unwrap_or(0));
        }
        self.lost
    }
}
