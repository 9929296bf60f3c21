//! Both sides of a device, open for one step: proves that its flows come through, and makes trials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::actor::{Actor, Pending, ask_all};
use super::error::TesterError;
use super::late::{self, End, SILENCE, since};
use super::listener::{Damage, Listener, ListenerPlan, Span};
use super::offer::{LanePlan, Offer, Offered, Run};
use super::session::Cores;
use super::size::Mix;
use super::trial::{Arrived, Class, Trial, TrialPlan};
use crate::generator::clock;
use crate::generator::pacing::Rate;
use crate::generator::stop::Stop;

/// Longest that a device may go on sending what it held when a trial was over.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// How long receivers still listen where nothing lacks, for duplicates.
const LINGER: Duration = Duration::from_millis(20);

pub(super) const POLL: Duration = Duration::from_millis(5);

/// Packets a flow can have in a trial: each trial's sequence numbers begin at its own multiple of it.
const WINDOW: u64 = 1 << 32;
const WINDOWS: u64 = 1 << 16;

/// The next of them. All beds draw from it: what a device still holds of an earlier step is nobody's of a later one.
static NEXT_WINDOW: AtomicU64 = AtomicU64::new(0);

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

/// An offer that goes on until it is ended.
pub(super) struct Offering {
    halt: Arc<AtomicBool>,
    offered: Pending<Result<Offered, TesterError>>,
}

impl Offering {
    /// Ends it and waits for what it offered.
    ///
    /// # Errors
    /// When the sender has ended.
    pub(super) fn end(self) -> Result<Offered, TesterError> {
        self.halt.store(true, Ordering::Relaxed);
        self.offered.wait()?
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
        let all: Arc<[_]> = plan.listeners.clone().into();
        let listener = |(at, listener): (usize, &ListenerPlan)| {
            let core = plan.cores.rx.get(at % plan.cores.rx.len().max(1)).copied();
            let (listener, all) = (listener.clone(), Arc::clone(&all));
            let open = move || {
                pin(core)?;
                listener.place.enter()?;
                Listener::open(listener, &all)
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

    /// Makes a trial; with it come its latencies, nanoseconds.
    ///
    /// # Errors
    /// When a side fails; or an interruption.
    pub(super) fn trial(&mut self, plan: TrialPlan) -> Result<(Trial, Histogram<u64>), TesterError> {
        let bases = self.begin()?;
        let run = Run { rate: plan.rate, duration: plan.duration, even: false };
        let never = Arc::<AtomicBool>::default();
        let offered = self.sender.ask(move |offer| offer.run(run, &bases, &never)).wait()??;
        if offered.halted {
            return Err(TesterError::Interrupted);
        }
        let end = self.wait_residual(&offered, self.residual)?;
        let finished = ask_all(&self.listeners, |_, listener| listener.finish())?;
        self.check_links()?;
        offered.check()?;
        self.drain(end, self.residual)?;
        let all_read = end != End::Unread;
        let arrived = |(lane, finished): (&usize, Result<_, TesterError>)| {
            Ok(Arrived { lane: *lane, report: finished?, all_read })
        };
        let arrived: Vec<_> =
            self.lanes.iter().zip(finished).map(arrived).collect::<Result<_, TesterError>>()?;
        let (mut trial, times) = Trial::judge(&plan, &offered, &arrived, &self.classes);
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

    /// Waits until what was offered has arrived, or will not, and the device is silent.
    ///
    /// # Errors
    /// When it does not become so, or a side fails; or an interruption.
    pub(super) fn settle(&self, offered: &Offered) -> Result<(), TesterError> {
        self.drain(self.wait_residual(offered, SILENCE)?, SILENCE)
    }

    /// What came instead of packets that may have been meant for it.
    ///
    /// # Errors
    /// When a receiver has ended.
    pub(super) fn damage(&self) -> Result<Damage, TesterError> {
        let damage = ask_all(&self.listeners, |_, listener| listener.damage())?;
        Ok(damage.into_iter().fold(Damage::default(), Damage::and))
    }

    /// # Errors
    /// When a link of the tester's went down or away since the bed was opened; it is told once.
    pub(super) fn check_links(&self) -> Result<(), TesterError> {
        ask_all(&self.listeners, |_, listener| listener.check_link())?
            .into_iter()
            .collect::<Result<(), _>>()?;
        self.sender.ask(|offer| offer.check_links()).wait()?
    }

    /// Flows of all lanes.
    pub(super) fn flows(&self) -> u64 {
        self.flows
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

    /// Waits until a device that still sent at a trial's end has sent all it held, was silent for so long, and receivers have
    /// read it: the next trial would find its queue full and its output busy.
    fn drain(&self, end: End, silence: Duration) -> Result<(), TesterError> {
        if matches!(end, End::Complete | End::Silent) {
            return Ok(());
        }
        let (from_ns, silence) = (clock::monotonic_ns(), silence.max(SILENCE));
        while self.silence(from_ns)? < silence {
            if since(from_ns, clock::monotonic_ns()) >= DRAIN_MAX.saturating_add(silence) {
                return Err(TesterError::Undrained(DRAIN_MAX.as_secs()));
            }
            self.check_stop()?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

fn pin(core: Option<u32>) -> Result<(), TesterError> {
    let Some(core) = core else { return Ok(()) };
    let mut cores = CpuSet::new();
    cores.set(core as usize);
    sched_setaffinity(None, &cores).map_err(|errno| TesterError::Core(core, errno.into()))
}
