//! An operator's interruption.

use std::fs;

use testbed::process::{Signal, Stream};
use testbed::{eventually, skip_unless_available};

use super::device::{Device, start};
use crate::cable::LONG;

/// What was measured so far is reported, and marked as not all.
#[test]
fn an_interruption_keeps_what_was_measured() {
    skip_unless_available!();
    let device = Device::new();
    let line =
        format!("latency {} --load 500,600 --trial 0.2 --repeat 3 --size 64,128,256,512", device.sides());
    let setup = format!("test $MCRGEN_SIZE -lt 128 || {{ echo next; exec sleep 50; }}; {}", device.setup());
    let mut bench = start(&line, &[("--setup", &setup)]);
    bench.wait_line(|line| line == "next", LONG);
    bench.signal(Signal::INT);
    assert_eq!(bench.wait(LONG).code(), Some(1));
    let lines = bench.lines();
    let printed = lines.iter().find(|line| line.stream == Stream::Stdout).unwrap();
    let document: serde_json::Value = serde_json::from_str(&printed.text).unwrap();
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["results"].as_array().unwrap().len(), 2, "{document:#}");
    assert_eq!(document["results"][1]["load_pps"], 600);
}

/// A set-up goes with all it started.
#[test]
fn an_interruption_ends_a_set_up() {
    skip_unless_available!();
    let device = Device::new();
    let mut bench =
        start(&format!("throughput {}", device.sides()), &[("--setup", "sleep 600 & echo pid $!; wait")]);
    let line = bench.wait_line(|line| line.starts_with("pid "), LONG);
    bench.signal(Signal::INT);
    assert_eq!(bench.wait(LONG).code(), Some(1));
    // One that has ended has no command line, whether anybody waited for it or not.
    let command_line = format!("/proc/{}/cmdline", &line["pid ".len()..]);
    eventually(LONG, "nothing of it runs", || fs::read(&command_line).unwrap_or_default().is_empty());
}
