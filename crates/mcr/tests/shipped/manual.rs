//! The manual pages list what there is: every option and verb, every reason, every path, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use dataplane::drop_reason::{DropReason, Ledger};
use mcast::RuleFile;

use crate::help::Help;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man");

/// Each program with its page.
const PROGRAMS: [(&str, &str); 3] = [
    (env!("CARGO_BIN_EXE_mcrd"), "mcrd.8"),
    (env!("CARGO_BIN_EXE_mcrctl"), "mcrctl.1"),
    (env!("CARGO_BIN_EXE_mcrgen"), "mcrgen.1"),
];

fn page(name: &str) -> String {
    fs::read_to_string(format!("{FOLDER}/{name}")).unwrap()
}

fn pages() -> Vec<String> {
    fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The options in a line of mdoc(7), as in `Oo Fl -engine Ar ENGINE Oc` or `Fl h , -help`.
fn options(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut macros = line.split_whitespace().peekable();
    while let Some(word) = macros.next() {
        if let Some(long) = word.strip_prefix('-') {
            let value = macros.next_if_eq(&"Ar").and_then(|_| macros.next());
            found.push(value.map_or_else(|| format!("--{long}"), |value| format!("--{long} {value}")));
        }
    }
    found
}

/// What a page lists: options outside verbs, and each verb with its own.
struct Listed {
    options: BTreeSet<String>,
    verbs: Vec<(String, BTreeSet<String>)>,
}

impl Listed {
    fn on(page: &str) -> Self {
        let mut listed = Self { options: BTreeSet::new(), verbs: Vec::new() };
        for line in page.lines() {
            if let Some(verb) = line.strip_prefix(".It Cm ") {
                let (name, rest) = verb.split_once(' ').unwrap_or((verb, ""));
                listed.verbs.push((name.to_owned(), options(rest).into_iter().collect()));
            } else if let Some(item) = line.strip_prefix(".It Fl ") {
                let own = listed.verbs.last_mut().map_or(&mut listed.options, |(_, options)| options);
                own.extend(options(item));
            }
        }
        listed
    }
}

#[test]
fn options_and_verbs_are_those_of_help() {
    for (program, name) in PROGRAMS {
        let (listed, help) = (Listed::on(&page(name)), Help::of(program, None));
        assert_eq!(listed.options, help.options, "{name}");
        let verbs: BTreeSet<_> = listed.verbs.iter().map(|(verb, _)| verb.clone()).collect();
        assert_eq!(verbs, help.verbs, "{name}");
        assert_eq!(verbs.len(), listed.verbs.len(), "{name}: a verb stands there twice");
        for (verb, options) in listed.verbs.iter().filter(|(verb, _)| verb != "help") {
            let own: BTreeSet<_> =
                Help::of(program, Some(verb)).options.difference(&help.options).cloned().collect();
            assert_eq!(options, &own, "{name}: {verb}");
        }
    }
}

#[test]
fn the_synopsis_has_every_option() {
    let text = page("mcrd.8");
    let synopsis = text.split_once(".Sh SYNOPSIS").unwrap().1.split_once(".Sh").unwrap().0;
    let listed: BTreeSet<_> = synopsis.lines().flat_map(options).collect();
    assert_eq!(listed, Help::of(PROGRAMS[0].0, None).options);
}

/// The items of the list after this heading, each with what stands between its first word and the next line.
fn items(page: &str, heading: &str, start: &str) -> Vec<(String, String)> {
    let section = page.split_once(&format!(" {heading}\n")).unwrap().1;
    let list = section.split_once("\n.El").unwrap().0;
    let item = |line: &str| {
        let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    list.lines().filter_map(item).collect()
}

#[test]
fn reasons_are_those_that_are_counted() {
    let ledger = |ledger| match ledger {
        Ledger::ParseErr => "Pq parse_err",
        Ledger::NoMatch => "Pq no_match",
        Ledger::BufExhaust => "Pq buf_exhaust",
        Ledger::Matched => "Pq matched",
    };
    let counted: Vec<_> = DropReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), ledger(reason.ledger()).to_owned()))
        .collect();
    assert_eq!(items(&page("mcrd.8"), "Why a packet was not relayed", ".It Sy "), counted);
}

#[test]
fn paths_are_those_that_are_served() {
    let served: Vec<_> =
        mcr::api::ROUTES.iter().map(|(path, methods)| ((*path).to_owned(), format!(": {methods}"))).collect();
    assert_eq!(items(&page("mcrd.8"), "CONTROL INTERFACE", ".It Pa "), served);
}

#[test]
fn checks_are_those_that_doctor_makes() {
    let text = page("mcrctl.1");
    let section = text.split_once(".Sh CHECKS").unwrap().1.split_once("\n.Sh").unwrap().0;
    let items = section.lines().filter_map(|line| line.strip_prefix(".It Sy "));
    let listed: Vec<_> = items.flat_map(|item| item.split(" , ")).collect();
    assert_eq!(listed, mcr::doctor::CHECKS);
}

#[test]
fn examples_of_rules_are_valid() {
    let text = page("mcr.toml.5");
    let blocks = text
        .split(".Bd ")
        .skip(1)
        .map(|block| block.split_once('\n').unwrap().1.split_once("\n.Ed").unwrap().0);
    let files: Vec<_> = blocks.filter(|block| block.starts_with("[[rule]]")).collect();
    assert_eq!(files.len(), 4, "the page's examples are found");
    for file in files {
        let read = RuleFile::parse(file).unwrap_or_else(|error| panic!("{error} in {file}"));
        assert!(!read.rules.is_empty());
    }
}

#[test]
fn pages_are_sound_and_refer_to_pages_that_are_there() {
    let pages = pages();
    assert_eq!(pages.len(), 4, "{pages:?}");
    for name in &pages {
        let lint =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning", name]).current_dir(FOLDER).output();
        let lint = lint.unwrap_or_else(|error| panic!("mandoc: {error}: scripts/deps test installs it"));
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));
        for reference in page(name).lines().filter_map(|line| line.strip_prefix(".Xr mcr")) {
            let [rest, section] = reference.split(' ').take(2).collect::<Vec<_>>()[..] else {
                panic!("{reference}")
            };
            assert!(pages.contains(&format!("mcr{rest}.{section}")), "{name}: {reference}");
        }
    }
}
