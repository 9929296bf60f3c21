//! Both sides of a device, open for one step: proves that its flows come through, and makes trials.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::actor::{Actor, Pending, ask_all};
use super::error::TesterError;
use super::late::{self, End, SILENCE, since};
use super::listener::{Damage, Listener, ListenerPlan, Span};
use super::offer::{LanePlan, Offer, Offered, Run};
use super::session::Cores;
use super::size::Mix;
use super::trial::{Arrived, Class, Trial};
use crate::generator::clock;
use crate::generator::pacing::Rate;
use crate::generator::stop::Stop;

/// Longest that a device may go on sending what it held when a trial was over.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// How long receivers still listen where nothing lacks, for duplicates.
const LINGER: Duration = Duration::from_millis(20);

const POLL: Duration = Duration::from_millis(5);

/// Probe packets per second: four a second for each flow, within these.
const PROBES: Range<u64> = 100..5000;

/// How often each flow is probed, however many there are, before it is missing.
const PROBED: u64 = 2;

/// Packets a flow can have in a trial: each trial's sequence numbers begin at its own multiple of it.
const WINDOW: u64 = 1 << 32;
const WINDOWS: u64 = 1 << 16;

/// The next of them. All beds draw from it: what a device still holds of an earlier step is nobody's of a later one.
static NEXT_WINDOW: AtomicU64 = AtomicU64::new(0);

/// Flows named in an error.
const NAMED_MAX: usize = 6;

/// What to open.
#[derive(Debug, Clone)]
pub(super) struct BedPlan {
    pub(super) sizes: Mix,
    pub(super) lanes: Vec<LanePlan>,
    /// Each lane's class.
    pub(super) classes: Vec<Class>,
    pub(super) listeners: Vec<ListenerPlan>,
    /// Whether classes are told apart in each trial.
    pub(super) mixed: bool,
    /// How long packets are waited for after a trial's last one.
    pub(super) residual: Duration,
    pub(super) cores: Cores,
}

/// How a trial is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrialPlan {
    pub(super) rate: Rate,
    pub(super) duration: Duration,
    /// Part of the packets that may be lost at an output.
    pub(super) accepted: f64,
}

/// An open bed.
pub(super) struct Bed {
    sender: Actor<Offer>,
    listeners: Vec<Actor<Listener>>,
    /// The lane of each listener.
    lanes: Vec<usize>,
    /// Outputs of each listener.
    uses: Vec<u64>,
    /// Flows of all lanes.
    flows: u64,
    classes: Vec<Class>,
    mixed: bool,
    residual: Duration,
    stop: Stop,
}

/// What became of probe packets.
pub(super) struct Probed {
    /// Flows that were not seen at an output of theirs, by name.
    pub(super) missing: Vec<String>,
    /// Flows at all outputs.
    pub(super) all: usize,
    /// Probes sent each second.
    rate: u64,
    /// How long they were sent at most.
    patience: Duration,
    /// What arrived instead.
    damage: Damage,
}

/// An offer that goes on until it is ended.
pub(super) struct Offering {
    halt: Arc<AtomicBool>,
    offered: Pending<Offered>,
}

impl Offering {
    /// Ends it and waits for what it offered.
    ///
    /// # Errors
    /// When the sender has ended.
    pub(super) fn end(self) -> Result<Offered, TesterError> {
        self.halt.store(true, Ordering::Relaxed);
        self.offered.wait()
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.halt.store(true, Ordering::Relaxed);
    }
}

impl Bed {
    /// Opens the receivers, then the sender.
    ///
    /// # Errors
    /// When a namespace, core, target, tap or group cannot be had.
    pub(super) fn open(plan: &BedPlan, stop: &Stop) -> Result<Self, TesterError> {
        let receivers = plan.listeners.len();
        let listener = |(at, listener): (usize, &ListenerPlan)| {
            let core = plan.cores.rx.get(at % plan.cores.rx.len().max(1)).copied();
            let listener = listener.clone();
            let open = move || {
                pin(core)?;
                listener.place.enter()?;
                Listener::open(listener, receivers)
            };
            Actor::start(format!("rx-{at}"), open, Some(Listener::turn))
        };
        let listeners = plan.listeners.iter().enumerate().map(listener).collect::<Result<_, _>>()?;
        let (lanes, sizes, core, stopped) =
            (plan.lanes.clone(), plan.sizes.clone(), plan.cores.tx, stop.clone());
        let open = move || {
            pin(core)?;
            lanes[0].tx.enter()?;
            Offer::open(&lanes, &sizes, stopped)
        };
        Ok(Self {
            sender: Actor::start("tx".into(), open, None)?,
            listeners,
            lanes: plan.listeners.iter().map(|listener| listener.lane).collect(),
            uses: plan.listeners.iter().map(|listener| listener.uses.into()).collect(),
            flows: plan.lanes.iter().map(|lane| u64::from(lane.flows.get())).sum(),
            classes: plan.classes.clone(),
            mixed: plan.mixed,
            residual: plan.residual,
            stop: stop.clone(),
        })
    }

