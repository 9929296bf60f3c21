//! An operator's interruption.

use std::fs;

use serde_json::Value;
use testbed::process::Signal;
use testbed::{eventually, skip_unless_available};

use super::device::{Device, report, start};
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
    let document = report(&bench);
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["results"].as_array().unwrap().len(), 2, "{document:#}");
    assert_eq!(document["results"][1]["load_pps"], 600);
}

/// So are the trials of a search that has found nothing yet.
#[test]
fn an_interruption_keeps_trials() {
    skip_unless_available!();
    let device = Device::new();
    device.fan.relay().tool("tc qdisc add dev r-out1 root tbf rate 1mbit burst 3000 limit 3000").unwrap();
    let line = format!("throughput {} --fanout 2 --size 1000 --most 8000 --trial 0.5", device.sides());
    let mut bench = start(&line, &[("--setup", &device.setup())]);
    let failed = bench.wait_line(|line| line.ends_with(": failed"), LONG);
    // Half of that is none of the other output's.
    assert!(failed.contains("at the worst output"), "{failed}");
    bench.signal(Signal::INT);
    assert_eq!(bench.wait(LONG).code(), Some(1));
    let report = report(&bench);
    assert_eq!(report["interrupted"], true, "{report:#}");
    let result = &report["results"][0];
    assert_eq!((&result["repeats"], &result["pps"]), (&serde_json::json!([]), &Value::Null), "{report:#}");
    assert_eq!(result["unfinished"][0]["verdict"], "lost", "{report:#}");
}

/// One that takes long is told when it begins, and ended at once.
#[test]
fn an_interruption_ends_a_long_trial() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --most 500 --trial 600", device.sides());
    let mut bench = start(&line, &[("--setup", &device.setup())]);
    bench.wait_line(|line| line.ends_with("offering 500 pps for 600 s"), LONG);
    bench.signal(Signal::INT);
    assert_eq!(bench.wait(LONG).code(), Some(1));
}

/// A set-up goes with all it started.
#[test]
fn an_interruption_ends_a_set_up() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    fs::create_dir(&folder).unwrap();
    let results = format!("{folder}/results.json");
    fs::write(&results, "an earlier run's").unwrap();
    for test in ["throughput", "capacity"] {
        let line = format!("{test} {} --out {folder}", device.sides());
        let mut bench = start(&line, &[("--setup", "sleep 600 & echo pid $!; wait")]);
        let line = bench.wait_line(|line| line.starts_with("pid "), LONG);
        bench.signal(Signal::INT);
        assert_eq!(bench.wait(LONG).code(), Some(1));
        assert_eq!(fs::read_to_string(&results).unwrap(), "an earlier run's", "nothing was measured");
        // One that has ended has no command line, whether anybody waited for it or not.
        let command_line = format!("/proc/{}/cmdline", &line["pid ".len()..]);
        eventually(LONG, "nothing of it runs", || fs::read(&command_line).unwrap_or_default().is_empty());
    }
}
