//! Findings as checks make them, and their words for lists.

use crate::api::model::{Finding, Verdict};

/// Things named in one line of evidence.
const NAMED_MAX: usize = 4;

fn finding(check: &str, verdict: Verdict, evidence: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        check: check.to_owned(),
        output: None,
        verdict,
        evidence: evidence.into(),
        remedy: remedy.into(),
    }
}

/// Nothing stands in the way.
pub(super) fn ok(check: &str, evidence: impl Into<String>) -> Finding {
    finding(check, Verdict::Ok, evidence, "")
}

/// It costs something, or some packets.
pub(super) fn warn(check: &str, evidence: impl Into<String>, remedy: impl Into<String>) -> Finding {
    finding(check, Verdict::Warn, evidence, remedy)
}

/// It keeps packets from being relayed.
pub(super) fn fail(check: &str, evidence: impl Into<String>, remedy: impl Into<String>) -> Finding {
    finding(check, Verdict::Fail, evidence, remedy)
}

/// All of something is concerned, or only a part of it.
pub(super) fn fail_if(
    all: bool,
    check: &str,
    evidence: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    finding(check, if all { Verdict::Fail } else { Verdict::Warn }, evidence, remedy)
}

/// It could not be looked at.
pub(super) fn skip(check: &str, evidence: impl Into<String>) -> Finding {
    finding(check, Verdict::Skip, evidence, "")
}

/// The first few, and how many more there are.
pub(super) fn listed(all: impl IntoIterator<Item = impl ToString>) -> String {
    let mut all = all.into_iter();
    let named: Vec<String> = all.by_ref().take(NAMED_MAX).map(|one| one.to_string()).collect();
    match all.count() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `1 packet`, `2 packets`.
pub(super) fn packets(count: u64) -> String {
    if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(1..=6), "1, 2, 3, 4 and 2 more");
        assert_eq!(listed([""; 0]), "");
    }
}
