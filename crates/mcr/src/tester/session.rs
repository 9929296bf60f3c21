//! One run of the tester: its steps, and what each of them needs opened.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use mcast::Endpoint;
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Serialize;

use super::args::{Bench, Pair, Test};
use super::bed::{Bed, BedPlan};
use super::command::{self, Ran, Told};
use super::error::TesterError;
use super::fanout::Fanout;
use super::listener::ListenerPlan;
use super::offer::LanePlan;
use super::output;
use super::place::Place;
use super::size::Mix;
use super::step::Step;
use super::trial::Class;
use crate::generator::stop::Stop;
use crate::generator::target::{Target, TargetError};

/// A run.
pub(super) struct Session<'a> {
    /// With all defaults.
    pub(super) options: &'a Bench,
    pub(super) stop: Stop,
    pub(super) cores: Cores,
}

/// Where the tester's threads run.
#[derive(Debug, Clone, Serialize)]
pub struct Cores {
    /// The sender; absent: wherever it may.
    pub tx: Option<u32>,
    /// Receivers, which take them in turn; empty: wherever they may.
    pub rx: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Checks what can be checked before anything is sent.
    ///
    /// # Errors
    /// What is wrong with the command line, or with what it names.
    pub(super) fn new(options: &'a Bench, stop: Stop) -> Result<Self, TesterError> {
        options.check()?;
        check_cores(options)?;
        let session = Self { options, stop, cores: cores(options) };
        output::check(options, &session.steps())?;
        let groups = session.groups();
        for fanout in &options.fanout {
            for groups in &groups {
                session.fanout(fanout.get(), groups.get()).endpoints(&options.rx)?;
            }
        }
        let most = groups.iter().max().copied().unwrap_or(NonZeroU16::MIN);
        for place in std::iter::once(&options.tx).chain(&options.rx) {
            place.within(|| target(place, most).map(drop))?;
        }
        for pair in &options.unicast {
            let tx = session.beside(&pair.tx);
            tx.within(|| target(&tx, NonZeroU16::MIN).map(drop))?;
            pair.rx.within(|| target(&pair.rx, NonZeroU16::MIN).map(drop))?;
        }
        Ok(session)
    }

    /// Every combination of what is varied, sizes innermost.
    pub(super) fn steps(&self) -> Vec<Step> {
        let shares: Vec<Option<u8>> = match &self.options.unicast_share[..] {
            [] => vec![None],
            shares => shares.iter().copied().map(Some).collect(),
        };
        let mut steps = Vec::new();
        for unicast_share in shares {
            for fanout in self.options.fanout.iter().map(|fanout| fanout.get()) {
                for groups in self.groups().iter().map(|groups| groups.get()) {
                    let step = |size: &Mix| Step { size: size.clone(), fanout, groups, unicast_share };
                    steps.extend(self.options.sizes().map(step));
                }
            }
        }
        steps
    }

    /// The numbers of groups to measure; for a capacity that is searched, one.
    fn groups(&self) -> Vec<NonZeroU16> {
        match &self.options.groups[..] {
            [] => vec![NonZeroU16::MIN],
            groups => groups.to_vec(),
        }
    }