    /// Sends a trickle until every flow was seen at every output it has.
    ///
    /// # Errors
    /// When some are not within `patience`, naming them; or an interruption.
    pub(super) fn probe(&mut self, patience: Duration) -> Result<(), TesterError> {
        let Probed { missing, all, rate, patience, damage } = self.probed(patience)?;
        if missing.is_empty() {
            return Ok(());
        }
        let hint = match damage {
            Damage { fragments: 0, bad_checksums: 0 } => {
                "does the device forward them, and does the set-up name the tester's addresses and ports?"
                    .to_owned()
            }
            Damage { fragments: 0, bad_checksums } => format!(
                "{bad_checksums} packets arrived with wrong checksums: a device that copies frames off a virtual link \
                 needs them filled in by the sender (`ethtool -K INTERFACE tx off`)"
            ),
            Damage { fragments, .. } => TesterError::Fragments(fragments).to_string(),
        };
        Err(TesterError::Silence {
            seconds: patience.as_secs_f64(),
            rate,
            missing: missing.len(),
            all,
            names: some_of(&missing),
            hint,
        })
    }

    /// The same, with what is missing.
    ///
    /// # Errors
    /// When a side fails; or an interruption.
    pub(super) fn probed(&mut self, patience: Duration) -> Result<Probed, TesterError> {
        let all: usize = self.spans()?.iter().flatten().map(Vec::len).sum();
        let rate = (4 * all as u64).clamp(PROBES.start, PROBES.end);
        let patience = patience.max(Duration::from_secs_f64((PROBED * self.flows) as f64 / rate as f64));
        let offering = self.offer(Rate::PerSecond(NonZeroU64::MIN.saturating_add(rate - 1)), true)?;
        let until = Instant::now() + patience;
        while !self.missing()?.is_empty() && Instant::now() < until && !self.stop.requested() {
            std::thread::sleep(POLL);
        }
        // What is still on its way would be a stray of the trial that follows.
        let offered = offering.end()?;
        self.drain(self.wait_residual(&offered, SILENCE)?, SILENCE)?;
        self.check_stop()?;
        let damage = ask_all(&self.listeners, |_, listener| listener.damage())?;
        let damage = damage.into_iter().fold(Damage::default(), Damage::and);
        Ok(Probed { missing: self.missing()?, all, rate, patience, damage })
    }

    /// Makes a trial; with it come its latencies, nanoseconds.
    ///
    /// # Errors
    /// When a side fails; or an interruption.
    pub(super) fn trial(&mut self, plan: TrialPlan) -> Result<(Trial, Histogram<u64>), TesterError> {
        let bases = self.begin()?;
        let run = Run { rate: plan.rate, duration: plan.duration, even: false };
        let never = Arc::<AtomicBool>::default();
        let offered = self.sender.ask(move |offer| offer.run(run, &bases, &never)).wait()?;
        if offered.halted {
            return Err(TesterError::Interrupted);
        }
        if let (0, Some(error)) = (offered.sent(), &offered.last_error) {
            return Err(TesterError::Unsent(offered.refused, error.clone()));
        }
        let end = self.wait_residual(&offered, self.residual)?;
        let finished = ask_all(&self.listeners, |_, listener| listener.finish())?;
        self.drain(end, self.residual)?;
        let all_read = end != End::Unread;
        let arrived = |(lane, finished): (&usize, Result<_, TesterError>)| {
            finished.map(|finished| Arrived { lane: *lane, finished, all_read })
        };
        let arrived: Vec<_> = self.lanes.iter().zip(finished).map(arrived).collect::<Result<_, _>>()?;
        let duration_ns = u64::try_from(plan.duration.as_nanos()).unwrap_or(u64::MAX);
        let offer = (plan.rate, duration_ns);
        let (mut trial, times) = Trial::judge(offer, &offered, &arrived, &self.classes, plan.accepted);
        // A packet that came in fragments lacks, and has two of them or more.
        if trial.counts.fragments > trial.counts.lost {
            return Err(TesterError::Fragments(trial.counts.fragments));
        }
        if !self.mixed {
            trial.classes.clear();
        }
        Ok((trial, times))
    }

    /// Begins new accounts and an offer at `rate` that goes on until it is ended.
    ///
    /// # Errors
    /// When a side fails.
    pub(super) fn offer(&mut self, rate: Rate, even: bool) -> Result<Offering, TesterError> {
        let bases = self.begin()?;
        let halt = Arc::<AtomicBool>::default();
        let halted = Arc::clone(&halt);
        let run = Run { rate, duration: Duration::MAX, even };
        let offered = self.sender.ask(move |offer| offer.run(run, &bases, &halted));
        Ok(Offering { halt, offered })
    }

