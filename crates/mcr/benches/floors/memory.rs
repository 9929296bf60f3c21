//! What a worker has in memory once it has relayed by every one of many rules.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use testbed::Line;

use crate::traffic::{send, start_relay};

const PPS: &str = "20000";
const PACKETS_PER_RULE: u64 = 4;

/// Resident memory in MiB of the one worker with `rules` rules, without the packet rings.
pub(crate) fn worker_mib(rules: u32) -> Result<f64> {
    let line = Line::new("bench")?;
    let relay = start_relay(line.relay(), &rule_file(rules), 1)?;
    let options = ["--flows", &rules.to_string(), "--rate", PPS];
    let packets = u64::from(rules) * PACKETS_PER_RULE;
    send(line.sender.netns(), "239.1.0.0%s0:5000", &options, packets)?;
    let stats = relay.wait_stats(std::time::Duration::from_secs(30), |stats| {
        stats["totals"]["matched"].as_u64().is_some_and(|matched| matched >= packets)
    });
    let used = stats["rules"].as_array().context("rules in stats")?;
    ensure!(used.iter().all(|rule| rule["packets"] == PACKETS_PER_RULE), "a rule did not relay");
    let pid = stats["workers"][0]["pid"].as_u64().context("the worker's pid")?;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("the worker's memory map")?;
    let kib = resident_kib(&smaps);
    eprintln!("  {kib} KiB");
    Ok(kib as f64 / 1024.0)
}

/// One group in, one group out, for each rule.
fn rule_file(rules: u32) -> String {
    let group = |second: u8, number| Ipv4Addr::from_bits(Ipv4Addr::new(239, second, 0, 0).to_bits() + number);
    let rule = |number| {
        let (input, output) = (group(1, number), group(2, number));
        testbed::rule(&format!("r{number}"), &format!("{input}%r-in:5000"), &[format!("{output}%r-out:5000")])
    };
    (0..rules).map(rule).collect()
}

/// Sum of `Rss:` over all mappings but those of sockets, which are the rings (proc(5)).
fn resident_kib(smaps: &str) -> u64 {
    let mut is_ring = false;
    let mut kib = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if !is_ring => {
                kib += words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            // A mapping begins with its range of addresses and ends with its name.
            Some(range) if range.contains('-') => is_ring = line.contains("socket:["),
            _ => {}
        }
    }
    kib
}
