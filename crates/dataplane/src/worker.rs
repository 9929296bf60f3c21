//! A worker: reads its rings, matches, queues on legs, flushes, releases. Follows one table at a time.
//!
//! It starts with the supervisor's rights and gives them up before it reads the first frame. Its loop
//! neither allocates nor locks, logs or reads a clock per packet.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::set_current_timer_slack;

use crate::confine;
use crate::counters::{Counters, WorkerCounter};
use crate::forward::{Forwarder, Shared};
use crate::fragments::Fragments;
use crate::ipc::{self, FromWorker, Severity, Start, ToWorker};
use crate::moderation::Moderation;
use crate::raw::Identifications;
use crate::sandbox;
use crate::sys::ring::Ring;
use crate::table::{LegEntry, Table};

/// Rounds between two looks at the control socket while frames keep coming.
const ROUNDS_PER_CONTROL: u32 = 64;

/// Why a worker ended other than by order.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The control socket failed or said something out of turn.
    #[error("control socket: {0}")]
    Control(io::Error),
    /// The supervisor's first message was not a start with its descriptors.
    #[error("started without instructions: it is run by mcrd, not by hand")]
    NoStart,
    /// Memory or descriptors could not be used.
    #[error("{what}: {error}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// Rights could not be given up.
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    /// What is left could not be fenced in.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// Waiting for frames failed.
    #[error("poll: {0}")]
    Poll(io::Error),
}

/// Runs a worker whose control socket is `control`, until it is told to stop or the supervisor is gone.
///
/// # Errors
/// Any [`WorkerError`]; the supervisor starts a successor.
pub fn run(control: OwnedFd) -> Result<(), WorkerError> {
    let first = ipc::receive::<ToWorker>(&control).map_err(WorkerError::Control)?;
    let Some((ToWorker::Start(start), descriptors)) = first else { return Err(WorkerError::NoStart) };
    let mut worker = Worker::begin(&start, descriptors, control)?;
    ipc::send(&worker.control, &FromWorker::Ready, &[]).map_err(WorkerError::Control)?;
    worker.introduce(&start);
    worker.relay()
}

struct Worker {
    control: OwnedFd,
    rings: [Ring; 2],
    /// Outlive tables: a change of rules costs no datagram under way.
    fragments: Fragments,
    counters: Counters,
    sockets: FxHashMap<u32, OwnedFd>,
    identifications: Identifications,
    /// Absent until the first table.
    forwarder: Option<Forwarder>,
    busy_poll: bool,
    moderation: Moderation,
    stopping: bool,
}

/// What ends a wait before its time.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// A frame, or word from the supervisor.
    Frames,
    /// Word from the supervisor alone.
    Told,
}

/// Where a ring's reader stands, for its successor: two marks, between which a release is under way.
#[derive(Debug, Clone, Copy)]
struct Marks {
    relayed: WorkerCounter,
    released: WorkerCounter,
}

/// In the order of the rings.
const MARKS: [Marks; 2] = [
    Marks { relayed: WorkerCounter::Relayed4, released: WorkerCounter::Released4 },
    Marks { relayed: WorkerCounter::Relayed6, released: WorkerCounter::Released6 },
];

