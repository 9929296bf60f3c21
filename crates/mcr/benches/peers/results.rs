//! What was measured of each relay, and its median and spread.

use std::collections::BTreeMap;

use serde::Serialize;

/// The figures of one quantity, a relay each.
#[derive(Debug, Serialize)]
pub(crate) struct Quantity {
    /// What it is, for a table's first column.
    what: String,
    unit: &'static str,
    /// Whether more of it is better; otherwise less is.
    more_is_better: bool,
    /// By the adapter's name: a figure a repeat. Absent: that relay cannot do it.
    measured: BTreeMap<String, Vec<f64>>,
}

/// Everything measured, in the order in which it first was.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    quantities: Vec<Quantity>,
}

/// What a quantity is called and how it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Results {
    /// Notes one figure of one relay.
    pub(crate) fn note(&mut self, relay: &str, what: String, kind: Kind, figure: f64) {
        let at = self.quantities.iter().position(|quantity| quantity.what == what).unwrap_or_else(|| {
            let Kind { unit, more_is_better } = kind;
            self.quantities.push(Quantity { what, unit, more_is_better, measured: BTreeMap::new() });
            self.quantities.len() - 1
        });
        self.quantities[at].measured.entry(relay.to_owned()).or_default().push(figure);
    }

    /// A Markdown table with a column a relay: medians, with the spread in brackets. The best of a row is bold.
    pub(crate) fn markdown(&self, relays: &[&str]) -> String {
        let mut text = format!(
            "| median (least to most) | {} |\n|---|{}\n",
            relays.join(" | "),
            "---|".repeat(relays.len())
        );
        for quantity in &self.quantities {
            let cells = relays.iter().map(|relay| quantity.cell(relay));
            text += &format!(
                "| {}, {} | {} |\n",
                quantity.what,
                quantity.unit,
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        text
    }
}

impl Quantity {
    fn cell(&self, relay: &str) -> String {
        let Some(Spread { median, least, most }) =
            self.measured.get(relay).and_then(|figures| spread(figures))
        else {
            return "–".to_owned();
        };
        let others = self.measured.values().filter_map(|figures| spread(figures)).map(|spread| spread.median);
        let best = if self.more_is_better {
            others.fold(f64::MIN, f64::max)
        } else {
            others.fold(f64::MAX, f64::min)
        };
        let median = if median == best { format!("**{}**", figure(median)) } else { figure(median) };
        format!("{median} ({} to {})", figure(least), figure(most))
    }
}

/// Of no figures there is none.
pub(crate) fn spread(figures: &[f64]) -> Option<Spread> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    Some(Spread { median: sorted[sorted.len() / 2], least, most })
}

/// Three significant digits at least, thousands apart.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "none".to_owned();
    }
    let text = if value.abs() < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}
