//! The daemon's documents as an operator reads them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figure::{count, si};
use super::table::{Align, Table, printable};
use crate::api::model::{LegStats, Plan, RuleStats, RuleStatus, State, Stats, Totals, WorkerStats};

use Align::{Left, Right};

/// The state's word, as in the JSON.
fn word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Pending => "pending",
        State::Failed => "failed",
    }
}

/// Why it stands where it stands.
fn remark(state: State, reason: &str) -> Option<String> {
    (!reason.is_empty()).then(|| format!("{}: {reason}", word(state)))
}

/// Counted reasons as `ttl=3 own_frame=1`, those never met left out.
fn reasons(drops: &BTreeMap<String, u64>) -> String {
    let met = drops.iter().filter(|(_, n)| **n > 0);
    met.map(|(reason, n)| format!("{reason}={}", count(*n))).collect::<Vec<_>>().join(" ")
}

fn sum(drops: &BTreeMap<String, u64>) -> u64 {
    drops.values().sum()
}

/// `list`.
pub(super) fn list(rules: &[RuleStatus], width: Option<usize>) -> String {
    if rules.is_empty() {
        return "no rules\n".to_owned();
    }
    let columns = [("NAME", Left), ("STATE", Left), ("ENGINE", Left), ("INPUT", Left), ("OUTPUTS", Left)];
    let mut table = Table::new(&columns);
    for rule in rules {
        let cells = [
            rule.name.clone(),
            word(rule.state).to_owned(),
            rule.engine.clone(),
            rule.input.clone(),
            rule.outputs.join(" "),
        ];
        table.row(cells, remark(rule.state, &rule.reason));
    }
    table.render(width)
}

/// `show`.
pub(super) fn show(rule: &RuleStatus) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<8} {}", printable(value));
    };
    line("name", &rule.name);
    line("state", word(rule.state));
    if !rule.reason.is_empty() {
        line("reason", &rule.reason);
    }
    line("engine", &rule.engine);
    line("input", &rule.input);
    for (i, output) in rule.outputs.iter().enumerate() {
        line(if i == 0 { "outputs" } else { "" }, output);
    }
    text
}

/// What `add` did, in a line.
pub(super) fn added(rule: &RuleStatus, replace: bool) -> String {
    let verb = if replace { "set" } else { "added" };
    let mut text = format!("{verb} {}: {}", rule.name, word(rule.state));
    if !rule.reason.is_empty() {
        let _ = write!(text, ": {}", printable(&rule.reason));
    }
    text.push('\n');
    text
}

