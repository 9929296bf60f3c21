//! What repeats of a measurement come to.

use serde::Serialize;

/// Median and spread of repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle; of an even number the mean of the two.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Of these values; absent where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { sorted[half - 1].midpoint(sorted[half]) };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians() {
        let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    proptest! {
        #[test]
        fn as_many_above_as_below(values in prop::collection::vec(-1e9f64..1e9, 1..40)) {
            let spread = Spread::of(&values).unwrap();
            let above = values.iter().filter(|value| **value > spread.median).count();
            let below = values.iter().filter(|value| **value < spread.median).count();
            prop_assert!(above <= values.len() / 2 && below <= values.len() / 2);
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
            prop_assert!(values.contains(&spread.min) && values.contains(&spread.max));
        }
    }
}