impl Worker {
    fn begin(start: &Start, descriptors: Vec<OwnedFd>, control: OwnedFd) -> Result<Self, WorkerError> {
        let setup = |what| move |error| WorkerError::Setup { what, error };
        let [ring4, ring6, counters] =
            <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| WorkerError::NoStart)?;
        let counters = Counters::map(&counters, start.slots).map_err(setup("map the counters"))?;
        let map = |fd, bytes: u64, marks: Marks| {
            let released = counters.worker(marks.released) as u32;
            let mut ring = Ring::map(fd, bytes as usize, released).map_err(setup("map a packet ring"))?;
            ring.skip_to(counters.worker(marks.relayed) as u32);
            Ok::<_, WorkerError>(ring)
        };
        let [bytes4, bytes6] = start.ring_bytes;
        let rings = [map(ring4, bytes4, MARKS[0])?, map(ring6, bytes6, MARKS[1])?];
        let fragments = Fragments::succeed(&counters);
        // Or a wait would be 50 microseconds longer than asked for.
        let least = Some(NonZeroU64::MIN);
        set_current_timer_slack(least).map_err(|error| setup("set the timer slack")(error.into()))?;
        confine::confine(start.core, start.user)?;
        sandbox::seal()?;
        Ok(Self {
            control,
            rings,
            fragments,
            counters,
            sockets: FxHashMap::default(),
            identifications: Identifications::new(start.worker, start.workers),
            forwarder: None,
            busy_poll: start.busy_poll,
            moderation: Moderation::new(wait_max(start)),
            stopping: false,
        })
    }

    fn introduce(&self, start: &Start) {
        let user =
            start.user.map_or_else(|| "as started".to_owned(), |(uid, gid)| format!("uid {uid}, gid {gid}"));
        let resumed = match self.counters.worker(WorkerCounter::Received) {
            0 => String::new(),
            received => format!(", resumes after {received} frames"),
        };
        let [ring4, ring6] = start.ring_bytes.map(|bytes| bytes >> 10);
        self.say(
            Severity::Info,
            format!(
                "confined ({user}, no capabilities) to core {}, rings of {ring4} and {ring6} KiB{resumed}",
                start.core
            ),
        );
    }

    /// A line for the log. It is left out where the supervisor is slow to read: relaying comes first.
    fn say(&self, severity: Severity, line: String) {
        let _ = ipc::offer(&self.control, &FromWorker::Log(severity, line));
    }

    fn relay(&mut self) -> Result<(), WorkerError> {
        let mut rounds = 0;
        loop {
            // Frames wait in the rings until it is known what to do with them: those a predecessor left behind
            // would match nothing.
            let Some(forwarder) = &mut self.forwarder else {
                if self.stopping {
                    return self.stopped();
                }
                if self.obey()? {
                    return Ok(());
                }
                continue;
            };
            let (mut frames, mut laden, mut arrived) = (0, false, Duration::ZERO);
            let shared = Shared {
                counters: &self.counters,
                sockets: &self.sockets,
                identifications: &self.identifications,
            };
            for (ring, marks) in self.rings.iter_mut().zip(MARKS) {
                let found = forwarder.round(ring, &mut self.fragments, shared);
                if found > 0 {
                    arrived = arrived.max(ring.arrived());
                }
                frames += found;
                laden |= forwarder.is_laden();
                let position = ring.position().into();
                self.counters.set_worker(marks.relayed, position);
                ring.release();
                self.counters.set_worker(marks.released, position);
            }
            if frames > 0 {
                self.moderation.note(frames, arrived);
            }
            rounds += 1;
            if frames == 0 && self.stopping {
                return self.stopped();
            }
            if self.rest(frames, laden || rounds % ROUNDS_PER_CONTROL == 0)? {
                return Ok(());
            }
        }
    }

    /// Between two rounds: waits where there is nothing to do, and looks at the control socket where that is due; answers
    /// whether the supervisor is gone.
    fn rest(&mut self, frames: usize, control_due: bool) -> Result<bool, WorkerError> {
        if frames == 0 {
            let due = self.fragments.expire(&self.counters);
            return match (self.busy_poll, control_due) {
                (false, _) => self.wait(Until::Frames, due),
                (true, true) => self.wait(Until::Told, Some(Duration::ZERO)),
                (true, false) => Ok(false),
            };
        }
        if control_due {
            self.fragments.expire(&self.counters);
        }
        match self.moderation.wait(frames) {
            // Told to stop, it is to see the end of what is in its rings.
            Some(gather) if !self.stopping => self.wait(Until::Told, Some(gather)),
            _ if control_due => self.wait(Until::Told, Some(Duration::ZERO)),
            _ => Ok(false),
        }
    }

    fn stopped(&mut self) -> Result<(), WorkerError> {
        self.fragments.abandon(&self.counters);
        self.say(Severity::Debug, "rings are empty, ends as told".to_owned());
        ipc::send(&self.control, &FromWorker::Stopped, &[]).map_err(WorkerError::Control)
    }

    /// Waits for word from the supervisor, and for frames if they are to end it; answers whether the supervisor is gone.
    fn wait(&mut self, until: Until, timeout: Option<Duration>) -> Result<bool, WorkerError> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.rings[0], PollFlags::IN),
            PollFd::new(&self.rings[1], PollFlags::IN),
        ];
        let watched = match until {
            Until::Frames => &mut fds[..],
            Until::Told => &mut fds[..1],
        };
        match poll(watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WorkerError::Poll(error.into())),
        }
        if fds[0].revents().is_empty() {
            return Ok(false);
        }
        self.obey()
    }

    /// Carries out one message; answers whether the supervisor is gone.
    fn obey(&mut self) -> Result<bool, WorkerError> {
        let received = ipc::receive::<ToWorker>(self.control.as_fd()).map_err(WorkerError::Control)?;
        match received {
            None => return Ok(true),
            Some((ToWorker::Start(_), _)) => return Err(WorkerError::NoStart),
            Some((ToWorker::Sockets(numbers), descriptors)) => {
                self.sockets.extend(numbers.into_iter().zip(descriptors));
            }
            Some((ToWorker::Table { bytes }, descriptors)) => {
                let table = read_table(descriptors, bytes)
                    .map_err(|error| WorkerError::Setup { what: "read the forwarding table", error })?;
                // What came back so far is for legs there are no more.
                self.charge_returned();
                let used: FxHashSet<u32> = table.legs().flat_map(LegEntry::sockets).collect();
                self.sockets.retain(|number, _| used.contains(number));
                let generation = table.generation;
                self.say(
                    Severity::Debug,
                    format!(
                        "follows generation {generation}: {} flows, {} outputs, {} sockets",
                        table.flows.len(),
                        table.legs().count(),
                        self.sockets.len()
                    ),
                );
                self.forwarder = Some(Forwarder::new(table));
                ipc::send(&self.control, &FromWorker::Applied(generation), &[])
                    .map_err(WorkerError::Control)?;
            }
            Some((ToWorker::TakeReturned, _)) => self.charge_returned(),
            Some((ToWorker::Stop, _)) => self.stopping = true,
        }
        Ok(false)
    }

    fn charge_returned(&self) {
        let Some(forwarder) = &self.forwarder else { return };
        forwarder.charge_returned(Shared {
            counters: &self.counters,
            sockets: &self.sockets,
            identifications: &self.identifications,
        });
    }
}

/// A worker that polls without sleeping never lets frames gather.
fn wait_max(start: &Start) -> Duration {
    Duration::from_micros(if start.busy_poll { 0 } else { start.max_wait_us.into() })
}

/// Reads a table from the memory behind the one descriptor.
fn read_table(descriptors: Vec<OwnedFd>, bytes: u32) -> io::Result<Table> {
    let [fd] = <[OwnedFd; 1]>::try_from(descriptors)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a table without its memory"))?;
    Table::read(fd, bytes)
}
