use clap::Parser as _;

use super::*;
use crate::generator::args::{Cli, Verb};
use crate::tester::size::parse_sizes;

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
