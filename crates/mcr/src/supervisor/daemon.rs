//! The daemon from start to end: sets everything up with the rights it has, keeps those it needs, and serves
//! requests, signals and changes of links one at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dataplane::counters::Counters;
use dataplane::ipc::Start;
use mcast::{CoreList, RuleFile, WorkerOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::capabilities;
use super::descriptors;
use super::egress::EgressSockets;
use super::examinations::Examinations;
use super::fence;
use super::handle::{Answer, Refusal, Request};
use super::links::Links;
use super::logging::Levels;
use super::notify::{Due, Notifier};
use super::output::Output;
use super::places;
use super::rings::Rings;
use super::running::{Parts, Running, TICK};
use super::slots::SLOTS;
use super::telemetry::{Measured, Telemetry};
use super::workers::WorkerPlace;
use crate::api::model::{LogLevel, Plan};
use crate::api::policy::Policy;
use crate::api::{self, socket};

/// Where the configuration is looked for if none is named.
pub const DEFAULT_CONFIG: &str = "/etc/mcr/mcr.toml";

/// Requests that may wait for the supervisor's task.
const REQUESTS_WAITING: usize = 64;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// The rule file named, if one was.
    pub config: Option<PathBuf>,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Cores named, if any were.
    pub cores: Option<CoreList>,
}

/// Why a daemon did not start or ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration or an option is wrong: exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// Something failed at run time: exit code 1.
    #[error("{0}")]
    RunTime(String),
}

impl DaemonError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::RunTime(_) => 1,
        }
    }
}

fn run_time(what: &str) -> impl Fn(&dyn std::fmt::Display) -> DaemonError {
    move |error| DaemonError::RunTime(format!("{what}: {error}"))
}

/// A rule file's text and what it says. The default file may be absent: then there are no rules.
///
/// # Errors
/// The file cannot be read, or everything wrong with it.
pub fn read_config(named: Option<&Path>) -> Result<(String, RuleFile), DaemonError> {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
        Err(error) => {
            // Running, mcrd keeps none of root's rights over files (see `capabilities`).
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    ": let the user mcrd runs as read it, be it root; where its folder is newer than mcrd, restart that"
                }
                _ => "",
            };
            let text = format!("cannot read the configuration {}: {error}{remedy}", path.display());
            return Err(DaemonError::Configuration(text));
        }
    };
    let file = RuleFile::parse(&text)
        .map_err(|error| DaemonError::Configuration(format!("{}: not valid\n{error}", path.display())))?;
    Ok((text, file))
}