    /// The most groups that the endpoints have room for.
    ///
    /// # Errors
    /// When one group has none.
    pub(super) fn groups_max(&self, fanout: u16) -> Result<u16, TesterError> {
        let (mut fits, mut fails) = (1, u32::from(u16::MAX) + 1);
        while fails - fits > 1 {
            let middle = fits.midpoint(fails);
            let groups = u16::try_from(middle).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MAX);
            match self.has_room(fanout, groups) {
                Ok(()) => fits = middle,
                Err(TesterError::Target(_, TargetError::TooManyFlows(..)))
                | Err(TesterError::Ports(..) | TesterError::Collision(..)) => fails = middle,
                Err(error) => return Err(error),
            }
        }
        Ok(u16::try_from(fits).unwrap_or(u16::MAX))
    }

    fn has_room(&self, fanout: u16, groups: NonZeroU16) -> Result<(), TesterError> {
        let options = self.options;
        self.fanout(fanout, groups.get()).endpoints(&options.rx)?;
        for place in std::iter::once(&options.tx).chain(&options.rx) {
            place.within(|| target(place, groups).map(drop))?;
        }
        Ok(())
    }

    /// Sets the device up for `step`, opens both sides and waits until all flows come through.
    ///
    /// # Errors
    /// When the set-up fails, a side cannot be opened or flows do not come.
    pub(super) fn ready(&self, step: &Step) -> Result<Bed, TesterError> {
        let mut bed = self.open(step)?;
        bed.probe(self.options.wait)?;
        Ok(bed)
    }

    /// The same without the waiting.
    ///
    /// # Errors
    /// When the set-up fails or a side cannot be opened.
    pub(super) fn open(&self, step: &Step) -> Result<Bed, TesterError> {
        if let Some(setup) = &self.options.setup {
            self.command("set-up", setup, step)?;
        }
        Bed::open(&self.plan(step), &self.stop)
    }

    /// Runs one of the operator's commands.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn command(&self, what: &'static str, command: &str, step: &Step) -> Result<Ran, TesterError> {
        let rx = self.outputs(step)?;
        let pair = |pair: &Pair| (pair.tx.endpoint.clone(), pair.rx.endpoint.clone());
        let unicast: Vec<_> = self.options.unicast.iter().map(pair).collect();
        let (test, tx) = (self.options.test.name(), &self.options.tx.endpoint);
        let told = Told { test, step, tx, rx: &rx, unicast: &unicast };
        command::run(what, command, &told, &self.stop)
    }

    /// The device's outputs in order, each for its first flow.
    ///
    /// # Errors
    /// When receivers do not suffice.
    pub(super) fn outputs(&self, step: &Step) -> Result<Vec<Endpoint>, TesterError> {
        self.fanout(step.fanout, step.groups).endpoints(&self.options.rx)
    }

    /// How long trials offer packets.
    pub(super) fn trial(&self) -> Duration {
        self.options.trial
    }

    /// Packets per second where a search cannot go below: a packet of each flow, and ten in all, in a trial.
    pub(super) fn least(&self, step: &Step) -> u64 {
        (f64::from(step.groups.max(10)) / self.trial().as_secs_f64()).ceil() as u64
    }

    /// Packets per second asked for, or `default`.
    pub(super) fn loads(&self, default: u64) -> Vec<NonZeroU64> {
        match &self.options.load[..] {
            [] => NonZeroU64::new(default).into_iter().collect(),
            loads => loads.to_vec(),
        }
    }

    fn fanout(&self, outputs: u16, groups: u16) -> Fanout {
        Fanout { outputs, groups, receivers: self.options.rx.len() }
    }

    /// A unicast flow's place at the sender.
    fn beside(&self, tx: &Place) -> Place {
        Place { netns: self.options.tx.netns.clone(), ..tx.clone() }
    }

    fn plan(&self, step: &Step) -> BedPlan {
        let options = self.options;
        let fanout = self.fanout(step.fanout, step.groups);
        let groups = NonZeroU16::new(step.groups).unwrap_or(NonZeroU16::MIN);
        let share = step.unicast_share.unwrap_or_default();
        let mut plan = BedPlan {
            sizes: step.size.clone(),
            lanes: Vec::new(),
            classes: Vec::new(),
            listeners: Vec::new(),
            mixed: step.unicast_share.is_some(),
            residual: options.residual,
            cores: self.cores.clone(),
        };
        if share < 100 {
            // Shares are of all unicast flows together.
            let flows = u32::try_from(options.unicast.len().max(1)).unwrap_or(1);
            let weight = u32::from(100 - share) * flows;
            plan.lanes.push(LanePlan { tx: options.tx.clone(), flows: groups, weight });
            plan.classes.push(Class::Multicast);
            let joined = options.test != Test::Join || options.join.is_some();
            let listener = |(at, place): (usize, &Place)| ListenerPlan {
                place: place.clone(),
                lane: 0,
                uses: fanout.uses(at),
                flows: groups,
                fanout,
                joined,
            };
            plan.listeners.extend(options.rx.iter().take(fanout.used()).enumerate().map(listener));
        }
        for pair in options.unicast.iter().filter(|_| share > 0) {
            let lane = plan.lanes.len();
            let tx = self.beside(&pair.tx);
            plan.lanes.push(LanePlan { tx, flows: NonZeroU16::MIN, weight: share.into() });
            plan.classes.push(Class::Unicast);
            plan.listeners.push(ListenerPlan {
                place: pair.rx.clone(),
                lane,
                uses: 1,
                flows: NonZeroU16::MIN,
                fanout: Fanout { outputs: 1, groups: 1, receivers: 1 },
                joined: true,
            });
        }
        plan
    }
}

fn target(place: &Place, flows: NonZeroU16) -> Result<Target, TesterError> {
    Target::new(place.endpoint.clone(), flows)
        .map_err(|error| TesterError::Target(Box::new(place.clone()), error))
}

/// Refuses cores that this process may not use.
fn check_cores(options: &Bench) -> Result<(), TesterError> {
    let own = sched_getaffinity(None).unwrap_or_default();
    let receivers = options.rx_cores.iter().flat_map(|list| list.as_slice());
    let cores = options.tx_core.iter().map(|core| ("--tx-core", core));
    let foreign = |(_, core): &(_, &u32)| **core as usize >= CpuSet::MAX_CPU || !own.is_set(**core as usize);
    match cores.chain(receivers.map(|core| ("--rx-cores", core))).find(foreign) {
        Some((option, core)) => Err(TesterError::Usage(format!(
            "{option} names core {core}, which this process may not use: `taskset -cp $$` lists those it may"
        ))),
        None => Ok(()),
    }
}

/// The sender's core and the receivers': as asked for, else the first there is and all others.
fn cores(options: &Bench) -> Cores {
    let own = sched_getaffinity(None).unwrap_or_default();
    let own: Vec<u32> = (0..).take(CpuSet::MAX_CPU).filter(|core| own.is_set(*core as usize)).collect();
    let tx = options.tx_core.or_else(|| own.first().copied());
    let rx = match &options.rx_cores {
        Some(list) => list.as_slice().to_vec(),
        None => own.into_iter().filter(|core| Some(*core) != tx).collect(),
    };
    Cores { tx, rx }
}
