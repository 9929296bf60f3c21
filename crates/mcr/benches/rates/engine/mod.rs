//! What the userspace engine must reach, row by row.
//!
//! Rows are measured one after the other, each in as many repeats as count; what is a ratio is one within a repeat.

mod backlog;
mod calls;
mod cost;
mod counting;
mod fanout;
mod flows;
mod latency;
mod loss;
mod order;
mod overload;
mod rate;
mod rules;
mod steady;
mod watch;

use anyhow::{Result, ensure};
use mcr::generator::stop::Stop;
use mcr::tester::search::Found;
use testbed::rule;

use crate::results::{Goal, Origin, Results};
use crate::settings::{Settings, unwound};

/// Figures of one repeat, noted as they come.
#[derive(Debug, Default)]
struct Figures(Results);

impl Figures {
    fn note(&mut self, what: impl Into<String>, unit: &'static str, goal: Goal, value: f64) {
        self.0.note(MCR, what, unit, goal, value);
    }

    /// Notes a rate that a search found, of all outputs together.
    fn note_rate(&mut self, what: impl Into<String>, goal: Goal, outputs: u8, found: Found) {
        self.0.note_rate(MCR, what, goal, outputs, found);
    }
}

/// What is measured.
const MCR: &str = "mcr";

type Measure = fn(&Settings, &mut Figures) -> Result<()>;

/// The rows by name; the last takes minutes.
const ROWS: [(&str, Measure); 11] = [
    ("rate", rate::measure),
    ("cost", cost::measure),
    ("latency", latency::measure),
    ("calls", calls::measure),
    ("fanout", fanout::measure),
    ("flows", flows::measure),
    ("rules", rules::measure),
    ("order", order::measure),
    ("overload", overload::measure),
    ("loss", loss::measure),
    (STEADY, steady::measure),
];

const STEADY: &str = "steady";

/// Trials for low rates without loss last so many times longer: in a short one a relay's queue takes in a large part of what
/// is too much.
const LONGER: f64 = 5.0;

/// # Errors
/// When a row is asked for that there is not.
pub(crate) fn check(rows: &[String]) -> Result<()> {
    let names = ROWS.map(|(name, _)| name);
    for row in rows {
        ensure!(names.contains(&row.as_str()), "no row {row:?}: there are {}", names.join(", "));
    }
    Ok(())
}

/// Measures the rows asked for; whether all are reached.
pub(crate) fn run(settings: &Settings, stop: &Stop) -> Result<bool> {
    let wanted = |name: &str| settings.rows.is_empty() || settings.rows.iter().any(|row| row == name);
    let (mut all, mut failed, mut not_counted) = (Results::default(), Vec::new(), 0);
    for (name, measure) in ROWS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name}:");
        let mut figures = Figures::default();
        match row(name, measure, settings, &mut figures) {
            Ok(times) => not_counted += times,
            Err(error) => {
                eprintln!("  {name}: {error:#}");
                failed.push(format!("{name}: {error:#}"));
            }
        }
        print!("{}", figures.0.lines(MCR));
        all.append(figures.0);
    }
    let missed = all.missed(MCR);
    let passes = missed.is_empty() && failed.is_empty();
    let verdict = if passes { "PASS: all limits are reached" } else { "FAIL" };
    println!("{verdict}; {not_counted} repeats did not count");
    missed.iter().for_each(|what| println!("  missed: {what}"));
    failed.iter().for_each(|row| println!("  not finished: {row}"));
    ensure!(!all.is_empty(), "nothing could be measured");
    // Rows fail at once where a signal has taken their relays away.
    ensure!(!stop.requested(), "interrupted");
    if settings.rows.is_empty() {
        let origin = Origin::here(settings, not_counted, vec![format!("mcrd {}", env!("CARGO_PKG_VERSION"))])
            .without(failed);
        all.write(&crate::folder().join("results"), "engine", &origin, &all.judged(MCR))?;
    }
    Ok(passes)
}

/// Measures a row, that of minutes once; how many repeats did not count.
fn row(name: &str, measure: Measure, settings: &Settings, figures: &mut Figures) -> Result<usize> {
    if name == STEADY {
        return unwound(|| measure(settings, figures)).map(|()| 0);
    }
    settings.repeat(|| {
        let mut repeat = Figures::default();
        measure(settings, &mut repeat)?;
        figures.0.append(repeat.0);
        Ok(())
    })
}

/// Of nothing there is no part.
fn ratio(value: Found, of: Found) -> f64 {
    if of.pps > 0.0 { value.pps / of.pps } else { 0.0 }
}

/// One rule of one group to outputs.
fn one_rule(outputs: &[String]) -> String {
    rule("one", "239.1.1.1%r-in:5000", outputs)
}

/// Rules with an output of these options each, that take in and send to groups from 239.1.1.1 and 239.2.1.1 on.
fn many_rules(count: u16, options: &str) -> String {
    let group = |second: u8, number: u16| {
        let first = std::net::Ipv4Addr::new(239, second, 1, 1);
        std::net::Ipv4Addr::from_bits(first.to_bits() + u32::from(number))
    };
    let one = |number| {
        let output = format!("{}%r-out1:5000{options}", group(2, number));
        rule(&format!("r{number}"), &format!("{}%r-in:5000", group(1, number)), &[output])
    };
    (0..count).map(one).collect()
}