/// Workers that have taken up the rules of `text`.
async fn started(parts: Parts, text: &str, config: Option<&Path>) -> Result<Running, DaemonError> {
    let mut running = Running::start(parts).map_err(|e| run_time("cannot start workers")(&e))?;
    if !running.workers_ready().await {
        running.stop().await;
        return Err(DaemonError::RunTime("no worker became ready: see the messages above".to_owned()));
    }
    if let Err(refusal) = running.apply(text, false).map(|plan| announce(&plan)) {
        running.stop().await;
        return Err(not_applied(config, refusal));
    }
    running.taken_up().await;
    Ok(running)
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Why it could not start, or what broke it.
pub async fn run(options: Options, levels: Levels) -> Result<(), DaemonError> {
    let (text, file) = read_config(options.config.as_deref())?;
    let policy = Policy::of_this_process();
    capabilities::require(policy.group.is_some()).map_err(|error| DaemonError::RunTime(error.to_string()))?;
    let claim = socket::claim(&options.socket).map_err(|error| DaemonError::RunTime(error.to_string()))?;
    descriptors::raise_limit();
    let mut links = Links::open().await.map_err(|e| run_time("cannot follow links and addresses")(&e))?;
    let parts = set_up(&options, file.worker, &links)?;
    let mut terminate = Signals::new().map_err(|e| run_time("cannot take signals")(&e))?;
    let mut running = started(parts, &text, options.config.as_deref()).await?;
    let (handle, mut requests) = mpsc::channel(REQUESTS_WAITING);
    let (listener, file) =
        claim.listen(policy.group).map_err(|error| DaemonError::RunTime(error.to_string()))?;
    capabilities::keep_only().map_err(|e| run_time("cannot give up capabilities")(&e))?;
    let config = options.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    if !fence::fence_in(config, &options.socket)
        .map_err(|e| run_time("cannot give up access to files")(&e))?
    {
        info!("this kernel has no landlock: files stay as far in reach as their permissions let them be");
    }
    // The first threads besides this one, so that they have no more rights.
    let no_thread = |e: io::Error| run_time("cannot start a thread for output")(&e);
    levels.write_aside().map_err(no_thread)?;
    running.output = Some(Output::start("mcrd-stats", io::stdout()).map_err(no_thread)?);
    let (shut_down, shutting_down) = oneshot::channel::<()>();
    let server = tokio::spawn(api::serve(listener, handle, policy, async {
        let _ = shutting_down.await;
    }));
    info!(socket = %options.socket.display(), rules = running.list().len(), "ready");
    let mut daemon = Daemon {
        running,
        levels,
        notifier: Notifier::from_environment(),
        config: options.config,
        links_unknown: false,
        examinations: Examinations::default(),
    };
    daemon.notifier.ready(&daemon.running.summary());
    daemon.serve(&mut requests, &mut links, &mut terminate).await;
    daemon.notifier.stopping();
    // New clients are refused from here on, and those being answered see it through.
    drop(file);
    drop(shut_down);
    daemon.finish(&mut requests, server).await;
    daemon.running.stop().await;
    daemon.running.tick();
    if let Some(output) = daemon.running.output.take() {
        output.flush();
    }
    info!("stopped");
    daemon.levels.flush();
    Ok(())
}

/// The file is sound in itself, yet it is refused here.
fn not_applied(named: Option<&Path>, refusal: Refusal) -> DaemonError {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG)).display();
    match refusal {
        Refusal::Failed(why) => DaemonError::RunTime(format!("cannot apply {path}: {why}")),
        why => DaemonError::Configuration(format!("{path}: {why}")),
    }
}

/// Opens what needs rights, before they are given up.
fn set_up(options: &Options, worker: WorkerOptions, links: &Links) -> Result<Parts, DaemonError> {
    let cores = places::cores(options.cores.as_ref().or(worker.cores.as_ref()))
        .map_err(|error| DaemonError::Configuration(error.to_string()))?;
    let user = places::worker_user();
    let ring_mib = worker.ring_mib.unwrap_or(WorkerOptions::RING_MIB_DEFAULT).get();
    let rings = Rings::open(cores.len(), ring_mib.into()).map_err(|e| DaemonError::RunTime(e.to_string()))?;
    let mut places = Vec::new();
    let mut measured = Vec::new();
    for ((id, core), rings) in (0..).zip(&cores).zip(rings) {
        let failed = |error: io::Error| run_time("cannot make a worker's counters")(&error);
        let (counters, memory) = Counters::create(SLOTS).map_err(failed)?;
        let [ring4, ring6] = rings.descriptors().map(|fd| fd.try_clone_to_owned());
        let start = Start {
            worker: id,
            workers: cores.len() as u32,
            core: *core,
            user: Some(user),
            ring_bytes: rings.bytes(),
            slots: SLOTS,
            busy_poll: worker.busy_poll.unwrap_or(false),
            max_wait_us: worker.max_wait_us.unwrap_or(WorkerOptions::MAX_WAIT_US_DEFAULT).into(),
        };
        let descriptors = [ring4.map_err(failed)?, ring6.map_err(failed)?, memory];
        places.push(WorkerPlace { id, start, descriptors });
        measured.push(Measured { counters, rings });
    }
    Ok(Parts {
        telemetry: Telemetry::new(measured),
        places,
        sockets: EgressSockets::open().map_err(|error| DaemonError::RunTime(error.to_string()))?,
        interfaces: links.interfaces().clone(),
        options: worker,
    })
}

fn announce(plan: &Plan) {
    info!(
        add = plan.add.len(),
        remove = plan.remove.len(),
        change = plan.change.len(),
        keep = plan.keep.len(),
        "rules applied"
    );
}

/// The signals the daemon takes.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What serving needs.
struct Daemon {
    running: Running,
    levels: Levels,
    notifier: Notifier,
    config: Option<PathBuf>,
    /// Whether links changed and could not be listed since.
    links_unknown: bool,
    examinations: Examinations,
}

