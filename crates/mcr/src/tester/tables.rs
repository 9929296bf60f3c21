//! What each kind of measurement has in its table.

use std::fmt::Display;
use std::num::NonZeroU32;

use super::args::{Bench, Test};
use super::capacity::{Attempt, Capacity};
use super::figures::Spread;
use super::join::Delays;
use super::latency::Latencies;
use super::progress::percent;
use super::search::LimitedBy;
use super::step::Step;
use super::table::{Table, whole};
use super::throughput::Throughput;
use super::trial::{Class, Counts};

const TESTERS_LIMIT: &str =
    ">=: the tester's limit: it could not offer or count more, the device may forward more.";
const CAPACITY_LOST: &str =
    "Packets lost are the limit, not groups: at a lower --load more groups may be forwarded.";
const RESIDUAL: &str = "stray: packets came later than --residual waits, and count as lost: a longer one shows whether all come.";
const VOID: &str = "void: trials that said nothing of the device; --json tells why of each.";

impl Table {
    /// The rates found.
    pub(super) fn of_throughput(options: &Bench, steps: &[Throughput]) -> Self {
        let mixed = options.test == Test::Mixed;
        let accepted = match options.loss.unwrap_or_default() {
            0.0 => "without loss".to_owned(),
            loss => format!("with at most {} lost at any output", percent(loss)),
        };
        let title = format!(
            "{}: packets per second {accepted}; median of {} (lowest – highest), trials of {} s",
            options.test.name(),
            options.repeat,
            options.trial.as_secs_f64()
        );
        let mut head = step_head(mixed);
        head.extend(["pps", "lowest – highest", "pps out", "Mbit/s"]);
        if mixed {
            head.extend(["multicast pps", "unicast pps"]);
        }
        head.extend(["p50 µs", "p99 µs", "sent as", "faults", "void"]);
        let mut table = Self::new(title, &head);
        for step in steps {
            table.throughput_row(step, mixed);
            table.note_fewer(&step.step, step.counted(), options.repeat, "repeats");
        }
        table
    }

    fn throughput_row(&mut self, result: &Throughput, mixed: bool) {
        let mut row = step_cells(&result.step);
        let at_least = if result.limited_by == Some(LimitedBy::Device) { "" } else { ">= " };
        row.push(result.pps.map_or("–".into(), |pps| format!("{at_least}{}", whole(pps.median))));
        row.push(result.pps.map_or("–".into(), |pps| range(&pps)));
        row.push(optional(result.forwarded_pps, whole));
        row.push(optional(result.mbit_s, |mbit| format!("{mbit:.1}")));
        if mixed {
            for class in [Class::Multicast, Class::Unicast] {
                row.push(optional(result.class_pps(class), whole));
            }
        }
        let latency = result.latency();
        row.push(optional(latency.map(|latency| latency.p50), micros));
        row.push(optional(latency.map(|latency| latency.p99), micros));
        row.push(path(&result.path));
        row.push(faults(&result.counts));
        row.push(result.void_trials.to_string());
        self.push(row);
        match result.limited_by {
            Some(LimitedBy::Tester) => self.note(TESTERS_LIMIT.into()),
            Some(LimitedBy::Most) => self.note(">=: no more was offered, as --most says.".into()),
            Some(LimitedBy::Device) | None => {}
        }
        for (limit, name) in [
            (LimitedBy::Tester, "the tester"),
            (LimitedBy::Most, "--most"),
            (LimitedBy::Device, "the device"),
        ] {
            let (limited, all) = (result.repeats_limited_by(limit), result.counted());
            if (1..all).contains(&limited) {
                self.note(format!("{}: {limited} of {all} repeats were limited by {name}.", result.step));
            }
        }
        if result.counts.stray > 0 && result.pps.is_some_and(|pps| pps.median == 0.0) {
            self.note(RESIDUAL.into());
        }
        if let Some(drained) = result.drained_s() {
            self.note(format!(
                "{}: packets came up to {drained:.2} s later than the offer and their way take: where the device took in \
                 more than it forwards, a longer --trial finds less.",
                result.step
            ));
        }
        if let Some(why) = result.untimed() {
            self.note(format!("{}: no latency: {why}", result.step));
        }
        self.note_rest(&result.step, result.void_trials, result.error.as_deref());
    }