/// What `apply` did, or with a line for each rule it would touch, what it would do.
pub(super) fn plan(plan: &Plan, dry_run: bool) -> String {
    let mut text = String::new();
    let touched = [('-', &plan.remove), ('~', &plan.change), ('+', &plan.add)];
    for (sign, names) in touched.into_iter().filter(|_| dry_run) {
        for name in names {
            let _ = writeln!(text, "{sign} {}", printable(name));
        }
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    let _ = writeln!(
        text,
        "{}{} added, {} changed, {} removed, {} kept",
        if dry_run { "would be: " } else { "" },
        count(plan.add.len() as u64),
        count(plan.change.len() as u64),
        count(plan.remove.len() as u64),
        count(plan.keep.len() as u64)
    );
    text
}

/// `stats`: totals, rules, workers.
pub(super) fn stats(stats: &Stats, width: Option<usize>) -> String {
    let mut text = totals(&stats.totals, stats.generation);
    let columns = [
        ("RULE", Left),
        ("STATE", Left),
        ("PACKETS", Right),
        ("PPS", Right),
        ("BYTES", Right),
        ("RATE", Right),
        ("ERRORS", Right),
        ("DROPS", Right),
    ];
    let mut table = Table::new(&columns);
    for rule in &stats.rules {
        let errors = rule.legs.iter().map(|leg| leg.errors).sum();
        let drops = rule.legs.iter().map(|leg| sum(&leg.drops)).sum();
        let cells = [
            rule.name.clone(),
            word(rule.state).to_owned(),
            count(rule.packets),
            count(rule.pps),
            si(rule.bytes, "B"),
            si(rule.bps, "bit/s"),
            count(errors),
            count(drops),
        ];
        table.row(cells, remark(rule.state, &rule.reason));
    }
    text.push('\n');
    text.push_str(&if stats.rules.is_empty() { "no rules\n".to_owned() } else { table.render(width) });
    text.push('\n');
    text.push_str(&workers(&stats.workers, width));
    text
}

fn totals(totals: &Totals, generation: u64) -> String {
    let mut table = Table::new(&[
        ("RECV", Right),
        ("MATCHED", Right),
        ("PARSE_ERR", Right),
        ("NO_MATCH", Right),
        ("BUF_EXHAUST", Right),
        ("SENT", Right),
        ("SUBMITTED", Right),
        ("ERRORS", Right),
        ("BYTES", Right),
    ]);
    let cells = [
        count(totals.recv),
        count(totals.matched),
        count(totals.parse_err),
        count(totals.no_match),
        count(totals.buf_exhaust),
        count(totals.sent),
        count(totals.submitted),
        count(totals.errors),
        si(totals.bytes, "B"),
    ];
    table.row(cells, Some(format!("table generation {generation}")));
    table.render(None)
}

/// `stats NAME`: the rule, its legs, and why they dropped.
pub(super) fn rule_stats(rule: &RuleStats, width: Option<usize>) -> String {
    let mut text = format!("{}  {}  {}\n", rule.name, word(rule.state), rule.engine);
    if let Some(remark) = remark(rule.state, &rule.reason) {
        let _ = writeln!(text, "  {}", printable(&remark));
    }
    let (packets, bytes) = (count(rule.packets), si(rule.bytes, "B"));
    let _ = writeln!(text, "  relayed {packets} packets, {bytes}");
    let _ = writeln!(text, "  now     {} pps, {}\n", count(rule.pps), si(rule.bps, "bit/s"));
    let columns = [
        ("STATE", Left),
        ("PACKETS", Right),
        ("PPS", Right),
        ("BYTES", Right),
        ("RATE", Right),
        ("ERRORS", Right),
        ("OUTPUT", Left),
    ];
    let mut table = Table::new(&columns);
    for leg in &rule.legs {
        let cells = [
            word(leg.state).to_owned(),
            count(leg.packets),
            count(leg.pps),
            si(leg.bytes, "B"),
            si(leg.bps, "bit/s"),
            count(leg.errors),
            leg.output.clone(),
        ];
        table.row(cells, leg_remark(leg));
    }
    text.push_str(&table.render(width));
    text
}

fn leg_remark(leg: &LegStats) -> Option<String> {
    let drops =
        Some(reasons(&leg.drops)).filter(|drops| !drops.is_empty()).map(|drops| format!("drops: {drops}"));
    // A reason may also stand with an active leg, as `gso=off` does.
    let reason = Some(leg.reason.clone()).filter(|reason| !reason.is_empty());
    let parts: Vec<String> = reason.into_iter().chain(drops).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `workers`.
pub(super) fn workers(workers: &[WorkerStats], width: Option<usize>) -> String {
    let columns = [
        ("WORKER", Right),
        ("PID", Right),
        ("CORE", Right),
        ("STATE", Left),
        ("RESTARTS", Right),
        ("RECV", Right),
        ("MATCHED", Right),
        ("RELAYED", Right),
        ("BUF_EXHAUST", Right),
        ("DROPS", Left),
    ];
    let mut table = Table::new(&columns);
    for worker in workers {
        let cells = [
            worker.id.to_string(),
            if worker.pid == 0 { "-".to_owned() } else { worker.pid.to_string() },
            worker.core.to_string(),
            word(worker.state).to_owned(),
            count(worker.restarts),
            count(worker.recv),
            count(worker.matched),
            count(worker.relayed),
            count(worker.buf_exhaust),
            reasons(&worker.drops),
        ];
        table.row(cells, None);
    }
    table.render(width)
}
