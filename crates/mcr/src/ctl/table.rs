//! Aligned columns under a header, cut to the terminal's width.

use std::fmt::Write;

/// Columns are this far apart.
const GAP: &str = "  ";

/// The last column is never cut below this.
const LAST_LEAST: usize = 12;

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

/// Rows to print under each other.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    remark: Option<String>,
}

impl Table {
    /// An empty table of these columns.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell a column, and where given a remark on a line of its own below it.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N], remark: Option<String>) {
        debug_assert_eq!(N, self.columns.len(), "one cell a column");
        self.rows.push(Row { cells: cells.map(|cell| printable(&cell)).to_vec(), remark });
    }

    /// The table as text. Where it is wider than `width` its last column gives way, if that is text;
    /// figures and remarks are never cut.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        let header: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.line(&mut text, &header, &widths);
        for row in &self.rows {
            self.line(&mut text, &row.cells, &widths);
            if let Some(remark) = &row.remark {
                let _ = writeln!(text, "{GAP}{}", printable(remark));
            }
        }
        text
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let of = |i: usize, name: &str| {
            let widest = self.rows.iter().filter_map(|row| row.cells.get(i)).map(|cell| cell.chars().count());
            widest.max().unwrap_or(0).max(name.len())
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(i, (name, _))| of(i, name)).collect();
        let text_last = self.columns.last().is_some_and(|(_, align)| *align == Align::Left);
        if let (Some(width), true, Some((last, others))) = (width, text_last, widths.split_last_mut()) {
            let taken = others.iter().map(|w| w + GAP.len()).sum::<usize>();
            *last = (*last).min(width.saturating_sub(taken).max(LAST_LEAST));
        }
        widths
    }

    fn line(&self, text: &mut String, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let cell = cut(cell, *width);
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}{GAP}"),
                Align::Right => write!(line, "{cell:>width$}{GAP}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// The text without what would move the cursor or colour the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("OUTPUTS", Align::Left)]);
        table.row(["a".into(), "12,345".into(), "239.2.2.2%eth1:6000 10.0.0.1:6000".into()], None);
        table.row(["camera-1".into(), "0".into(), "x".into()], Some("pending: no eth1".into()));
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_without_a_terminal() {
        let expected = "\
NAME           N  OUTPUTS
a         12,345  239.2.2.2%eth1:6000 10.0.0.1:6000
camera-1       0  x
  pending: no eth1
";
        assert_eq!(sample().render(None), expected);
    }

    #[test]
    fn the_last_column_gives_way() {
        let text = sample().render(Some(40));
        assert!(text.contains("\na         12,345  239.2.2.2%eth1:6000 1…\n"), "{text}");
        assert!(sample().render(Some(1)).contains("239.2.2.2%e…\n"));
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