    /// The latencies found.
    pub(super) fn of_latency(options: &Bench, steps: &[Latencies]) -> Self {
        let title = format!(
            "latency: from send call to arrival in microseconds; {} trials of {} s each",
            options.repeat,
            options.trial.as_secs_f64()
        );
        let mut head = step_head(false);
        head.extend(["load pps", "min", "p50", "p99", "p99.9", "max", "p99 lowest – highest", "lost"]);
        head.extend(["sent as", "faults", "void"]);
        let mut table = Self::new(title, &head);
        for result in steps {
            let mut row = step_cells(&result.step);
            row.push(whole(result.load_pps as f64));
            let latency = result.latency_us;
            row.push(optional(latency.map(|latency| latency.min), micros));
            row.push(optional(latency.map(|latency| latency.p50), micros));
            row.push(optional(latency.map(|latency| latency.p99), micros));
            row.push(optional(latency.map(|latency| latency.p999), micros));
            row.push(optional(latency.map(|latency| latency.max), micros));
            row.push(result.p99_us.map_or("–".into(), |p99| format!("{:.1} – {:.1}", p99.min, p99.max)));
            row.push(optional(Some(result.counts.loss()).filter(|_| result.counts.expected > 0), percent));
            row.extend([path(&result.path), faults(&result.counts), result.void_trials.to_string()]);
            table.push(row);
            if result.counts.lost > 0 {
                table.note(format!(
                    "{} at {} pps: packets were lost, so the load is above the throughput, where RFC 2544 \
                     (section 26.2) takes latency for meaningless; or they came later than --residual waits.",
                    result.step, result.load_pps
                ));
            }
            let at = format!("{} at {} pps", result.step, result.load_pps);
            table.note_fewer(&at, result.trials.len() - result.void_trials, options.repeat, "trials");
            table.note_rest(&result.step, result.void_trials, result.error.as_deref());
        }
        table
    }

    /// The delays found.
    pub(super) fn of_join(options: &Bench, steps: &[Delays]) -> Self {
        let title = format!(
            "join: delay in milliseconds over all flows, outputs and {} repeats; median (lowest – highest)",
            options.repeat
        );
        let mut head = step_head(false);
        head.extend(["by", "join", "from command's end", "leave", "from command's end", "resolution"]);
        let mut table = Self::new(title, &head);
        for result in steps {
            let mut row = step_cells(&result.step);
            row.extend([result.by.to_owned(), delay(&result.join_us), delay(&result.join_from_end_us)]);
            row.extend(leave_cells(result));
            row.push(format!("{:.3}", result.resolution_us / 1000.0));
            table.push(row);
            table.note_fewer(&result.step, result.rounds.len(), options.repeat, "repeats");
            table.note_rest(&result.step, 0, result.error.as_deref());
        }
        if steps.iter().any(|result| result.leave_us.is_some_and(|leave| leave.min == 0.0)) {
            table
                .note("<: no packet came after the leave, which took less than the time between two.".into());
        }
        table.note("resolution: the time between two packets of a flow; no delay is known better.".into());
        table
    }