    /// Each flow's span at each output of each receiver.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn spans(&self) -> Result<Vec<Vec<Vec<Span>>>, TesterError> {
        ask_all(&self.listeners, |_, listener| listener.spans())
    }

    /// How long after `from_ns` and the last packet it is known that nothing came.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn silence(&self, from_ns: u64) -> Result<Duration, TesterError> {
        Ok(late::silence(&ask_all(&self.listeners, |_, listener| listener.heard())?, from_ns))
    }

    /// When the last packet came, nanoseconds; 0 if none did.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn last_ns(&self) -> Result<u64, TesterError> {
        let heard = ask_all(&self.listeners, |_, listener| listener.heard())?;
        Ok(heard.iter().map(|heard| heard.last_ns).max().unwrap_or_default())
    }

    /// Flows that have not been seen at an output of theirs.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn missing(&self) -> Result<Vec<String>, TesterError> {
        Ok(ask_all(&self.listeners, |_, listener| listener.missing())?.into_iter().flatten().collect())
    }

    /// Forgets when packets came.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn forget(&self) -> Result<(), TesterError> {
        ask_all(&self.listeners, |_, listener| listener.forget()).map(drop)
    }

    /// How many receivers there are.
    pub(super) fn receivers(&self) -> usize {
        self.listeners.len()
    }

    /// Has each receiver join its groups, or leave them; answers with when it began to, nanoseconds.
    ///
    /// # Errors
    /// When a group cannot be joined.
    pub(super) fn set_joined(&self, joined: bool) -> Result<Vec<u64>, TesterError> {
        let change = move |_, listener: &mut Listener| {
            let began = clock::monotonic_ns();
            if joined {
                listener.join()?;
            } else {
                listener.leave();
            }
            Ok(began)
        };
        ask_all(&self.listeners, change)?.into_iter().collect()
    }

    /// Whether a signal has arrived.
    ///
    /// # Errors
    /// If so.
    pub(super) fn check_stop(&self) -> Result<(), TesterError> {
        if self.stop.requested() { Err(TesterError::Interrupted) } else { Ok(()) }
    }

    /// Starts new accounts and hands back where each lane's sequence numbers begin.
    fn begin(&mut self) -> Result<Vec<u64>, TesterError> {
        let lanes = self.classes.len() as u64;
        let first = NEXT_WINDOW.fetch_add(lanes, Ordering::Relaxed);
        let bases: Vec<_> = (0..lanes).map(|lane| (first + lane) % WINDOWS * WINDOW).collect();
        let windows: Vec<_> = self.lanes.iter().map(|lane| bases[*lane]..bases[*lane] + WINDOW).collect();
        let begun = ask_all(&self.listeners, move |at, listener| listener.begin(windows[at].clone()))?;
        begun.into_iter().collect::<Result<(), _>>()?;
        Ok(bases)
    }

    /// Waits until a trial is over.
    fn wait_residual(&self, offered: &Offered, residual: Duration) -> Result<End, TesterError> {
        let lane = |lane: &usize| offered.flows[*lane].iter().sum::<u64>();
        let expected: u64 = self.lanes.iter().zip(&self.uses).map(|(at, uses)| lane(at) * uses).sum();
        let ended_ns = clock::monotonic_ns();
        loop {
            let heard = ask_all(&self.listeners, |_, listener| listener.heard())?;
            if let Some(end) = late::end(&heard, expected, residual, ended_ns, clock::monotonic_ns()) {
                if end == End::Complete {
                    std::thread::sleep(LINGER);
                }
                return Ok(end);
            }
            self.check_stop()?;
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a device that still sent at a trial's end has sent all it held, and receivers have read it: the next trial
    /// would find its queue full and its output busy.
    fn drain(&self, end: End, silence: Duration) -> Result<(), TesterError> {
        if matches!(end, End::Complete | End::Silent) {
            return Ok(());
        }
        let from_ns = clock::monotonic_ns();
        while self.silence(from_ns)? < silence {
            if since(from_ns, clock::monotonic_ns()) >= DRAIN_MAX {
                return Err(TesterError::Undrained(DRAIN_MAX.as_secs()));
            }
            self.check_stop()?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The first of these names, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        // Writing to a text does not fail.
        let _ = write!(text, " and {} more", names.len() - NAMED_MAX);
    }
    text
}

fn pin(core: Option<u32>) -> Result<(), TesterError> {
    let Some(core) = core else { return Ok(()) };
    let mut cores = CpuSet::new();
    cores.set(core as usize);
    sched_setaffinity(None, &cores).map_err(|errno| TesterError::Core(core, errno.into()))
}
