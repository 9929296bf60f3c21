//! A served control socket in a folder of its own, and what talks to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcast::RuleName;
use mcr::api::model::{
    Diagnosis, Finding, LegStats, LogLevel, Plan, RuleFindings, RuleStats, RuleStatus, State, Stats, Totals,
    Verdict, WorkerStats,
};
use mcr::api::policy::Policy;
use mcr::api::{serve, socket};
use mcr::supervisor::handle::{Handle, Refusal, Request};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a test waits for at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A control socket that is served.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    pub(crate) folder: TempDir,
    pub(crate) applied: Arc<Mutex<Vec<(usize, bool)>>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    file: socket::SocketFile,
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::under(Policy::of_this_process()).await
    }

    pub(crate) async fn under(policy: Policy) -> Self {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let (handle, requests) = mpsc::channel(8);
        tokio::spawn(supervise(requests, applied.clone()));
        Self::serving(handle, applied, policy)
    }

    /// A daemon whose supervisor is the receiver of `handle`.
    pub(crate) fn with(handle: Handle) -> Self {
        Self::serving(handle, Arc::default(), Policy::of_this_process())
    }

    fn serving(handle: Handle, applied: Arc<Mutex<Vec<(usize, bool)>>>, policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/mcrd.sock");
        let (listener, file) = socket::claim(&socket).unwrap().listen(None).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(serve(listener, handle, policy, shutdown));
        Self { socket, folder, applied, stop, served, file }
    }

    /// Stops it as SIGTERM does and returns the folder, to look at what is left.
    pub(crate) async fn stop(self) -> TempDir {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap();
        drop(self.file);
        self.folder
    }

    /// Runs `mcrctl --socket …` with these arguments.
    pub(crate) async fn mcrctl(&self, args: &[&str]) -> Output {
        mcrctl(&self.socket, args).await
    }

    /// Runs `mcrctl` and returns what it printed, which must be exit code 0 and no word on standard error.
    pub(crate) async fn done(&self, args: &[&str]) -> String {
        let output = self.mcrctl(args).await;
        assert_eq!((code(&output), err(&output)), (0, String::new()), "mcrctl {args:?}");
        out(&output)
    }

    /// Writes `request` and reads all that comes back.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        // The answer may come before all is written.
        let _ = stream.write_all(request).await;
        read_all(&mut stream).await
    }

    /// One request; the answer's status and body.
    pub(crate) async fn http(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: mcrd\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = self.raw(&[head.as_bytes(), body].concat()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// One request that is refused; the status and the error's text.
    pub(crate) async fn refusal(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let (status, body) = self.http(method, path, body).await;
        let document: serde_json::Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{body:?}: {e}"));
        (status, document["error"].as_str().unwrap().to_owned())
    }
}

/// Reads until the server closes.
pub(crate) async fn read_all(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    String::from_utf8(answer).unwrap()
}

pub(crate) async fn mcrctl(socket: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcrctl"));
    command.arg("--socket").arg(socket).args(args).stdin(Stdio::null());
    tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Answers as a supervisor would that has no kernel behind it.
async fn supervise(mut requests: mpsc::Receiver<Request>, applied: Arc<Mutex<Vec<(usize, bool)>>>) {
    let mut rules =
        vec![rule("camera-1", State::Active, ""), rule("camera-2", State::Pending, "eth9 is missing")];
    let mut level = LogLevel { directives: "info".into() };
    while let Some(request) = requests.recv().await {
        match request {
            Request::List(answer) => drop(answer.send(Ok(rules.clone()))),
            Request::Show(name, answer) => {
                let found = rules.iter().find(|rule| rule.name == name.as_str()).cloned();
                let _ = answer.send(found.ok_or(Refusal::NotFound(name)));
            }
            Request::Add { rule: new, replace, answer } => {
                let _ = answer.send(add(&mut rules, &new, replace));
            }
            Request::Remove(name, answer) => {
                let found = rules.iter().position(|rule| rule.name == name.as_str());
                let _ = answer.send(found.map(|i| drop(rules.remove(i))).ok_or(Refusal::NotFound(name)));
            }
            Request::Apply { text, dry_run, answer } => {
                applied.lock().unwrap().push((text.len(), dry_run));
                let _ = answer.send(plan(&text));
            }
            Request::Save(answer) => drop(answer.send(Ok("# saved\n".into()))),
            Request::Stats(answer) => drop(answer.send(Ok(stats(&rules)))),
            Request::Workers(answer) => drop(answer.send(Ok(workers()))),
            Request::Doctor { name, listen, answer } => {
                let _ = answer.send(diagnosis(name.as_ref(), listen));
            }
            Request::LogLevel(asked, answer) => {
                level = asked.unwrap_or(level);
                let _ = answer.send(Ok(level.clone()));
            }
        }
    }
}

fn add(rules: &mut Vec<RuleStatus>, new: &mcast::Rule, replace: bool) -> Result<RuleStatus, Refusal> {
    let mut status = rule(new.name.as_str(), State::Active, "");
    status.input = new.input.to_string();
    status.outputs = new.outputs.iter().map(ToString::to_string).collect();
    match rules.iter_mut().find(|rule| rule.name == status.name) {
        Some(old) if replace => *old = status.clone(),
        Some(_) => return Err(Refusal::Conflict(format!("{} is already a rule: --replace it", status.name))),
        None => rules.push(status.clone()),
    }
    Ok(status)
}

fn plan(text: &str) -> Result<Plan, Refusal> {
    match text {
        "refuse" => Err(Refusal::Invalid("line 1, column 1: no\nline 2, column 1: nor this".into())),
        "fail" => Err(Refusal::Failed("no memory".into())),
        _ => Ok(Plan {
            add: vec!["a".into()],
            remove: vec!["r".into()],
            change: vec!["c".into()],
            keep: vec!["k".into(), "l".into()],
            notes: vec!["a is pending: eth9 is missing".into()],
        }),
    }
}

fn rule(name: &str, state: State, reason: &str) -> RuleStatus {
    RuleStatus {
        name: name.into(),
        input: "10.10.1.100@239.1.1.1%eth0:5000".into(),
        outputs: vec!["239.2.2.2%eth1:6000,ttl=16".into(), "10.0.0.100:6000".into()],
        engine: "userspace".into(),
        state,
        reason: reason.into(),
    }
}

fn stats(rules: &[RuleStatus]) -> Stats {
    let leg = |output: &String| LegStats {
        output: output.clone(),
        state: State::Active,
        reason: String::new(),
        packets: 1_234_567,
        bytes: 1_728_393_800,
        pps: 30_000,
        bps: 336_000_000,
        errors: 2,
        drops: BTreeMap::from([("ttl".into(), 7), ("mtu".into(), 0)]),
    };
    let of = |rule: &RuleStatus| RuleStats {
        name: rule.name.clone(),
        engine: rule.engine.clone(),
        state: rule.state,
        reason: rule.reason.clone(),
        packets: 1_234_567,
        bytes: 1_728_393_800,
        pps: 30_000,
        bps: 336_000_000,
        legs: rule.outputs.iter().map(leg).collect(),
    };
    Stats {
        generation: 12,
        totals: Totals { recv: 6_129_022, matched: 3_881_980, ..Totals::default() },
        rules: rules.iter().map(of).collect(),
        workers: workers(),
    }
}

/// camera-1 is well but for a warning, camera-2 is not.
fn diagnosis(name: Option<&RuleName>, listen: Duration) -> Result<Diagnosis, Refusal> {
    let finding = |check: &str, output: Option<&str>, verdict: Verdict, remedy: &str| Finding {
        check: check.into(),
        output: output.map(ToOwned::to_owned),
        verdict,
        evidence: format!("heard for {} ms", listen.as_millis()),
        remedy: remedy.into(),
    };
    let rule =
        |name: &str, checks| RuleFindings { name: name.into(), input: "239.1.1.1%eth0".into(), checks };
    let well = vec![
        finding("packets", None, Verdict::Ok, ""),
        finding("mtu", Some("10.0.0.100:6000"), Verdict::Warn, "ip link set dev eth1 mtu 1500"),
    ];
    let unwell = vec![
        finding("packets", None, Verdict::Fail, "start the sender"),
        finding("ttl", None, Verdict::Skip, ""),
    ];
    let mut rules = vec![rule("camera-1", well), rule("camera-2", unwell)];
    if let Some(name) = name {
        rules.retain(|rule| rule.name == name.as_str());
        if rules.is_empty() {
            return Err(Refusal::NotFound(name.clone()));
        }
    }
    let left_out = if name.is_none() { 4000 } else { 0 };
    Ok(Diagnosis { rules, host: vec![finding("ring_losses", None, Verdict::Ok, "")], left_out })
}

fn workers() -> Vec<WorkerStats> {
    vec![WorkerStats {
        id: 0,
        pid: 4243,
        core: 1,
        state: State::Active,
        restarts: 0,
        recv: 6_129_022,
        matched: 3_881_980,
        relayed: 3_881_980,
        buf_exhaust: 0,
        drops: BTreeMap::from([("no_rule".into(), 21)]),
    }]
}