    /// The capacities found.
    pub(super) fn of_capacity(options: &Bench, steps: &[Capacity]) -> Self {
        let title = format!(
            "capacity: groups all forwarded without loss, {} trials of {} s each",
            options.repeat,
            options.trial.as_secs_f64()
        );
        let mut table =
            Self::new(title, &["size B", "fan-out", "pps each", "groups", "failed at", "what failed"]);
        for result in steps {
            let at_least = if result.limited_by == Some(LimitedBy::Device) { "" } else { ">= " };
            let groups = match (result.step.groups, result.failed_at) {
                (0, None) => "–".to_owned(),
                (groups, _) => format!("{at_least}{}", whole(f64::from(groups))),
            };
            table.push(vec![
                result.step.size.to_string(),
                result.step.fanout.to_string(),
                result.load_pps.to_string(),
                groups,
                result.failed_at.map_or("–".into(), |groups| whole(f64::from(groups))),
                result.why.clone().unwrap_or_else(|| "–".into()),
            ]);
            match result.limited_by {
                Some(LimitedBy::Tester) => table.note(TESTERS_LIMIT.into()),
                Some(LimitedBy::Most) => table.note(">=: no more were tried, as --groups says.".into()),
                Some(LimitedBy::Device) | None => {}
            }
            let failed = |attempt: &&Attempt| Some(attempt.groups) == result.failed_at;
            if result.attempts.iter().find(failed).is_some_and(Attempt::lost) {
                table.note(CAPACITY_LOST.into());
            }
            table.note_rest(&result.step, 0, result.error.as_deref());
        }
        table
    }

    /// Says where figures are of fewer repeats than the title says, as after an interruption; a row without a figure
    /// says so itself.
    fn note_fewer(&mut self, of: &impl Display, counted: usize, wanted: NonZeroU32, what: &str) {
        if (1..wanted.get() as usize).contains(&counted) {
            self.note(format!("{of}: of {counted} {what} only, not {wanted}."));
        }
    }

    /// What must be said of a step of any kind.
    fn note_rest(&mut self, step: &Step, void_trials: usize, error: Option<&str>) {
        if void_trials > 0 {
            self.note(VOID.into());
        }
        if let Some(error) = error {
            self.note(format!("{step}: {error}"));
        }
    }
}

/// The columns that name a step.
fn step_head(mixed: bool) -> Vec<&'static str> {
    let mut head = vec!["size B", "fan-out", "groups"];
    if mixed {
        head.push("unicast %");
    }
    head
}

/// A step's cells in them.
fn step_cells(step: &Step) -> Vec<String> {
    let mut cells = vec![step.size.to_string(), step.fanout.to_string(), step.groups.to_string()];
    cells.extend(step.unicast_share.map(|share| share.to_string()));
    cells
}

/// What went wrong beside loss, or that nothing did; where nothing was expected, nobody knows.
fn faults(counts: &Counts) -> String {
    let faults = counts.faults();
    match (faults.is_empty(), counts.expected) {
        (false, _) => faults,
        (true, 0) => "–".into(),
        (true, _) => "none".into(),
    }
}

/// How packets left, where any did.
fn path(path: &str) -> String {
    if path.is_empty() { "–".into() } else { path.into() }
}

/// Median, lowest and highest in milliseconds.
fn delay(spread: &Option<Spread>) -> String {
    let form = |us: f64| format!("{:.3}", us / 1000.0);
    spread.map_or("–".into(), |spread| figures([spread.median, spread.min, spread.max].map(form)))
}

/// The leave's, from its start and from its command's end. Where the last packet came before the start, all that is
/// known is that the next did not come.
fn leave_cells(result: &Delays) -> [String; 2] {
    let Some(leave) = result.leave_us else { return ["–".into(), "–".into()] };
    let of = |spread: Spread| [spread.median, spread.min, spread.max];
    let starts = of(leave);
    let form = |(us, start): (f64, f64)| {
        if start == 0.0 && us <= 0.0 {
            format!("< {:.3}", result.resolution_us / 1000.0)
        } else {
            format!("{:.3}", us / 1000.0)
        }
    };
    let cell = |values: [f64; 3]| figures([0, 1, 2].map(|at| form((values[at], starts[at]))));
    [cell(starts), result.leave_from_end_us.map_or("–".into(), |end| cell(of(end)))]
}

fn figures([median, lowest, highest]: [String; 3]) -> String {
    format!("{median} ({lowest} – {highest})")
}

fn optional(value: Option<f64>, form: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".into(), form)
}

fn range(spread: &Spread) -> String {
    format!("{} – {}", whole(spread.min), whole(spread.max))
}

fn micros(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests;
