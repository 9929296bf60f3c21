use clap::Parser as _;

use super::*;
use crate::generator::args::{Cli, Verb};
use crate::tester::join::Round;
use crate::tester::size::parse_sizes;
use crate::tester::throughput::{Repeat, summary};

fn options(line: &str) -> Bench {
    let line = format!("mcrgen bench {line} --tx 239.1.1.1%s0:5000 --rx 239.2.1.1%d0:6000");
    match Cli::parse_from(line.split_whitespace()).verb {
        Verb::Bench(options) => *options,
        other => panic!("{other:?}"),
    }
}

fn step() -> Step {
    Step { size: parse_sizes("64").unwrap().remove(0), fanout: 1, groups: 3, unicast_share: None }
}

/// The cells of a table's only row.
fn cells(table: &Table) -> Vec<String> {
    let markdown = table.to_markdown();
    let rows: Vec<_> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
    let [_, row] = rows[..] else { panic!("{markdown}") };
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn what_nobody_knows_is_a_dash() {
    let result = Latencies {
        step: step(),
        load_pps: 500,
        latency_us: None,
        p50_us: None,
        p99_us: None,
        path: String::new(),
        counts: Counts::default(),
        void_trials: 0,
        trials: Vec::new(),
        error: Some("nothing came".into()),
    };
    let table = Table::of_latency(&options("latency"), &[result]);
    let cells = cells(&table);
    assert_eq!(cells[..4], ["64", "1", "3", "500"]);
    assert_eq!(cells[4..13], ["–"; 9], "{cells:?}");
    assert!(table.to_text().contains("nothing came"));
}

#[test]
fn a_capacity_that_was_not_tried_is_a_dash() {
    let mut result = Capacity {
        step: Step { groups: 0, ..step() },
        failed_at: None,
        why: None,
        limited_by: Some(LimitedBy::Tester),
        load_pps: 10,
        attempts: Vec::new(),
        error: Some("no room".into()),
    };
    let row = |result: &Capacity| {
        let table = Table::of_capacity(&options("capacity"), std::slice::from_ref(result));
        (cells(&table)[3].clone(), table.to_text())
    };
    let (groups, text) = row(&result);
    assert!(groups == "–" && text.contains("size 64, fan-out 1: no room"), "{text}");
    (result.failed_at, result.limited_by) = (Some(1), Some(LimitedBy::Device));
    assert_eq!(row(&result).0, "0", "not even one");
}

fn delays(rounds: &[[f64; 2]], resolution_us: f64) -> Delays {
    let of = |at: usize| Spread::of(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    let round = |round: &[f64; 2]| Round {
        join_us: vec![round[0]],
        join_from_end_us: Vec::new(),
        leave_us: vec![round[1]],
        leave_from_end_us: Vec::new(),
    };
    Delays {
        step: step(),
        load_pps: 2,
        resolution_us,
        by: "membership",
        join_us: of(0),
        join_from_end_us: None,
        leave_us: of(1),
        leave_from_end_us: None,
        rounds: rounds.iter().map(round).collect(),
        error: None,
    }
}

#[test]
fn fewer_repeats_than_asked_for_are_said() {
    let text = |repeats: usize| {
        let result = delays(&vec![[5000.0, 7000.0]; repeats], 100.0);
        Table::of_join(&options("join --repeat 3"), &[result]).to_text()
    };
    assert!(text(2).contains("size 64, fan-out 1, groups 3: of 2 repeats only, not 3."), "{}", text(2));
    assert!(!text(3).contains("only"), "{}", text(3));
    // Its dashes say so.
    assert!(!text(0).contains("only"), "{}", text(0));
}

/// Packets 1.5 s apart: of a leave after the last of them nobody knows more.
#[test]
fn a_leave_between_two_packets_is_below_their_distance() {
    let cell = |rounds: &[[f64; 2]]| {
        let table = Table::of_join(&options("join --repeat 1"), &[delays(rounds, 1_500_000.0)]);
        (cells(&table)[6].clone(), table.to_text())
    };
    let (leave, text) = cell(&[[3000.0, 0.0]]);
    assert_eq!(leave, "< 1500.000 (< 1500.000 – < 1500.000)");
    assert!(text.contains("<: no packet came after the leave"), "{text}");
    let (leave, _) = cell(&[[3000.0, 0.0], [3000.0, 7000.0], [3000.0, 9000.0]]);
    assert_eq!(leave, "7.000 (< 1500.000 – 9.000)");
    let (leave, text) = cell(&[[3000.0, 7000.0]]);
    assert_eq!(leave, "7.000 (7.000 – 7.000)");
    assert!(!text.contains('<'), "{text}");
}

/// Seen from the command's end a packet before its start says as little, and one in between is known.
#[test]
fn a_leave_is_seen_from_its_commands_end_too() {
    let mut result = delays(&[[3000.0, 0.0]], 100_000.0);
    let from_end = |us: f64| Spread::of(&[us]);
    result.leave_from_end_us = from_end(-70_000.0);
    let cell =
        |result: &Delays| cells(&Table::of_join(&options("join"), std::slice::from_ref(result)))[7].clone();
    assert_eq!(cell(&result), "< 100.000 (< 100.000 – < 100.000)");
    result.leave_us = from_end(2000.0);
    result.leave_from_end_us = from_end(-3000.0);
    assert_eq!(cell(&result), "-3.000 (-3.000 – -3.000)");
}

/// All that came late is no loss that a longer wait would not tell from one.
#[test]
fn a_rate_of_nothing_with_strays_names_the_residual() {
    let text = |pps: f64| {
        let repeat = Repeat { pps, limited_by: LimitedBy::Device, trials: Vec::new() };
        let mut result = summary(&step(), vec![repeat], Vec::new(), None);
        result.counts.stray = 7;
        Table::of_throughput(&options("throughput"), &[result]).to_text()
    };
    assert!(text(0.0).contains("later than --residual"), "{}", text(0.0));
    assert!(!text(900.0).contains("later than --residual"), "{}", text(900.0));
}

/// What limits the median is marked; what limited other repeats is said.
#[test]
fn repeats_that_were_limited_otherwise_are_said() {
    let text = |limits: &[LimitedBy]| {
        let repeat =
            |limited_by: &LimitedBy| Repeat { pps: 900.0, limited_by: *limited_by, trials: Vec::new() };
        let result = summary(&step(), limits.iter().map(repeat).collect(), Vec::new(), None);
        Table::of_throughput(&options("throughput"), &[result]).to_text()
    };
    let mixed = text(&[LimitedBy::Device, LimitedBy::Device, LimitedBy::Tester]);
    assert!(!mixed.contains(">="), "{mixed}");
    assert!(mixed.contains("1 of 3 repeats were limited by the tester."), "{mixed}");
    assert!(mixed.contains("2 of 3 repeats were limited by the device."), "{mixed}");
    let alike = text(&[LimitedBy::Tester; 3]);
    assert!(alike.contains(">= 900") && alike.contains("the tester's limit"), "{alike}");
    assert!(!alike.contains("repeats were limited"), "{alike}");
}
