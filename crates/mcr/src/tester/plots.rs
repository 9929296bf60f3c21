//! What each kind of measurement has in its plots: throughput by what is varied, percentiles of latency by
//! load.

use std::path::Path;

use super::error::TesterError;
use super::latency::Latencies;
use super::plot::{Frame, Line, Point, plot};
use super::search::LimitedBy;
use super::step::Step;
use super::throughput::Throughput;

/// What throughput is plotted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Size,
    Groups,
    Fanout,
    Share,
}

impl Axis {
    /// The first of which there are several values, sizes before all else; sizes too where nothing is varied.
    fn of(steps: &[&Step]) -> Self {
        let varied = |axis: &Self| {
            let mut values = steps.iter().map(|step| axis.value(step));
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        [Self::Size, Self::Groups, Self::Fanout, Self::Share].into_iter().find(varied).unwrap_or(Self::Size)
    }

    fn value(self, step: &Step) -> f64 {
        match self {
            Self::Size => step.size.mean(),
            Self::Groups => step.groups.into(),
            Self::Fanout => step.fanout.into(),
            Self::Share => step.unicast_share.unwrap_or_default().into(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Size => "UDP payload (bytes, of a mix the mean)",
            Self::Groups => "groups",
            Self::Fanout => "fan-out",
            Self::Share => "unicast (% of packets)",
        }
    }

    /// All else of a step.
    fn line_name(self, step: &Step) -> String {
        let parts = [
            (Self::Size, Some(format!("size {}", step.size))),
            (Self::Fanout, Some(format!("fan-out {}", step.fanout))),
            (Self::Groups, Some(format!("groups {}", step.groups))),
            (Self::Share, step.unicast_share.map(|share| format!("unicast {share} %"))),
        ];
        let others = parts.into_iter().filter(|(axis, _)| *axis != self).filter_map(|(_, part)| part);
        others.collect::<Vec<_>>().join(", ")
    }
}

/// Throughput by size, or by what is varied at one size, with a line for each combination of all else; nothing where
/// there is no result.
///
/// # Errors
/// When it cannot be written.
pub(super) fn throughput(path: &Path, steps: &[Throughput]) -> Result<(), TesterError> {
    let axis = Axis::of(&steps.iter().map(|result| &result.step).collect::<Vec<_>>());
    let mut lines: Vec<Line> = Vec::new();
    for result in steps {
        let Some(pps) = result.pps else { continue };
        let name = axis.line_name(&result.step);
        let point = Point {
            x: axis.value(&result.step),
            y: pps.median,
            range: Some((pps.min, pps.max)),
            at_least: result.limited_by != Some(LimitedBy::Device),
        };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name, points: vec![point] }),
        }
    }
    let frame = Frame {
        title: "Throughput: median, lowest and highest".into(),
        x: axis.name(),
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
            points: rows
                .iter()
                .map(|(x, values)| Point { x: *x, y: values[at], range: None, at_least: false })
                .collect(),
        };
        let mut lines: Vec<_> =
            ["min", "p50", "p99", "p99.9", "max"].into_iter().enumerate().map(line).collect();
        let frame = Frame {
            title: format!("Latency: {step}"),
            x: "load (packets/s)",
            y: "latency (microseconds)",
            logarithmic: true,
        };
        plot(&folder.join(latency_name(step)), &frame, &mut lines)?;
    }
    Ok(())
}

/// The file of a step's latencies.
pub(super) fn latency_name(step: &Step) -> String {
    let size = step.size.to_string().replace([':', ','], "_");
    format!("latency-{size}-{}-{}.svg", step.fanout, step.groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::size::parse_sizes;

    fn steps(sizes: &str, fanouts: &[u16], groups: &[u16], shares: &[Option<u8>]) -> Vec<Step> {
        let mut steps = Vec::new();
        for size in parse_sizes(sizes).unwrap() {
            for &fanout in fanouts {
                for &groups in groups {
                    let step = |&unicast_share| Step { size: size.clone(), fanout, groups, unicast_share };
                    steps.extend(shares.iter().map(step));
                }
            }
        }
        steps
    }

    #[test]
    fn plotted_over_what_is_varied() {
        for (steps, axis, first_line) in [
            (steps("18,64", &[1, 2], &[1, 10], &[None]), Axis::Size, "fan-out 1, groups 1"),
            (steps("18", &[1, 2], &[1, 10], &[None]), Axis::Groups, "size 18, fan-out 1"),
            (steps("imix", &[1, 2], &[5], &[None]), Axis::Fanout, "size imix, groups 5"),
            (steps("18", &[1], &[1], &[Some(0), Some(50)]), Axis::Share, "size 18, fan-out 1, groups 1"),
            (steps("18", &[3], &[1], &[Some(50)]), Axis::Size, "fan-out 3, groups 1, unicast 50 %"),
        ] {
            assert_eq!(Axis::of(&steps.iter().collect::<Vec<_>>()), axis);
            assert_eq!(axis.line_name(&steps[0]), first_line);
        }
    }
}
