//! Queueing disciplines of the sender's own interface: what they keep back is no loss of the device's.

use serde_json::Value;
use testbed::skip_unless_available;

use super::device::{Device, bench, results, trials};

/// The kernel takes all of it, and what is held leaves later.
const HOLDING: &str = "tc qdisc add dev s0 root handle 1: tbf rate 2mbit burst 3000 limit 10000000";

fn shaped(disciplines: &[&str]) -> Device {
    let device = Device::new();
    disciplines.iter().for_each(|discipline| drop(device.fan.sender.netns().tool(discipline).unwrap()));
    device
}

#[test]
fn what_is_held_is_no_loss_and_no_rate() {
    skip_unless_available!();
    let device = shaped(&[HOLDING]);
    let line =
        format!("throughput {} --size 1000 --trial 0.3 --residual 0.1 --repeat 1 --most 400", device.sides());
    let result = &results(&line, &[("--setup", &device.setup())])[0];
    assert_eq!(result["limited_by"], "tester", "{result:#}");
    // In the time of a trial, its grace and one packet's more.
    let through = 2_000_000.0 / ((1000 + 42) * 8) as f64 * 0.32 / 0.3 + 4.0 / 0.3;
    assert!(result["pps"]["median"].as_f64().unwrap() <= through, "{result:#}");
    let first = &trials(result)[0];
    assert_eq!(first["verdict"], "void", "{first:#}");
    assert!(
        first["reason"].as_str().unwrap().contains("queueing discipline tbf on s0 still held"),
        "{first:#}"
    );
    assert!(trials(result).iter().all(|trial| trial["verdict"] != "lost"), "{result:#}");
}

/// The kernel says of none of these that they were dropped.
#[test]
fn what_is_dropped_without_a_word_is_no_loss() {
    skip_unless_available!();
    let device = shaped(&[HOLDING, "tc qdisc add dev s0 parent 1: pfifo_head_drop limit 5"]);
    let line = format!(
        "latency {} --size 1000 --load 2000,100 --trial 0.2 --residual 0.1 --repeat 1",
        device.sides()
    );
    let finished = bench(&line, &[("--setup", &device.setup())]);
    let report = finished.json();
    let trial = |at: usize| &report["results"][at]["trials"][0];
    let (dropped, passed) = (trial(0), trial(1));
    assert_eq!((&dropped["verdict"], &dropped["refused"]), (&"void".into(), &0.into()), "{dropped:#}");
    let reason = dropped["reason"].as_str().unwrap();
    assert!(reason.contains("queueing discipline tbf on s0 dropped"), "{reason}");
    assert_eq!((&passed["verdict"], &passed["reason"]), (&"passed".into(), &Value::Null), "{passed:#}");
}

/// A shaper that is a little too slow: all leaves in time, at the end some of it late.
#[test]
fn what_waits_has_no_latency() {
    skip_unless_available!();
    let device = shaped(&[HOLDING]);
    let sides = device.sides();
    let line = format!("{sides} --size 1000 --trial 1 --residual 0.1 --repeat 1");
    let setup = device.setup();
    let waits =
        |reason: &Value| reason.as_str().is_some_and(|reason| reason.contains("tbf on s0 made packets wait"));

    let finished = bench(&format!("latency --load 242,100 {line}"), &[("--setup", &setup)]);
    let report = finished.json();
    let [late, prompt] = [0, 1].map(|at| &report["results"][at]);
    assert!(late["latency_us"].is_null() && waits(&late["trials"][0]["reason"]), "{late:#}");
    assert!(prompt["latency_us"]["p50"].is_number(), "{prompt:#}");

    // A host without an interface is sent to by the route.
    let host = sides.replace("239.1.1.1%s0", "10.10.1.1");
    let host = format!("latency {host} --size 1000 --load 242 --trial 1 --residual 0.1 --repeat 1");
    let named = device.setup_through("sed 's/10.10.1.1:/10.10.1.1%r-in:/'");
    let late = &bench(&host, &[("--setup", &named)]).json()["results"][0];
    assert!(late["latency_us"].is_null() && waits(&late["trials"][0]["reason"]), "{late:#}");

    let folder = device.folder();
    let line = format!("throughput --most 242 --out {folder} {line}");
    let result = &results(&line, &[("--setup", &setup)])[0];
    assert_eq!(result["limited_by"], "most", "{result:#}");
    let trial = &trials(result)[0];
    assert!(trial["latency_us"].is_null() && waits(&trial["untimed"]), "{trial:#}");
    let table = std::fs::read_to_string(format!("{folder}/table.md")).unwrap();
    assert!(table.contains("no latency: limited by the tester"), "{table}");
}

/// Nor is a flow missing at the device whose probes are still here.
#[test]
fn what_is_held_is_not_looked_for_at_the_device() {
    skip_unless_available!();
    let device = shaped(&["tc qdisc add dev s0 root tbf rate 16kbit burst 3000 limit 10000000"]);
    let line =
        format!("throughput {} --size 1000 --groups 20 --trial 0.1 --repeat 1 --wait 0.5", device.sides());
    let finished = bench(&line, &[("--setup", &device.setup())]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let error = finished.json()["results"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("limited by the tester, whose queueing discipline tbf on s0"), "{error}");
}

/// Delays would be the queue's.
#[test]
fn behind_a_queue_nothing_is_timed() {
    skip_unless_available!();
    let device = shaped(&[HOLDING]);
    let join = device.ctl("add feed 239.1.1.1%r-in:5000 239.2.1.1%r-out1:6000");
    let line = format!("join {} --size 1000 --load 1000 --repeat 1", device.sides());
    let finished = bench(&line, &[("--join", &join), ("--leave", &device.ctl("remove feed"))]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let result = &finished.json()["results"][0];
    assert!(result["error"].as_str().unwrap().contains("limited by the tester"), "{result:#}");
    assert_eq!((&result["rounds"], &result["join_us"]), (&serde_json::json!([]), &Value::Null), "{result:#}");
}
