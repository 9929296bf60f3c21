//! What the control interface says: the JSON documents of `/v1`, shared by daemon and client.
//!
//! Integers carry no unit suffix. `packets` and `bytes` count datagrams and UDP payload bytes; `pps` and
//! `bps` (bits of payload) are means over the last full second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a rule or leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It relays whatever arrives.
    Active,
    /// It waits for something named in the reason: an interface, an address, a route.
    Pending,
    /// It tried and the kernel refused, as the reason says; it keeps trying.
    Failed,
}

/// A rule as the file writes it, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The rule's name.
    pub name: String,
    /// Its input in endpoint notation.
    pub input: String,
    /// Its outputs in endpoint notation.
    pub outputs: Vec<String>,
    /// The engine that moves it: `auto` is resolved.
    pub engine: String,
    /// Where it stands.
    pub state: State,
    /// Why, where it is not active; empty otherwise.
    pub reason: String,
}

/// `DELETE /v1/rules/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The rule that is gone.
    pub removed: String,
}

/// What an apply does, or with `dry_run` would do: rule names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// New rules.
    pub add: Vec<String>,
    /// Rules that go.
    pub remove: Vec<String>,
    /// Rules that stay under their name with another input, output or engine.
    pub change: Vec<String>,
    /// Rules that stay as they are and lose no packet.
    pub keep: Vec<String>,
    /// Remarks: rules accepted but pending, with the reason.
    pub notes: Vec<String>,
}

/// `GET /v1/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Number of the forwarding table in force.
    pub generation: u64,
    /// Sums over all workers since the daemon started.
    pub totals: Totals,
    /// One entry a rule, in the order of the running set.
    pub rules: Vec<RuleStats>,
    /// One entry a worker.
    pub workers: Vec<WorkerStats>,
}

/// Both ledgers: `recv = matched + parse_err + no_match + buf_exhaust`, `submitted = sent + errors`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames the inputs' interfaces offered.
    pub recv: u64,
    /// Frames that matched a rule.
    pub matched: u64,
    /// Frames malformed or with a bad checksum.
    pub parse_err: u64,
    /// Well-formed frames that no rule takes.
    pub no_match: u64,
    /// Frames lost because the ring was full.
    pub buf_exhaust: u64,
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Datagrams handed to the kernel.
    pub submitted: u64,
    /// Datagrams the kernel refused.
    pub errors: u64,
    /// UDP payload bytes of `sent`.
    pub bytes: u64,
}

/// One rule's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStats {
    /// The rule's name.
    pub name: String,
    /// The engine that moves it.
    pub engine: String,
    /// Where it stands.
    pub state: State,
    /// Why, where it is not active.
    pub reason: String,
    /// Datagrams relayed: at least one leg took them.
    pub packets: u64,
    /// UDP payload bytes of those.
    pub bytes: u64,
    /// Datagrams a second.
    pub pps: u64,
    /// Payload bits a second.
    pub bps: u64,
    /// One entry a leg, in the rule's order.
    pub legs: Vec<LegStats>,
}

/// One leg's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegStats {
    /// The output in endpoint notation.
    pub output: String,
    /// Where it stands.
    pub state: State,
    /// Why, where it is not active.
    pub reason: String,
    /// Datagrams the kernel took.
    pub packets: u64,
    /// UDP payload bytes of those.
    pub bytes: u64,
    /// Datagrams a second.
    pub pps: u64,
    /// Payload bits a second.
    pub bps: u64,
    /// Datagrams the kernel refused.
    pub errors: u64,
    /// Datagrams not handed to the kernel, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// One worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Its place, from 0; a successor keeps it.
    pub id: u32,
    /// Its process; 0 while it is being restarted.
    pub pid: u32,
    /// The core it is pinned to.
    pub core: u32,
    /// `active`: its process reads its rings; `pending`: it is being started.
    pub state: State,
    /// How often it was started again.
    pub restarts: u64,
    /// Frames offered to its ring.
    pub recv: u64,
    /// Of those, frames that matched a rule.
    pub matched: u64,
    /// Of those, datagrams at least one leg took.
    pub relayed: u64,
    /// Frames lost because its ring was full.
    pub buf_exhaust: u64,
    /// Frames not relayed, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// The levels in force (`GET /v1/log-level`) or asked for (`PUT`): directives as in `info,mcr=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// Comma-separated `TARGET=LEVEL` directives, or a bare `LEVEL` for all.
    pub directives: String,
}

/// `GET /v1/doctor` and `GET /v1/doctor/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// One entry a rule that was examined: of all rules those that are not active first.
    pub rules: Vec<RuleFindings>,
    /// What concerns all rules.
    pub host: Vec<Finding>,
    /// Rules that were not examined, as there are too many for one answer: ask for each by its name.
    pub left_out: u64,
}

impl Diagnosis {
    /// Whether any check failed.
    pub fn fails(&self) -> bool {
        let mut findings = self.rules.iter().flat_map(|rule| &rule.checks).chain(&self.host);
        findings.any(|finding| finding.verdict == Verdict::Fail)
    }
}

/// What was found of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFindings {
    /// The rule's name.
    pub name: String,
    /// Its input in endpoint notation.
    pub input: String,
    /// One entry a check: first the input's, then those of each output.
    pub checks: Vec<Finding>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name, as in `igmp_version`.
    pub check: String,
    /// The output it is about, in endpoint notation; absent: the input or the whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What it came to.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: String,
    /// What to do, as a command or setting where there is one; empty where there is nothing to do.
    pub remedy: String,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing stands in the way here.
    Ok,
    /// Packets are relayed, with a cost or not all of them.
    Warn,
    /// This keeps packets from being relayed.
    Fail,
    /// It could not be looked at; the evidence says why.
    Skip,
}

/// Any refusal's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was tried, on what, why it failed, what to do.
    pub error: String,
}
