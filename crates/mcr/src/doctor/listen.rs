//! Listening to arriving packets, for a while and within bounds.
//!
//! One packet ring hears every frame before VLANs, bridges and the traffic control hook take it. Its filter passes the
//! destinations of the rules alone; one of which enough was heard is taken out of it, so that a fast stream neither
//! costs more nor drowns a slow one.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use dataplane::matcher::Matcher;
use dataplane::sys::packet::{PacketSocket, Protocol};
use dataplane::sys::ring::{Arrival, Ring};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::case::Case;
use super::filter::frames_to;
use super::heard::Heard;

/// A thousand frames: more than arrive while the supervisor does something else, at the rates workers relay.
const RING_BYTES: usize = 2 << 20;

/// Frames read before others have their turn.
const BATCH: usize = 64;

/// Hears what arrives for the rules of a case.
pub(super) async fn listen(case: &Case, time: Duration) -> Heard {
    let mut heard = Heard::of(&case.rules);
    if heard.arrivals.is_empty() {
        return heard;
    }
    if time.is_zero() {
        heard.deaf = Some("it was asked not to listen".to_owned());
        return heard;
    }
    let started = Instant::now();
    if let Err(error) = hear(&mut heard, case, started + time).await {
        heard.deaf = Some(format!("arriving packets cannot be listened to: {error}"));
    }
    heard.time = started.elapsed();
    heard
}

async fn hear(heard: &mut Heard, case: &Case, until: Instant) -> io::Result<()> {
    let matcher = Matcher::new(&case.inputs);
    let mut wanted = Wanted::of(heard);
    let mut ear = Ear::open(&wanted)?;
    loop {
        let Ok(ready) = timeout_at(until, ear.frames.readable()).await else { return Ok(()) };
        let mut ready = ready?;
        let read = take(&mut ear.ring, heard, &matcher);
        if read == 0 {
            ready.clear_ready();
            continue;
        }
        drop(ready);
        let left = Wanted::of(heard);
        if left.addresses.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        if left != wanted {
            ear.narrow(&left)?;
            wanted = left;
        }
        yield_now().await;
    }
}

/// What more is to be heard of.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    ifindexes: Vec<u32>,
    addresses: Vec<IpAddr>,
}

impl Wanted {
    fn of(heard: &Heard) -> Self {
        let open = heard.arrivals.iter().filter(|(_, arrivals)| !arrivals.is_full());
        let (ifindexes, addresses): (BTreeSet<u32>, BTreeSet<IpAddr>) = open.map(|(place, _)| *place).unzip();
        Self { ifindexes: ifindexes.into_iter().collect(), addresses: addresses.into_iter().collect() }
    }
}

/// An open ring.
struct Ear {
    ring: Ring,
    frames: AsyncFd<OwnedFd>,
}

impl Ear {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that swap descriptors; OwnedFd does not"
    )]
    fn open(wanted: &Wanted) -> io::Result<Self> {
        let socket = PacketSocket::open(RING_BYTES)?;
        let bytes = socket.ring_bytes();
        let ring = Ring::map(OwnedFd::from(socket.try_clone()?), bytes, 0)?;
        let only = match wanted.ifindexes.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let ear = Self { ring, frames: AsyncFd::new(OwnedFd::from(socket.try_clone()?))? };
        ear.attach(wanted)?;
        socket.bind(Protocol::All, only)?;
        Ok(ear)
    }

    fn attach(&self, wanted: &Wanted) -> io::Result<()> {
        SockRef::from(self.frames.get_ref()).attach_filter(&frames_to(&wanted.ifindexes, &wanted.addresses))
    }

    /// Puts a narrower filter in place. The old one is taken off first, for there may not be room for both; what comes
    /// between is left by who counts.
    fn narrow(&self, wanted: &Wanted) -> io::Result<()> {
        SockRef::from(self.frames.get_ref()).detach_filter()?;
        self.attach(wanted)
    }
}

/// Counts what has arrived, one batch at most; says how many frames there were.
fn take(ring: &mut Ring, heard: &mut Heard, matcher: &Matcher) -> usize {
    let mut read = 0;
    while read < BATCH
        && let Some(arrival) = ring.receive()
    {
        read += 1;
        if let Arrival::Frame(frame) = arrival {
            heard.take(&frame, ring.link_header(), ring.bytes(frame.packet), matcher);
        }
    }
    ring.release();
    read
}
