//! What each kind of measurement has in its plots: throughput by size, percentiles of latency by load.

use std::path::Path;

use super::error::TesterError;
use super::latency::Latencies;
use super::plot::{Frame, Line, Point, plot};
use super::step::Step;
use super::throughput::Throughput;

/// Throughput by size, a line for each fan-out and number of groups; nothing where there is no result.
///
/// # Errors
/// When it cannot be written.
pub(super) fn throughput(path: &Path, steps: &[Throughput]) -> Result<(), TesterError> {
    let mut lines: Vec<Line> = Vec::new();
    for result in steps {
        let Some(pps) = result.pps else { continue };
        let name = line_name(&result.step);
        let point = Point { x: result.step.size.mean(), y: pps.median, range: Some((pps.min, pps.max)) };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name, points: vec![point] }),
        }
    }
    let frame = Frame {
        title: "Throughput: median, lowest and highest".into(),
        x: "UDP payload (bytes, of a mix the mean)",
        y: "offered (packets/s)",
        logarithmic: false,
    };
    plot(path, &frame, &mut lines)
}

/// Percentiles of latency by load, a plot for each step; nothing where there is no result.
///
/// # Errors
/// When one cannot be written.
pub(super) fn latency(folder: &Path, steps: &[Latencies]) -> Result<(), TesterError> {
    let mut done: Vec<&Step> = Vec::new();
    for Latencies { step, .. } in steps {
        if done.contains(&step) {
            continue;
        }
        done.push(step);
        let figures = |result: &Latencies| {
            let latency = result.latency_us?;
            let values = [latency.min, latency.p50, latency.p99, latency.p999, latency.max];
            Some((result.load_pps as f64, values))
        };
        let of_step = steps.iter().filter(|result| result.step == *step);
        let rows: Vec<_> = of_step.filter_map(figures).collect();
        let line = |(at, name): (usize, &str)| Line {
            name: name.into(),
            points: rows.iter().map(|(x, values)| Point { x: *x, y: values[at], range: None }).collect(),
        };
        let mut lines: Vec<_> =
            ["min", "p50", "p99", "p99.9", "max"].into_iter().enumerate().map(line).collect();
        let frame = Frame {
            title: format!("Latency: {step}"),
            x: "load (packets/s)",
            y: "latency (microseconds)",
            logarithmic: true,
        };
        let size = step.size.to_string().replace([':', ','], "_");
        let name = format!("latency-{size}-{}-{}.svg", step.fanout, step.groups);
        plot(&folder.join(name), &frame, &mut lines)?;
    }
    Ok(())
}

fn line_name(step: &Step) -> String {
    let name = format!("fan-out {}, groups {}", step.fanout, step.groups);
    step.unicast_share.map_or(name.clone(), |share| format!("{name}, unicast {share} %"))
}
