//! Results for people: a table on the terminal or in Markdown, and below it what must be known of it.

use std::fmt::Write as _;

use super::args::{Bench, Test};
use super::figures::Spread;
use super::progress::percent;
use super::search::LimitedBy;
use super::step::Step;
use super::throughput::Throughput;
use super::trial::{Class, Counts};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub(super) fn new(title: String, head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { title, head, rows: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Adds what must be known, once.
    pub(super) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// For a terminal: columns aligned, numbers at the right.
    pub fn to_text(&self) -> String {
        let widths: Vec<_> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("{}\n\n{}|{}\n", self.title, row(&self.head), "---:|".repeat(self.head.len()));
        self.rows.iter().for_each(|cells| text.push_str(&row(cells)));
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = std::iter::once(&self.head).chain(&self.rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    }

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
        row.push(result.path.clone());
        row.push(faults(&result.counts));
        row.push(result.void_trials.to_string());
        self.push(row);
        match result.limited_by {
            Some(LimitedBy::Tester) => self.note(
                ">=: the tester's limit: it could not offer or count more, the device may forward more."
                    .into(),
            ),
            Some(LimitedBy::Most) => self.note(">=: no more was offered, as --most says.".into()),
            Some(LimitedBy::Device) | None => {}
        }
        if result.void_trials > 0 {
            self.note("void: trials that said nothing of the device; --json tells why of each.".into());
        }
        if let Some(error) = &result.error {
            self.note(format!("{}: {error}", result.step));
        }
    }
}

/// The columns that name a step.
pub(super) fn step_head(mixed: bool) -> Vec<&'static str> {
    let mut head = vec!["size B", "fan-out", "groups"];
    if mixed {
        head.push("unicast %");
    }
    head
}

/// A step's cells in them.
pub(super) fn step_cells(step: &Step) -> Vec<String> {
    let mut cells = vec![step.size.to_string(), step.fanout.to_string(), step.groups.to_string()];
    cells.extend(step.unicast_share.map(|share| share.to_string()));
    cells
}

/// What went wrong beside loss, or that nothing did.
pub(super) fn faults(counts: &Counts) -> String {
    let faults = counts.faults();
    if faults.is_empty() { "none".into() } else { faults }
}

pub(super) fn optional(value: Option<f64>, form: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".into(), form)
}

pub(super) fn range(spread: &Spread) -> String {
    format!("{} – {}", whole(spread.min), whole(spread.max))
}

pub(super) fn micros(value: f64) -> String {
    format!("{value:.1}")
}

/// A number with its thousands apart.
pub(super) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", &digits[..]), |digits| ("-", digits));
    let first = (digits.len() + 2) % 3 + 1;
    let mut text = sign.to_owned();
    for (at, digit) in digits.char_indices() {
        if at >= first && (at - first) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (value, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (12_345.6, "12,346"),
            (1_234_567.0, "1,234,567"),
            (-1500.0, "-1,500"),
        ] {
            assert_eq!(whole(value), text);
        }
    }

    #[test]
    fn both_forms() {
        let mut table = Table::new("title".into(), &["a", "long"]);
        table.push(vec!["1000".into(), "x".into()]);
        table.note("said once".into());
        table.note("said once".into());
        assert_eq!(table.to_text(), "title\n     a  long\n  1000     x\nsaid once\n");
        assert_eq!(table.to_markdown(), "title\n\n| a | long |\n|---:|---:|\n| 1000 | x |\n\nsaid once\n");
    }
}
