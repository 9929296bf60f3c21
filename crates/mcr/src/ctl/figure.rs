//! Figures as an operator reads them: counts with thousands separators, sizes and rates with SI prefixes.

/// `6129022` as `6,129,022`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `5846937600` of unit `B` as `5.85 GB`: three digits that matter, decimal prefixes.
pub(super) fn si(value: u64, unit: &str) -> String {
    const PREFIXES: [(&str, u64); 6] = [
        ("E", 1_000_000_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("T", 1_000_000_000_000),
        ("G", 1_000_000_000),
        ("M", 1_000_000),
        ("k", 1_000),
    ];
    let Some((prefix, scale)) = PREFIXES.iter().find(|(_, scale)| value >= *scale) else {
        return format!("{value} {unit}");
    };
    let (whole, rest) = (value / scale, value % scale);
    // Cut, not rounded: 999,999 stays 999 k and never becomes 1000 k.
    let hundredths = u128::from(rest) * 100 / u128::from(*scale);
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {prefix}{unit}"),
        10..100 => format!("{whole}.{} {prefix}{unit}", hundredths / 10),
        _ => format!("{whole} {prefix}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (6_129_022, "6,129,022")] {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn prefixes_keep_three_digits() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_999, "999 kB"),
            (12_340_000, "12.3 MB"),
            (5_846_937_600, "5.84 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(si(value, "B"), text);
        }
    }
}
