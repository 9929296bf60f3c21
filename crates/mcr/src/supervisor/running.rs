//! The running set and all that follows from it, changed as one: rules, table, sockets, joins, counters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::table::{LegEntry, Table};
use mcast::{Rule, RuleFile, RuleName, RuleSet, WorkerOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::compile::{Compiled, Routes, Surroundings};
use super::egress::EgressSockets;
use super::handle::Refusal;
use super::links::Interfaces;
use super::membership::{Join, JoinError, Memberships};
use super::output::Output;
use super::ports::Ports;
use super::slots::Slots;
use super::telemetry::Telemetry;
use super::workers::{Generation, Orders, WorkerPlace, WorkerStatus};
use crate::api::model::Plan;

/// A worker that has not taken a table up for so long no longer holds up the answer; its task ends it.
const APPLY_LIMIT: Duration = Duration::from_secs(15);

/// What the kernel has joined is compared with what rules want so often, and whenever a link changes.
const COMPARE_JOINS_EVERY: Duration = Duration::from_secs(30);

/// STATS are printed so often.
pub const TICK: Duration = Duration::from_secs(1);

/// All state of a running daemon.
#[derive(Debug)]
pub struct Running {
    pub(super) rules: RuleSet,
    pub(super) options: WorkerOptions,
    pub(super) compiled: Compiled,
    pub(super) telemetry: Telemetry,
    pub(super) workers: Vec<watch::Receiver<WorkerStatus>>,
    pub(super) cores: Vec<u32>,
    pub(super) join_errors: HashMap<Join, JoinError>,
    pub(super) troubles_logged: HashMap<RuleName, String>,
    pub(super) interfaces: Interfaces,
    /// Where STATS go, once there is traffic to speak of.
    pub(super) output: Option<Output>,
    /// Whether the last STATS could not be printed.
    pub(super) mute: bool,
    /// Whether the rules could not be brought in line with `interfaces`.
    behind_links: bool,
    routes: Routes,
    pub(super) sockets: EgressSockets,
    slots: Slots,
    /// Slots given up, each with the first generation that does not name it.
    stale: Vec<(u64, u32)>,
    pub(super) memberships: Memberships,
    joins_compared: Instant,
    pub(super) ports: Ports,
    orders: watch::Sender<Orders>,
    tasks: JoinSet<()>,
}

/// What a daemon starts with.
pub struct Parts {
    /// Counters and rings of each worker.
    pub telemetry: Telemetry,
    /// What each worker is started with; as many as there are counters.
    pub places: Vec<WorkerPlace>,
    /// Egress sockets.
    pub sockets: EgressSockets,
    /// Interfaces as they are.
    pub interfaces: Interfaces,
    /// The file's options for workers.
    pub options: WorkerOptions,
}

impl Running {
    /// Starts the workers, with no rules yet.
    ///
    /// # Errors
    /// The first table's memory could not be had.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let compiled = Compiled::default();
        let table = compiled.table.write()?;
        let generation = Arc::new(Generation { number: 0, table, sockets: Vec::new() });
        let orders = watch::Sender::new(Orders { generation, stop: false });
        let mut tasks = JoinSet::new();
        let mut workers = Vec::new();
        let cores = parts.places.iter().map(|place| place.start.core).collect();
        for place in parts.places {
            let (status, seen) = watch::channel(WorkerStatus::default());
            tasks.spawn(super::workers::run(place, orders.subscribe(), status));
            workers.push(seen);
        }
        Ok(Self {
            rules: RuleSet::new(),
            options: parts.options,
            compiled,
            telemetry: parts.telemetry,
            workers,
            cores,
            join_errors: HashMap::new(),
            troubles_logged: HashMap::new(),
            interfaces: parts.interfaces,
            output: None,
            mute: false,
            behind_links: false,
            routes: Routes::default(),
            sockets: parts.sockets,
            slots: Slots::default(),
            stale: Vec::new(),
            memberships: Memberships::default(),
            joins_compared: Instant::now(),
            ports: Ports::default(),
            orders,
            tasks,
        })
    }

    /// Waits until every worker is confined and reads its rings.
    pub async fn workers_ready(&mut self) -> bool {
        let all = async {
            for worker in &mut self.workers {
                if worker.wait_for(|status| status.ready).await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(APPLY_LIMIT, all).await.unwrap_or(false)
    }

    /// Number of the forwarding table in force.
    pub fn generation(&self) -> u64 {
        self.compiled.table.generation
    }

    /// Resolves once every worker follows the table now in force. It waits beside the supervisor's task, so that a
    /// worker that does not answer holds up nobody but who wants to know.
    pub fn taken_up(&self) -> impl Future<Output = ()> + use<> {
        let (number, mut workers) = (self.generation(), self.workers.clone());
        let all = async move {
            for worker in &mut workers {
                // A worker that is being restarted begins with this table.
                let _ = worker.wait_for(|status| !status.may_follow_before(number)).await;
            }
        };
        async move {
            if timeout(APPLY_LIMIT, all).await.is_err() {
                warn!(generation = number, "a worker is late in taking up the rules");
            }
        }
    }

    /// Adds a rule; with `replace`, in place of the one of its name.
    ///
    /// # Errors
    /// Why it is refused; nothing is changed.
    pub fn add(&mut self, rule: Rule, replace: bool) -> Result<(), Refusal> {
        let mut rules = self.rules.clone();
        self.accept(&rule)?;
        if replace && rules.get(&rule.name).is_some() {
            rules.replace(rule)
        } else {
            rules.add(rule).map(|()| None)
        }
        .map_err(|error| Refusal::of_set(&error))?;
        self.change(rules)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&mut self, name: &RuleName) -> Result<(), Refusal> {
        let mut rules = self.rules.clone();
        rules.remove(name).ok_or_else(|| Refusal::NotFound(name.clone()))?;
        self.change(rules)
    }

    /// Makes a file the running set, or with `dry_run` says what that would do.
    ///
    /// # Errors
    /// All that is wrong with it; nothing is changed.
    pub fn apply(&mut self, text: &str, dry_run: bool) -> Result<Plan, Refusal> {
        let file = RuleFile::parse(text).map_err(|error| Refusal::Invalid(error.to_string()))?;
        file.rules.iter().try_for_each(|rule| self.accept(rule))?;
        let diff = self.rules.plan(&file.rules);
        let names = |names: &[RuleName]| names.iter().map(ToString::to_string).collect();
        let mut plan = Plan {
            add: names(&diff.add),
            remove: names(&diff.remove),
            change: names(&diff.change),
            keep: names(&diff.keep),
            notes: Vec::new(),
        };
        if file.worker != WorkerOptions::default() && file.worker != self.options {
            plan.notes.push(
                "[worker] is not what mcrd runs with and what save writes: it is read when mcrd starts with this file"
                    .to_owned(),
            );
        }
        if dry_run {
            let would_wait = |rule: &Rule| Some(format!("{} would wait: {}", rule.name, self.awaits(rule)?));
            plan.notes.extend(file.rules.iter().filter_map(would_wait));
            return Ok(plan);
        }
        plan.notes.iter().for_each(|note| warn!("{note}"));
        self.change(file.rules)?;
        plan.notes.extend(self.troubles().map(|(name, trouble)| format!("{name} {trouble}")));
        Ok(plan)
    }

    /// The running set as a rule file.
    pub fn save(&self) -> String {
        RuleFile { rules: self.rules.clone(), worker: self.options.clone() }.to_toml()
    }

    /// Takes note of links, addresses and routes as they are now.
    pub fn links_changed(&mut self, interfaces: Interfaces) {
        // The next switch may be another one, or have forgotten who is behind this port, and may not ask for minutes.
        interfaces.reconnected_since(&self.interfaces).for_each(|index| self.memberships.leave_ipv4(index));
        self.interfaces = interfaces;
        self.routes.clear();
        self.repair_joins();
        self.follow_links();
    }

    fn follow_links(&mut self) {
        let done = self.put_in_force();
        if let Err(error) = &done {
            warn!("the rules could not be brought in line with changed links, retried each second: {error}");
        }
        self.behind_links = done.is_err();
    }

    /// Tries again what the kernel refused, as things may have changed.
    pub fn retry(&mut self) {
        self.recycle();
        self.memberships.leave_due(Instant::now());
        if self.joins_compared.elapsed() >= COMPARE_JOINS_EVERY && self.repair_joins() {
            self.sync_joins();
        }
        if self.behind_links || self.compiled.wants_sockets {
            self.follow_links();
        }
        if !self.join_errors.is_empty() {
            self.sync_joins();
        }
        if self.ports.lacks_some(&self.compiled.ports) {
            self.ports.sync(&self.compiled.ports);
        }
        self.log_troubles();
    }

    /// Lets the workers relay what their rings hold, ends them, and leaves all groups.
    pub async fn stop(&mut self) {
        for worker in self.telemetry.workers() {
            if let Err(error) = worker.rings.accept_interfaces(&[]) {
                warn!("cannot close a packet ring to new frames: {error}");
            }
        }
        self.orders.send_modify(|orders| orders.stop = true);
        let mut ticks = interval(TICK);
        ticks.tick().await;
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => if ended.is_none() { break },
                _ = ticks.tick() => self.tick(),
            }
        }
        self.memberships.leave_all();
        self.ports.clear();
    }

    /// Refuses what can never run here as things are.
    fn accept(&self, rule: &Rule) -> Result<(), Refusal> {
        match self.interfaces.why_not_input(rule.input.interface.as_str()) {
            Some(why) => Err(Refusal::Invalid(format!("rule {}: {why}", rule.name))),
            None => Ok(()),
        }
    }

    /// The first of a rule's interfaces that is not there or down, in words.
    fn awaits(&self, rule: &Rule) -> Option<String> {
        let outputs = rule.outputs.iter().filter_map(|leg| leg.interface.as_ref());
        std::iter::once(&rule.input.interface)
            .chain(outputs)
            .find_map(|name| self.interfaces.why_not(name.as_str()))
    }

    /// Makes a valid set the running set, or changes nothing.
    fn change(&mut self, rules: RuleSet) -> Result<(), Refusal> {
        let slots = self.slots.clone();
        let stale = self.slots.assign(rules.iter()).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let before = std::mem::replace(&mut self.rules, rules);
        if let Err(error) = self.put_in_force() {
            (self.rules, self.slots) = (before, slots);
            return Err(error);
        }
        let generation = self.generation();
        self.stale.extend(stale.into_iter().map(|slot| (generation, slot)));
        self.recycle();
        Ok(())
    }

    /// Frees slots that no worker can count on any more.
    fn recycle(&mut self) {
        let followed = |number| self.workers.iter().all(|w| !w.borrow().may_follow_before(number));
        let free = self.stale.extract_if(.., |(generation, _)| followed(*generation));
        let free: Vec<u32> = free.map(|(_, slot)| slot).collect();
        free.iter().for_each(|slot| self.telemetry.clear(*slot));
        self.slots.recycle(free);
    }

    /// Compiles the running set and hands it to all workers, then joins and leaves. An error leaves all as it was.
    fn put_in_force(&mut self) -> Result<(), Refusal> {
        let mut surroundings = Surroundings {
            interfaces: &self.interfaces,
            routes: &mut self.routes,
            sockets: &mut self.sockets,
            slots: &self.slots,
            local: self.interfaces.local_addresses(),
            refused: false,
        };
        let mut compiled = surroundings.compile(self.rules.iter());
        compiled.table.generation = self.generation();
        let unchanged = compiled.table == self.compiled.table;
        let generation = if unchanged {
            None
        } else {
            compiled.table.generation += 1;
            Some(self.prepare(&compiled))
        };
        let refused = matches!(generation, Some(Err(_)));
        let table = if refused { &self.compiled.table } else { &compiled.table };
        self.sockets.retain(&named(table));
        let generation = generation.transpose()?;
        self.compiled = compiled;
        if let Some(generation) = generation {
            self.hand_out(generation);
        }
        self.sync_joins();
        self.ports.sync(&self.compiled.ports);
        self.log_troubles();
        Ok(())
    }

    /// What may fail before a table is in force.
    fn prepare(&self, compiled: &Compiled) -> Result<Generation, Refusal> {
        let failed = |what| move |error| Refusal::Failed(format!("cannot {what}: {error}"));
        let table = compiled.table.write().map_err(failed("write the forwarding table"))?;
        let ifindexes: Vec<u32> = compiled.ifindexes.iter().copied().collect();
        if let Err(error) = self.accept_frames_of(&ifindexes) {
            // Those that took it lose nothing by the former filter, which the table in force was made for.
            let before: Vec<u32> = self.compiled.ifindexes.iter().copied().collect();
            drop(self.accept_frames_of(&before));
            return Err(failed("set a packet ring's filter")(error));
        }
        let named = named(&compiled.table);
        let sockets = self.sockets.numbered().filter(|(number, _)| named.contains(number)).collect();
        Ok(Generation { number: compiled.table.generation, table, sockets })
    }

    fn accept_frames_of(&self, ifindexes: &[u32]) -> std::io::Result<()> {
        self.telemetry.workers().iter().try_for_each(|worker| worker.rings.accept_interfaces(ifindexes))
    }

    fn hand_out(&self, generation: Generation) {
        info!(generation = generation.number, rules = self.rules.len(), "rules handed to the workers");
        self.orders.send_modify(|orders| orders.generation = Arc::new(generation));
    }

    /// Answers whether any join was lost; those not made again yet are with the next [`Self::sync_joins`].
    fn repair_joins(&mut self) -> bool {
        self.joins_compared = Instant::now();
        let lost = self.memberships.repair();
        if lost > 0 {
            info!(
                joins = lost,
                "the kernel had dropped joins: they are made again where their interface is there"
            );
        }
        lost > 0
    }

    fn sync_joins(&mut self) {
        self.join_errors = self.memberships.sync(&self.compiled.joins, Instant::now()).into_iter().collect();
    }
}

/// The sockets a table names.
fn named(table: &Table) -> HashSet<u32> {
    table.legs().flat_map(LegEntry::sockets).collect()
}
