//! The worker processes: one task each starts its process, keeps it in step with the forwarding table, and
//! starts a successor on the same rings when it dies.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dataplane::ipc::{self, DESCRIPTORS_MAX, FromWorker, Severity, Start, ToWorker};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::running::TICK;

/// The name a worker runs under, by which `mcrd` knows that it is to be one.
pub const WORKER_NAME: &str = "mcrd-worker";

/// Pause before the first restart; it doubles with each that follows soon.
const RESTART_PAUSE: Duration = Duration::from_millis(20);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A worker that lived so long has its next restart without extra pause.
const STEADY: Duration = Duration::from_secs(10);

/// A worker that does not answer for so long is ended and started again.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One generation of the forwarding table, ready to be handed to workers.
#[derive(Debug)]
pub struct Generation {
    /// Its number; 0 is the empty table before the first.
    pub number: u64,
    /// Memory that holds the encoded table, of so many bytes.
    pub table: (OwnedFd, u32),
    /// The egress sockets it names.
    pub sockets: Vec<(u32, Arc<OwnedFd>)>,
}

/// Where a worker stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its process while one runs.
    pub pid: Option<u32>,
    /// Whether that is confined and reads its rings.
    pub ready: bool,
    /// The generation it follows.
    pub applied: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Whether it was told to stop and has.
    pub stopped: bool,
}

impl WorkerStatus {
    /// Whether its process may still follow a table older than that of generation `number`. A successor begins
    /// with the newest.
    pub fn may_follow_before(&self, number: u64) -> bool {
        self.ready && self.applied < number
    }
}

/// What one worker is started with, each time.
#[derive(Debug)]
pub struct WorkerPlace {
    /// Its place, from 0.
    pub id: u32,
    /// First message of each process.
    pub start: Start,
    /// IPv4 ring, IPv6 ring, counters.
    pub descriptors: [OwnedFd; 3],
}

/// What workers are told: the newest table, or to stop.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The table to follow.
    pub generation: Arc<Generation>,
    /// Relay what the rings hold, then end.
    pub stop: bool,
}

/// How a session with one process ended.
enum End {
    /// It stopped as told.
    Stopped,
    /// It died or is to be ended: why.
    Lost(String),
}

/// Runs one worker place until it is told to stop.
pub async fn run(
    place: WorkerPlace,
    mut orders: watch::Receiver<Orders>,
    status: watch::Sender<WorkerStatus>,
) {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = Instant::now();
        let end = match Session::start(&place, &status) {
            Ok(mut session) => {
                let end = session.run(&place, &mut orders, &status).await;
                session.end(matches!(end, End::Stopped)).await;
                end
            }
            Err(error) => End::Lost(format!("cannot be started: {error}")),
        };
        let stop = orders.borrow().stop;
        let why = match end {
            End::Lost(why) if !stop => why,
            End::Lost(_) | End::Stopped => {
                status.send_modify(|s| {
                    *s = WorkerStatus { stopped: true, pid: None, ready: false, ..s.clone() }
                });
                return;
            }
        };
        status.send_modify(|s| {
            *s = WorkerStatus { restarts: s.restarts + 1, ..WorkerStatus::default() };
        });
        if started.elapsed() >= STEADY {
            pause = RESTART_PAUSE;
        }
        warn!(
            worker = place.id,
            "worker {why}; a successor takes over its rings in {} ms",
            pause.as_millis()
        );
        sleep(pause).await;
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
    }
}

/// What a worker has to say, under a target of its own: `mcrctl log-level worker=debug`.
fn log(worker: u32, severity: Severity, line: &str) {
    match severity {
        Severity::Info => info!(target: "worker", worker, "{line}"),
        Severity::Debug => debug!(target: "worker", worker, "{line}"),
    }
}

/// One process.
struct Session {
    child: Child,
    control: UnixDatagram,
    /// Numbers of the sockets it holds.
    sockets: HashSet<u32>,
}

impl Session {
    fn start(place: &WorkerPlace, status: &watch::Sender<WorkerStatus>) -> io::Result<Self> {
        let (ours, theirs) = ipc::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0(WORKER_NAME)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // Of its own, so that a terminal's interrupt reaches only the supervisor, which lets workers drain.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        status.send_modify(|s| s.pid = child.id());
        // For its readiness only: messages go through `ipc`, with their descriptors.
        let control = UnixDatagram::from_std(ours.into())?;
        debug!(worker = place.id, pid = child.id(), core = place.start.core, "worker started");
        Ok(Self { child, control, sockets: HashSet::new() })
    }

