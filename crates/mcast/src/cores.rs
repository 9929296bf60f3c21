//! A list of processor cores, as operators write it: `0,2-3`.

use std::fmt;
use std::str::FromStr;

use crate::endpoint::parse_decimal;

/// Highest core number a list may have: what a `cpu_set_t` holds (CPU_SET(3)).
const CORE_MAX: u32 = 1023;

/// Cores in ascending order, each once, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CoreList(Vec<u32>);

/// Why a text is not a list of cores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreListError {
    /// A piece is neither a number nor a range.
    #[error("{0:?} is not a core or a range of cores: write cores from 0 to {CORE_MAX} as in \"0,2-3\"")]
    Piece(String),
    /// A range runs downwards.
    #[error("the range {0:?} runs downwards: write the lower core first, as in \"2-3\"")]
    Downwards(String),
    /// One core twice.
    #[error("core {0} is listed twice: list each core once")]
    Twice(u32),
}

impl CoreList {
    /// The cores, ascending.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<Self, CoreListError> {
        let mut listed = [false; CORE_MAX as usize + 1];
        for piece in text.split(',') {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let bound = |bound: &str| {
                parse_decimal(bound, CORE_MAX).ok_or_else(|| CoreListError::Piece(piece.to_owned()))
            };
            let (first, last) = (bound(first)?, bound(last)?);
            if first > last {
                return Err(CoreListError::Downwards(piece.to_owned()));
            }
            for core in first..=last {
                if std::mem::replace(&mut listed[core as usize], true) {
                    return Err(CoreListError::Twice(core));
                }
            }
        }
        Ok(Self((0..=CORE_MAX).filter(|&core| listed[core as usize]).collect()))
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|core, next| core + 1 == *next);
        for (place, run) in runs.enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match run {
                [first, .., last] => write!(f, "{first}-{last}")?,
                _ => write!(f, "{}", run[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::CoreList;

    #[test]
    fn lists_are_sorted_and_folded() {
        for (text, cores, written) in [
            ("0", &[0][..], "0"),
            ("0,2-3", &[0, 2, 3], "0,2-3"),
            ("3,1,2", &[1, 2, 3], "1-3"),
            ("1023", &[1023], "1023"),
        ] {
            let list: CoreList = text.parse().unwrap();
            assert_eq!(list.as_slice(), cores);
            assert_eq!(list.to_string(), written);
        }
    }

    #[test]
    fn bad_lists_are_refused_with_the_remedy() {
        for (text, words) in [
            ("", "\"\" is not a core"),
            ("0,", "\"\" is not a core"),
            ("a", "as in \"0,2-3\""),
            ("1024", "from 0 to 1023"),
            ("0-", "\"0-\" is not a core"),
            ("+1", "\"+1\" is not a core"),
            ("3-2", "runs downwards"),
            ("0-2,1", "core 1 is listed twice"),
        ] {
            let message = text.parse::<CoreList>().unwrap_err().to_string();
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }
}