impl Daemon {
    async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        links: &mut Links,
        signals: &mut Signals,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hangup.recv() => self.reload(),
                due = self.notifier.due() => self.notify(due),
                _ = ticks.tick() => {
                    self.running.tick();
                    self.running.retry();
                    if let left_out @ 1.. = self.levels.left_out() {
                        warn!("{left_out} lines were left out of this log while its reader did not read");
                    }
                    if self.links_unknown {
                        self.follow(links).await;
                    }
                    self.notifier.status(&self.running.summary());
                }
                () = links.changed() => self.follow(links).await,
                Some(request) = requests.recv() => self.answer(request),
            }
        }
    }

    /// Looks at links and addresses anew and brings the rules in line. What cannot be looked at now is looked at
    /// with the next tick.
    async fn follow(&mut self, links: &mut Links) {
        match links.refresh().await {
            Ok(_) => self.links_unknown = false,
            Err(error) if !self.links_unknown => {
                warn!("changed links are not known yet, asked again each second: {error}");
                self.links_unknown = true;
            }
            Err(_) => {}
        }
        // Routes may have changed where links have not.
        self.running.links_changed(links.interfaces().clone());
    }

    /// Answers what was asked before the server was told to end, until it has.
    async fn finish(&mut self, requests: &mut mpsc::Receiver<Request>, mut server: JoinHandle<()>) {
        loop {
            tokio::select! {
                _ = &mut server => return,
                Some(request) = requests.recv() => self.answer(request),
            }
        }
    }

    /// SIGHUP: the file becomes the running set, or nothing changes.
    fn reload(&mut self) {
        self.notifier.reloading();
        let refused = self.apply_config().err();
        if let Some(refused) = &refused {
            error!("reload refused, nothing is changed: {refused}");
        }
        self.notifier.reloaded(refused, self.running.taken_up());
    }

    fn apply_config(&mut self) -> Result<(), String> {
        let (text, _) = read_config(self.config.as_deref()).map_err(|error| error.to_string())?;
        let plan = self.running.apply(&text, false).map_err(|refused| refused.to_string())?;
        announce(&plan);
        Ok(())
    }

    fn notify(&mut self, due: Due) {
        match due {
            Due::Ping => self.notifier.ping(),
            Due::Reloaded => self.notifier.ready(&self.running.summary()),
        }
    }

    /// Carries out a request. One whose client has gone meanwhile is carried out all the same.
    fn answer(&mut self, request: Request) {
        let running = &mut self.running;
        match request {
            Request::List(answer) => drop(answer.send(Ok(running.list()))),
            Request::Show(name, answer) => drop(answer.send(running.show(&name))),
            Request::Add { rule, replace, answer } => {
                let name = rule.name.clone();
                let done = running.add(rule, replace).and_then(|()| running.show(&name));
                answer_once_taken_up(running, answer, done);
            }
            Request::Remove(name, answer) => {
                let done = running.remove(&name);
                answer_once_taken_up(running, answer, done);
            }
            Request::Apply { text, dry_run, answer } => {
                let done = running.apply(&text, dry_run);
                answer_once_taken_up(running, answer, done);
            }
            Request::Save(answer) => drop(answer.send(Ok(running.save()))),
            Request::Stats(answer) => drop(answer.send(Ok(running.stats()))),
            Request::Workers(answer) => drop(answer.send(Ok(running.worker_stats()))),
            Request::Doctor { name, listen, answer } => {
                self.examinations.begin(running, name.as_ref(), listen, answer);
            }
            Request::LogLevel(level, answer) => drop(answer.send(self.log_level(level))),
        }
    }

    fn log_level(&mut self, level: Option<LogLevel>) -> Result<LogLevel, Refusal> {
        if let Some(level) = level {
            self.levels.set(&level.directives).map_err(|error| Refusal::Invalid(error.to_string()))?;
        }
        Ok(LogLevel { directives: self.levels.directives().to_owned() })
    }
}

/// Who asked for a change hears of it when no worker relays as before any more; all others are served meanwhile.
fn answer_once_taken_up<T: Send + 'static>(running: &Running, answer: Answer<T>, done: Result<T, Refusal>) {
    let taken_up = running.taken_up();
    tokio::spawn(async move {
        if done.is_ok() {
            taken_up.await;
        }
        drop(answer.send(done));
    });
}
