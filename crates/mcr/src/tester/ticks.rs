//! What a plot has across: whole quantities, with numbers below that differ.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

/// Most spaces between the numbers.
const SPACES: f64 = 8.0;

/// The axis.
pub(super) struct Across {
    whole: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Across {
    /// From the lowest value to the highest, with room beside both.
    pub(super) fn new(x_min: f64, x_max: f64) -> Self {
        let margin = ((x_max - x_min).max(x_max * 0.1) * 0.05).max(0.1);
        let whole = ((x_min - margin).max(0.0)..x_max + margin).into();
        Self { whole, ticks: ticks(x_min, x_max) }
    }
}

impl Ranged for Across {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.whole.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.whole.range()
    }
}

/// Where numbers stand: whole ones, as all that is plotted over is whole, so that none is there twice.
fn ticks(x_min: f64, x_max: f64) -> Vec<f64> {
    if x_min >= x_max {
        return vec![x_max];
    }
    let least = ((x_max - x_min) / SPACES).max(1.0);
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= least);
    let step = step.unwrap_or(least);
    let (first, last) = ((x_min / step).ceil() as u64, (x_max / step).floor() as u64);
    if first > last { vec![x_max] } else { (first..=last).map(|at| at as f64 * step).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_differ() {
        for (x_min, x_max, expected) in [
            (106.0, 106.0, &[106.0][..]),
            (0.0, 0.0, &[0.0]),
            // Two mixes of sizes.
            (400.2, 400.7, &[400.7]),
            (1.0, 2.0, &[1.0, 2.0]),
            (1.0, 10.0, &[2.0, 4.0, 6.0, 8.0, 10.0]),
            (18.0, 1400.0, &[200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0, 1400.0]),
        ] {
            assert_eq!(ticks(x_min, x_max), expected, "{x_min} to {x_max}");
        }
    }
}
