//! What was measured beside what must be reached.

use std::fmt;

/// One measurement and its floor, both as a figure that must not be exceeded.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    most: f64,
    measured: Vec<f64>,
}

impl Row {
    /// Takes the figures of all runs, at least one.
    pub(crate) fn new(what: String, most: f64, mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        Self { what, most, measured }
    }

    fn median(&self) -> f64 {
        self.measured[self.measured.len() / 2]
    }

    fn passes(&self) -> bool {
        self.median() <= self.most
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Table {
    repeats: usize,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(repeats: usize) -> Self {
        Self { repeats, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether every median is good enough.
    pub(crate) fn passes(&self) -> bool {
        self.rows.iter().all(Row::passes)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("median of {} runs", self.repeats);
        writeln!(f, "{title:<48} {:>10} {:>10} {:>10} {:>10}", "median", "least", "most", "floor")?;
        for row in &self.rows {
            let (least, most) = (row.measured[0], row.measured[row.measured.len() - 1]);
            let verdict = if row.passes() { "ok" } else { "MISSED" };
            writeln!(
                f,
                "{:<48} {:>10.1} {least:>10.1} {most:>10.1} {:>10.1}  {verdict}",
                row.what,
                row.median(),
                row.most
            )?;
        }
        let missed = self.rows.iter().filter(|row| !row.passes()).count();
        match missed {
            0 => writeln!(f, "PASS: all {} floors are reached", self.rows.len()),
            _ => writeln!(f, "FAIL: {missed} of {} floors are missed", self.rows.len()),
        }
    }
}
