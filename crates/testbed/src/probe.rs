//! A probe: every frame that arrives on one interface from the moment it is opened.
//!
//! A thread drains the socket all the time, so a test may do other things meanwhile. Frames lost by the probe
//! itself make it panic, when read and when dropped: what it reports is all there was. Outgoing frames of the
//! interface's own host are not seen.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::interface;
use crate::packet_socket::{Buffer, Frame, PacketSocket};
use crate::seen::{LinkKind, Other, Parsed, Seen, parse};
use crate::{Link, Netns};

/// A kernel receive buffer for some 50,000 frames of 1400 bytes.
const RECEIVE_BUFFER: usize = 128 << 20;
/// More than this is a runaway test; the reader stops there and the probe panics.
const CAPTURE_MAX_BYTES: usize = 4 << 30;

/// A capture on one interface of one namespace.
pub struct Probe {
    place: String,
    link: LinkKind,
    captured: Arc<Captured>,
    keep: Box<dyn Fn(&Seen) -> bool + Send>,
    seen: VecDeque<Seen>,
    others: Vec<Other>,
    stop: OwnedFd,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Captured {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    drops: u64,
    failure: Option<String>,
}

impl Captured {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Starts a capture; every frame that arrives after this returns is seen.
    ///
    /// # Errors
    /// When the interface does not exist or packet sockets are refused.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        Self::with_receive_buffer(netns, interface, RECEIVE_BUFFER)
    }

    /// Starts a capture on a link.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(link: &Link) -> Result<Self> {
        Self::open(link.netns(), link.name())
    }

    /// Starts a capture with a kernel receive buffer of `bytes` instead of 128 MiB.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_receive_buffer(netns: &Netns, interface: &str, bytes: usize) -> Result<Self> {
        let socket = PacketSocket::receiver(netns, interface, bytes)?;
        let mtu = interface::mtu(netns, interface)?;
        let kind = interface::link_field(netns, interface, "link_type")?;
        let link = LinkKind { ethernet: kind == "ether" || kind == "loopback", mtu };
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("eventfd")?;
        let (stopped, captured) = (stop.try_clone()?, Arc::<Captured>::default());
        let sink = Arc::clone(&captured);
        let reader = thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || read_all(&socket, &stopped, &sink))
            .context("start the probe's reader")?;
        Ok(Self {
            place: format!("{}/{interface}", netns.name()),
            link,
            captured,
            keep: Box::new(|_| true),
            seen: VecDeque::new(),
            others: Vec::new(),
            stop,
            reader: Some(reader),
        })
    }

    /// Ignores UDP packets for which `keep` is false.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Seen) -> bool + Send + 'static) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// The next UDP packets, in order of arrival: `count` of them, or what came when `timeout` ran out.
    ///
    /// # Panics
    /// When the probe itself lost frames.
    pub fn collect_until(&mut self, count: usize, timeout: Duration) -> Vec<Seen> {
        let deadline = Instant::now() + timeout;
        loop {
            self.take_arrived();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.seen.len() >= count || left.is_zero() {
                let count = count.min(self.seen.len());
                return self.seen.drain(..count).collect();
            }
            self.wait_for_frames(left);
        }
    }

    /// The next `count` UDP packets.
    ///
    /// # Panics
    /// When fewer arrive within `timeout`, with those that did.
    pub fn expect(&mut self, count: usize, timeout: Duration) -> Vec<Seen> {
        let seen = self.collect_until(count, timeout);
        if seen.len() < count {
            let last = &seen[seen.len().saturating_sub(10)..];
            panic!("{}: {} of {count} packets in {timeout:?}; the last: {last:#?}", self.place, seen.len());
        }
        seen
    }

    /// The next UDP packet.
    ///
    /// # Panics
    /// When none arrives within `timeout`.
    pub fn expect_one(&mut self, timeout: Duration) -> Seen {
        self.expect(1, timeout).remove(0)
    }

    /// Waits `duration` and takes no UDP packet for an answer, those not yet collected included.
    ///
    /// # Panics
    /// When one arrives.
    pub fn expect_silence(&mut self, duration: Duration) {
        let seen = self.collect_until(1, duration);
        assert!(seen.is_empty(), "{}: unexpected packet, {} more: {seen:#?}", self.place, self.seen.len());
    }

    /// Every UDP packet that has arrived and was not collected yet.
    pub fn drain(&mut self) -> Vec<Seen> {
        self.take_arrived();
        self.seen.drain(..).collect()
    }

    /// Every frame that is not UDP and was not collected yet.
    pub fn others(&mut self) -> Vec<Other> {
        self.take_arrived();
        std::mem::take(&mut self.others)
    }

    fn take_arrived(&mut self) {
        let (frames, drops, failure) = {
            let mut state = self.captured.lock();
            state.bytes = 0;
            (std::mem::take(&mut state.frames), state.drops, state.failure.take())
        };
        assert!(failure.is_none(), "{}: the probe failed: {failure:?}", self.place);
        assert!(drops == 0, "{}: the probe itself lost {drops} frames", self.place);
        for frame in &frames {
            match parse(frame, self.link) {
                Parsed::Udp(seen) if (self.keep)(&seen) => self.seen.push_back(*seen),
                Parsed::Udp(_) => {}
                Parsed::Other(other) => self.others.push(other),
            }
        }
    }

    fn wait_for_frames(&self, timeout: Duration) {
        let state = self.captured.lock();
        let idle = |state: &mut State| state.frames.is_empty() && state.failure.is_none();
        drop(self.captured.arrived.wait_timeout_while(state, timeout, idle));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Cannot fail short of 2^64 writes.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        let ended = self.reader.take().is_none_or(|reader| reader.join().is_ok());
        let drops = self.captured.lock().drops;
        if !thread::panicking() {
            assert!(ended && drops == 0, "{}: the probe itself lost {drops} frames", self.place);
        }
    }
}

fn read_all(socket: &PacketSocket, stop: &OwnedFd, captured: &Captured) {
    let mut buffer = Buffer::default();
    loop {
        let read = read_queued(socket, captured, &mut buffer);
        captured.arrived.notify_all();
        if let Err(error) = read {
            captured.lock().failure = Some(format!("{error:#}"));
            captured.arrived.notify_all();
            return;
        }
        let mut waits = [
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        let _interrupted = poll(&mut waits, None);
        if !waits[1].revents().is_empty() {
            // Losses since the last reading count too.
            let last = read_queued(socket, captured, &mut buffer);
            captured.lock().failure = last.err().map(|error| format!("{error:#}"));
            return;
        }
    }
}

fn read_queued(socket: &PacketSocket, captured: &Captured, buffer: &mut Buffer) -> Result<()> {
    while let Some(frame) = socket.receive(buffer)? {
        let mut state = captured.lock();
        state.bytes += frame.bytes.len();
        anyhow::ensure!(state.bytes < CAPTURE_MAX_BYTES, "more than {CAPTURE_MAX_BYTES} bytes uncollected");
        let first = state.frames.is_empty();
        state.frames.push_back(frame);
        drop(state);
        if first {
            captured.arrived.notify_all();
        }
    }
    let drops = socket.drops()?;
    captured.lock().drops += u64::from(drops);
    Ok(())
}
