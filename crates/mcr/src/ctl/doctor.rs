//! What the doctor found, as an operator reads it.

use std::fmt::Write;

use super::figure::count;
use super::table::printable;
use crate::api::model::{Diagnosis, Finding, Verdict};

/// The widest name of a check.
const CHECK_WIDTH: usize = 16;

/// `doctor`: every check with `whole`, else those alone that are not in order.
pub(super) fn diagnosis(diagnosis: &Diagnosis, whole: bool) -> String {
    let mut text = String::new();
    for rule in &diagnosis.rules {
        section(&mut text, &format!("{}  {}", rule.name, rule.input), &rule.checks, whole);
    }
    section(&mut text, "host", &diagnosis.host, whole);
    let all = || diagnosis.rules.iter().flat_map(|rule| &rule.checks).chain(&diagnosis.host);
    let of = |verdict| count(all().filter(|finding| finding.verdict == verdict).count() as u64);
    let rules = count(diagnosis.rules.len() as u64);
    let (failed, warned) = (of(Verdict::Fail), of(Verdict::Warn));
    let _ = writeln!(text, "rules examined: {rules}, checks failed: {failed}, warnings: {warned}");
    if diagnosis.left_out > 0 {
        let left_out = count(diagnosis.left_out);
        let _ = writeln!(text, "rules left out: {left_out}; name one to have it examined");
    }
    text
}

fn section(text: &mut String, title: &str, findings: &[Finding], whole: bool) {
    let shown = |finding: &&Finding| whole || matches!(finding.verdict, Verdict::Warn | Verdict::Fail);
    let mut findings = findings.iter().filter(shown).peekable();
    if findings.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{}", printable(title));
    let mut output = None;
    for finding in findings {
        if finding.output != output {
            output.clone_from(&finding.output);
            let _ = writeln!(text, "  to {}", printable(output.as_deref().unwrap_or_default()));
        }
        let (verdict, evidence) = (word(finding.verdict), printable(&finding.evidence));
        let _ = writeln!(text, "  {verdict:<4}  {:<CHECK_WIDTH$}  {evidence}", printable(&finding.check));
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "  {:<4}  {:<CHECK_WIDTH$}  -> {}", "", "", printable(&finding.remedy));
        }
    }
    text.push('\n');
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
        Verdict::Skip => "-",
    }
}