    async fn run(
        &mut self,
        place: &WorkerPlace,
        orders: &mut watch::Receiver<Orders>,
        status: &watch::Sender<WorkerStatus>,
    ) -> End {
        let descriptors: Vec<_> = place.descriptors.iter().map(AsFd::as_fd).collect();
        let start = ToWorker::Start(place.start.clone());
        if let Err(error) = self.send(&start, &descriptors).await {
            return self.lost(format!("did not take its start: {error}")).await;
        }
        match timeout(ANSWER_LIMIT, self.receive()).await {
            Ok(Ok(Some(FromWorker::Ready))) => status.send_modify(|s| s.ready = true),
            Ok(Ok(Some(FromWorker::Failed(why)))) => return self.lost(format!("failed: {why}")).await,
            Ok(Ok(_)) => return self.lost("ended before it was ready".to_owned()).await,
            Ok(Err(error)) => return self.lost(format!("control socket: {error}")).await,
            Err(_) => return self.lost("was not ready in time".to_owned()).await,
        }
        info!(worker = place.id, pid = self.child.id(), core = place.start.core, "worker ready");
        match self.follow(place, orders, status).await {
            Ok(end) => end,
            Err(why) => self.lost(why).await,
        }
    }

    /// Keeps the process in step until it is gone.
    async fn follow(
        &mut self,
        place: &WorkerPlace,
        orders: &mut watch::Receiver<Orders>,
        status: &watch::Sender<WorkerStatus>,
    ) -> Result<End, String> {
        let mut due = None;
        let mut handed_over = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        orders.mark_changed();
        loop {
            let late = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = orders.changed() => {
                    let order = orders.borrow_and_update().clone();
                    // Also before it stops: what its rings hold is to be relayed, not dropped.
                    if handed_over != Some(order.generation.number) {
                        self.hand_over(&order.generation).await.map_err(|e| format!("took no table: {e}"))?;
                        handed_over = Some(order.generation.number);
                    }
                    if order.stop || changed.is_err() {
                        self.send(&ToWorker::Stop, &[]).await.map_err(|e| format!("control socket: {e}"))?;
                    }
                    due = Some(Instant::now() + ANSWER_LIMIT);
                }
                received = self.receive() => match received {
                    Ok(Some(FromWorker::Applied(number))) => {
                        status.send_modify(|s| s.applied = number);
                        if number == orders.borrow().generation.number && !orders.borrow().stop {
                            due = None;
                        }
                    }
                    Ok(Some(FromWorker::Stopped)) => return Ok(End::Stopped),
                    Ok(Some(FromWorker::Log(severity, line))) => log(place.id, severity, &line),
                    Ok(Some(FromWorker::Ready)) => {}
                    Ok(Some(FromWorker::Failed(why))) => return Err(format!("failed: {why}")),
                    Ok(None) => return Err("died".to_owned()),
                    Err(error) => return Err(format!("control socket: {error}")),
                },
                _ = ticks.tick() => {
                    // One that is slow to read has other work and is told at the next.
                    let _ = ipc::offer(&self.control, &ToWorker::TakeReturned);
                }
                () = late => return Err("did not answer in time".to_owned()),
            }
        }
    }

    async fn hand_over(&mut self, generation: &Generation) -> io::Result<()> {
        let new: Vec<_> =
            generation.sockets.iter().filter(|(number, _)| !self.sockets.contains(number)).collect();
        for chunk in new.chunks(DESCRIPTORS_MAX) {
            let numbers = chunk.iter().map(|(number, _)| *number).collect();
            let descriptors: Vec<_> = chunk.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.send(&ToWorker::Sockets(numbers), &descriptors).await?;
        }
        let (table, bytes) = &generation.table;
        self.send(&ToWorker::Table { bytes: *bytes }, &[table.as_fd()]).await?;
        // With the table the worker closes the sockets it does not name.
        self.sockets = generation.sockets.iter().map(|(number, _)| *number).collect();
        Ok(())
    }

    async fn send(&self, message: &ToWorker, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            self.control.writable().await?;
            let send = || ipc::send(&self.control, message, descriptors);
            match self.control.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<FromWorker>> {
        loop {
            self.control.readable().await?;
            let receive = || ipc::receive::<FromWorker>(&self.control);
            match self.control.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Ok(received?.map(|(message, _)| message)),
            }
        }
    }

    /// The reason, with how the process ended where it did.
    async fn lost(&mut self, why: String) -> End {
        let ended = timeout(Duration::from_millis(200), self.child.wait()).await;
        End::Lost(match ended {
            Ok(Ok(status)) => format!("{why} ({status})"),
            Ok(Err(_)) | Err(_) => why,
        })
    }

    /// Leaves no process behind: one that stopped as told ends by itself, any other is killed, as it may hang.
    async fn end(mut self, stopped: bool) {
        drop(self.control);
        let grace = if stopped { Duration::from_secs(2) } else { Duration::ZERO };
        if timeout(grace, self.child.wait()).await.is_err()
            && let Err(error) = self.child.kill().await
        {
            error!(pid = self.child.id(), "cannot end a worker: {error}");
        }
    }
}
