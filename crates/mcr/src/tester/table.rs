//! Results for people: a table on the terminal or in Markdown, and below it what must be known of it.

use std::fmt::Write as _;

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
}

/// A number with its thousands apart.
pub fn whole(value: f64) -> String {
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
