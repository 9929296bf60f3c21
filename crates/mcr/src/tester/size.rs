//! How long the tester's payloads are: all of one size, or a mix with weights.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::generator::header::HEADER_BYTES;

/// Most payload a UDP datagram has over IPv4: 65,535 less both headers (RFC 768, RFC 791).
const PAYLOAD_MAX: usize = 65_507;

/// Largest weight in a mix: a cycle of the mix stays short against a trial.
const WEIGHT_MAX: u32 = 1000;

/// The simple IMIX in UDP payloads: 7 frames of 64 bytes, 4 of 594 and 1 of 1518 with the frame check sequence, over
/// IPv4 (RFC 6985, section 1, names the mixes in use).
const IMIX: [Part; 3] =
    [Part { size: 18, weight: 7 }, Part { size: 548, weight: 4 }, Part { size: 1472, weight: 1 }];

/// One size of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// UDP payload, bytes.
    pub size: usize,
    /// Packets of this size in each cycle of the mix.
    pub weight: u32,
}

/// The sizes of one test step: one, or several with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<Part>);

impl Mix {
    /// The parts, as they were written.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The longest payload, bytes.
    pub fn longest(&self) -> usize {
        self.0.iter().map(|part| part.size).max().unwrap_or(HEADER_BYTES)
    }

    /// Bytes of payload of a packet on average.
    pub fn mean(&self) -> f64 {
        let weights: u32 = self.0.iter().map(|part| part.weight).sum();
        let bytes: f64 = self.0.iter().map(|part| part.size as f64 * f64::from(part.weight)).sum();
        bytes / f64::from(weights)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            parts if parts == IMIX => f.write_str("imix"),
            [one] => write!(f, "{}", one.size),
            parts => {
                for (place, part) in parts.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{}", part.size, part.weight)?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Mix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => serializer.serialize_u64(one.size as u64),
            _ => serializer.collect_str(self),
        }
    }
}

/// Reads `LIST` (sizes and `imix`, each a step of its own) or `SIZE:WEIGHT,...` (one mix).
///
/// # Errors
/// In words for the operator.
pub fn parse_sizes(text: &str) -> Result<Vec<Mix>, String> {
    let weighted = |piece: &str| {
        let (size, weight) = piece.split_once(':').ok_or_else(|| {
            format!("{piece:?} has no weight: give one to each size of a mix, as in 18:7,548:4")
        })?;
        let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
        let weight =
            weight.ok_or_else(|| format!("{piece:?}: a weight is a number from 1 to {WEIGHT_MAX}"))?;
        Ok(Part { size: parse_size(size)?, weight })
    };
    if text.contains(':') {
        let parts: Vec<_> = text.split(',').map(weighted).collect::<Result<_, String>>()?;
        let twice =
            parts.iter().enumerate().find(|(at, part)| parts[..*at].iter().any(|p| p.size == part.size));
        return match twice {
            Some((_, part)) => Err(format!("size {} stands in the mix twice: give it one weight", part.size)),
            None => Ok(vec![Mix(parts)]),
        };
    }
    let single = |piece: &str| match piece {
        "imix" => Ok(Mix(IMIX.to_vec())),
        size => parse_size(size).map(|size| Mix(vec![Part { size, weight: 1 }])),
    };
    text.split(',').map(single).collect()
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|size| (HEADER_BYTES..=PAYLOAD_MAX).contains(size)).ok_or_else(|| {
        format!("{text:?} is no size: give {HEADER_BYTES} to {PAYLOAD_MAX} bytes of UDP payload, or imix")
    })
}

/// Which part of several with weights is next: smoothly interleaved, each its weight's times in a cycle.
#[derive(Debug, Clone)]
pub struct Turns {
    weights: Vec<i64>,
    credits: Vec<i64>,
    total: i64,
}

impl Turns {
    /// From the first of a cycle on.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<i64> = weights.into_iter().map(i64::from).collect();
        Self { credits: vec![0; weights.len()], total: weights.iter().sum(), weights }
    }

    /// Adds to `counts` how many of the next `packets` packets each part has.
    pub fn take(&mut self, packets: usize, counts: &mut [usize]) {
        if let [count] = counts {
            *count += packets;
            return;
        }
        for _ in 0..packets {
            let mut next = 0;
            for at in 0..self.credits.len() {
                self.credits[at] += self.weights[at];
                if self.credits[at] > self.credits[next] {
                    next = at;
                }
            }
            self.credits[next] -= self.total;
            counts[next] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<Vec<String>, String> {
        parse_sizes(text).map(|mixes| mixes.iter().map(Mix::to_string).collect())
    }

    #[test]
    fn lists_and_mixes() {
        assert_eq!(written("18,1472"), Ok(vec!["18".to_owned(), "1472".to_owned()]));
        assert_eq!(written("64,imix"), Ok(vec!["64".to_owned(), "imix".to_owned()]));
        assert_eq!(written("64:3,1400:1"), Ok(vec!["64:3,1400:1".to_owned()]));
        assert_eq!(written("18:7,548:4,1472:1"), Ok(vec!["imix".to_owned()]));
        let mix = &parse_sizes("100:3,500:1").unwrap()[0];
        assert_eq!((mix.longest(), mix.mean()), (500, 200.0));
    }

    #[test]
    fn json_is_a_number_or_text() {
        let json = |text| serde_json::to_string(&parse_sizes(text).unwrap()).unwrap();
        assert_eq!(json("18,imix"), r#"[18,"imix"]"#);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, says) in [
            ("17", "18 to 65507"),
            ("65508", "18 to 65507"),
            ("", "no size"),
            ("18,", "no size"),
            ("18:1,64", "no weight"),
            ("18:0", "a weight is"),
            ("18:1001", "a weight is"),
            ("18:1,18:2", "twice"),
            ("imix:3", "no size"),
        ] {
            let refusal = written(text).unwrap_err();
            assert!(refusal.contains(says), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn turns_are_interleaved() {
        let mut turns = Turns::new([3, 1]);
        let order: Vec<_> = (0..8)
            .map(|_| {
                let mut counts = [0, 0];
                turns.take(1, &mut counts);
                counts[1]
            })
            .collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    proptest! {
        /// After any number of packets each part has had its share, to one packet.
        #[test]
        fn shares_are_kept(
            weights in prop::collection::vec(1u32..1000, 1..5),
            bursts in prop::collection::vec(0usize..65, 1..50),
        ) {
            let mut turns = Turns::new(weights.iter().copied());
            let mut counts = vec![0; weights.len()];
            bursts.iter().for_each(|packets| turns.take(*packets, &mut counts));
            let (packets, total): (usize, u32) = (bursts.iter().sum(), weights.iter().sum());
            prop_assert_eq!(counts.iter().sum::<usize>(), packets);
            for (count, weight) in counts.iter().zip(&weights) {
                let share = packets as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((*count as f64 - share).abs() <= weights.len() as f64, "{} of {}", count, share);
            }
        }
    }
}
