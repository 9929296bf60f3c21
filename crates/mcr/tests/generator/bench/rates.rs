//! Throughput and latency: what a device of known rate comes to, what is counted, and what is written.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testbed::{Daemon, Line, skip_unless_available};

use super::device::{Device, bench, results, trials};
use crate::cable::LONG;

/// What `(size + headers) * 8` bits leave a tbf in packets a second.
const LIMIT_PPS: f64 = 1000.0;
const SIZE: usize = 1000;
const FRAME_BITS: usize = (SIZE + 28 + 14) * 8;

/// The queue in front of the device's rate holds some packets over: that is all that a short trial finds too much.
#[test]
fn a_devices_rate_is_found() {
    skip_unless_available!();
    let device = Device::new();
    let (bits, limit) = (FRAME_BITS * LIMIT_PPS as usize, 70 * FRAME_BITS / 8);
    let queue = format!("tc qdisc add dev r-out1 root tbf rate {bits} burst 3000 limit {limit}");
    device.fan.relay().tool(&queue).unwrap();
    let line = format!("throughput {} --size {SIZE} --trial 0.5 --repeat 1 --most 8000", device.sides());
    // Its queue is short, and each trial that loses some waits.
    let line = line + " --residual 0.5";
    let result = &results(&line, &[("--setup", &device.setup())])[0];
    assert_eq!(result["limited_by"], "device", "{result:#}");
    let pps = result["pps"]["median"].as_f64().unwrap();
    let queued = 75.0 / 0.5;
    assert!(pps > 0.0 && pps < (LIMIT_PPS + queued) * 1.02, "{pps} pps");
    let trials = trials(result);
    assert_eq!(trials[0]["asked_pps"], 8000);
    for trial in &trials {
        let number = |key: &str| trial[key].as_u64().unwrap();
        assert_eq!(number("received") + number("lost"), number("expected"), "{trial:#}");
        assert_eq!(number("expected"), number("sent"), "{trial:#}");
        if trial["verdict"] == "passed" {
            assert_eq!(number("lost"), 0, "{trial:#}");
        }
    }
    assert!(trials.iter().any(|trial| trial["verdict"] == "lost"), "{trials:#?}");
    // Half of the packets may be lost: then the same device passes what it refused before.
    let lax = &results(&format!("{line} --loss 0.5"), &[("--setup", &device.setup())])[0];
    let offered = lax["pps"]["median"].as_f64().unwrap();
    assert!(offered > 1.2 * pps, "{lax:#}");
    // What is lost is not forwarded, and what was queued takes its time.
    let forwarded = lax["forwarded_pps"].as_f64().unwrap();
    assert!(forwarded > 0.4 * offered && forwarded < (LIMIT_PPS + 3.0 / 0.5) * 1.02, "{lax:#}");
}

/// A device that takes in seconds of packets is given the time to send them: what it still held would be in the way of the
/// next trial and count as its loss.
#[test]
fn a_long_queue_is_empty_before_the_next_trial() {
    skip_unless_available!();
    let device = Device::new();
    let bits = FRAME_BITS * LIMIT_PPS as usize;
    let queue = format!("tc qdisc add dev r-out1 root tbf rate {bits} burst 3000 limit 20000000");
    device.fan.relay().tool(&queue).unwrap();
    // What is offered first takes it four seconds.
    let line = format!("latency {} --size {SIZE} --load 8000,500 --trial 0.5 --repeat 1", device.sides());
    let results = results(&line, &[("--setup", &device.setup())]);
    let [first, second] = [0, 1].map(|at| &results[at]["counts"]);
    assert!(first["lost"].as_u64().unwrap() > 500, "{first:#}");
    assert_eq!((&second["lost"], &second["stray"]), (&0.into(), &0.into()), "{second:#}");
    // Given so long, it has lost nothing.
    let line = line.replace("8000,500", "8000") + " --residual 20";
    let patient = &self::results(&line, &[("--setup", &device.setup())])[0]["counts"];
    assert_eq!(patient["lost"], 0, "{patient:#}");
}

/// What it took in beyond what it forwards is no rate of its outputs', and is told.
#[test]
fn a_long_queue_is_told() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    let bits = FRAME_BITS * LIMIT_PPS as usize;
    let queue = format!("tc qdisc add dev r-out1 root tbf rate {bits} burst 3000 limit 20000000");
    device.fan.relay().tool(&queue).unwrap();
    let line = format!(
        "throughput {} --size {SIZE} --trial 1 --repeat 1 --most 1500 --residual 10 --out {folder}",
        device.sides()
    );
    let result = &results(&line, &[("--setup", &device.setup())])[0];
    assert_eq!(result["limited_by"], "most", "{result:#}");
    let forwarded = result["forwarded_pps"].as_f64().unwrap();
    assert!(forwarded < (LIMIT_PPS + 3.0) * 1.02, "{result:#}");
    let table = fs::read_to_string(format!("{folder}/table.md")).unwrap();
    assert!(table.contains("took in more than it forwards"), "{table}");
}

/// What keeps the tester from offering is no fault of the device's, and is not counted as its loss.
#[test]
fn the_testers_own_limit_is_said() {
    skip_unless_available!();
    let device = Device::new();
    let queue = "tc qdisc add dev s0 root tbf rate 4mbit burst 3000 limit 6000";
    device.fan.sender.netns().tool(queue).unwrap();
    let line = format!("throughput {} --size 1000 --trial 0.2 --repeat 1 --most 4000", device.sides());
    let result = &results(&line, &[("--setup", &device.setup())])[0];
    assert_eq!(result["limited_by"], "tester", "{result:#}");
    let first = &trials(result)[0];
    assert_eq!((&first["verdict"], &first["lost"]), (&"void".into(), &0.into()), "{first:#}");
    assert!(first["reason"].as_str().unwrap().contains("limited by the tester"), "{first:#}");
    assert!(first["refused"].as_u64().unwrap() > 0, "{first:#}");
}

/// Sizes, fan-out beyond the receivers and groups, each in its own step; and all that `--out` leaves.
#[test]
fn a_matrix_is_measured_and_written() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    let line = format!(
        "matrix {} --size 18,imix --fanout 1,5 --groups 1,30 --trial 0.1 --repeat 2 --most 2000 --out {folder}",
        device.sides()
    );
    let results = results(&line, &[("--setup", &device.setup())]);
    let step = |result: &Value| format!("{} {} {}", result["size"], result["fanout"], result["groups"]);
    let steps: Vec<_> = results.iter().map(step).collect();
    let expected = [
        "18 1 1",
        "\"imix\" 1 1",
        "18 1 30",
        "\"imix\" 1 30",
        "18 5 1",
        "\"imix\" 5 1",
        "18 5 30",
        "\"imix\" 5 30",
    ];
    assert_eq!(steps, expected);
    for result in &results {
        assert_eq!(trials(result).len() >= 2, result["repeats"].as_array().unwrap().len() == 2);
        for trial in trials(result).iter().filter(|trial| trial["verdict"] == "passed") {
            let outputs = result["fanout"].as_u64().unwrap();
            assert_eq!(trial["received"].as_u64().unwrap(), outputs * trial["sent"].as_u64().unwrap());
            for fault in ["duplicated", "reordered", "corrupted", "bad_checksum", "foreign", "stray"] {
                assert_eq!(trial[fault], 0, "{fault} in {trial:#}");
            }
        }
    }
    let read = |name: &str| fs::read_to_string(Path::new(&folder).join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(document["results"].as_array().unwrap().len(), 8);
    for key in ["mcrgen", "time", "machine", "command", "settings", "cores"] {
        assert!(!document[key].is_null(), "{key}");
    }
    let table = read("table.md");
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), 9);
    let command = table.split('`').nth(1).and_then(shlex::split).unwrap();
    assert_eq!(serde_json::json!(command), document["command"], "as a shell takes it");
    let plot = read("throughput.svg");
    for text in ["UDP payload (bytes", "offered (packets/s)", "fan-out 5, groups 30"] {
        assert!(plot.contains(text), "{text}");
    }
}

/// Bursts are cut before they reach the device, however its link is set: a super-frame would count as one there.
#[test]
fn what_is_offered_are_frames_of_wire_size() {
    skip_unless_available!();
    let device = Device::new();
    for (segmentation, groups, path) in [(true, 1, "frames"), (false, 1, "segmented"), (false, 40, "frames")]
    {
        device.fan.sender.link.offload("tx-udp-segmentation", segmentation).unwrap();
        let before = device.fan.ingress.link.counter("rx", "packets").unwrap();
        let line = format!(
            "throughput {} --groups {groups} --trial 0.1 --repeat 1 --most 150000 --loss 0.99",
            device.sides()
        );
        let result = &results(&line, &[("--setup", &device.setup())])[0];
        assert_eq!(result["path"], path, "{result:#}");
        let sent: u64 = trials(result).iter().map(|trial| trial["sent"].as_u64().unwrap()).sum();
        let frames = device.fan.ingress.link.counter("rx", "packets").unwrap() - before;
        assert!(sent > 0 && frames >= sent, "{frames} frames for {sent} packets as {path}");
    }
}

/// A device that rewrites nothing, as kernel routes do: the same group and port at both ends, on many outputs.
#[test]
fn groups_are_kept_and_outputs_are_many() {
    skip_unless_available!();
    let device = Device::new();
    let sides = device.sides().replace("239.2.1.1%d0:6000", "239.1.1.1%d0:5000");
    for fanout in [2, 64] {
        let line = format!("throughput {sides} --fanout {fanout} --trial 0.1 --repeat 1 --most 200");
        let result = &results(&line, &[("--setup", &device.setup())])[0];
        let passed = trials(result).into_iter().find(|trial| trial["verdict"] == "passed").unwrap();
        assert_eq!(passed["received"].as_u64(), passed["sent"].as_u64().map(|sent| fanout * sent));
        assert_eq!(result["counts"]["stray"], 0, "{result:#}");
    }
}

#[test]
fn latency_at_each_load() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    let line = format!(
        "latency {} --fanout 2 --load 500,2000 --trial 0.2 --repeat 4 --out {folder}",
        device.sides()
    );
    let results = results(&line, &[("--setup", &device.setup())]);
    assert_eq!(results.len(), 2);
    for (result, load) in results.iter().zip([500, 2000]) {
        assert_eq!(result["load_pps"], load);
        let latency = |key: &str| result["latency_us"][key].as_f64().unwrap();
        let order = ["min", "p50", "p99", "p999", "max"].map(latency);
        assert!(order[0] > 0.0 && order.is_sorted(), "{order:?}");
        assert_eq!(result["trials"].as_array().unwrap().len(), 4);
    }
    let plot = fs::read_to_string(Path::new(&folder).join("latency-1400-2-1.svg")).unwrap();
    for text in ["load (packets/s)", "latency (microseconds)", "p99.9"] {
        assert!(plot.contains(text), "{text}");
    }
}

#[test]
fn ipv6_and_hosts_as_receivers() {
    skip_unless_available!();
    let device = Device::new();
    let (tx, rx) = (device.fan.sender.netns().name(), device.fan.receivers[0].netns().name());
    for (to, at) in [
        ("[ff3e::8000:1]%s0:5000", "[ff3e::8000:1]%d0:6000"),
        ("239.1.1.1%s0:5000", "10.10.2.100:6000"),
        ("[ff3e::8000:1]%s0:5000", "[fd00:2::100]:6000"),
    ] {
        let line = format!(
            "throughput --tx {to}/{tx} --rx {at}/{rx} --fanout 2 --groups 3 --size 18:3,500:1 --trial 0.1 --repeat 1 \
             --most 1000"
        );
        let filter = "sed 's/%d0/%r-out1/g'";
        let result = &results(&line, &[("--setup", &device.setup_through(filter))])[0];
        let passed = trials(result).into_iter().find(|trial| trial["verdict"] == "passed").unwrap();
        assert_eq!(passed["received"].as_u64(), passed["sent"].as_u64().map(|sent| 2 * sent), "{to} to {at}");
    }
}

fn socat(line: &Line) -> Daemon {
    let to = format!("UDP4-DATAGRAM:239.2.1.1:6000,ip-multicast-if={}", line.egress.v4);
    let from = "UDP4-RECV:5000,reuseaddr,ip-add-membership=239.1.1.1:r-in";
    Daemon::spawn(line.relay(), "socat", &["-u", "-b", "2000", from, &to]).unwrap()
}

/// At the right group, and once each.
#[test]
fn packets_at_a_wrong_port_are_told() {
    skip_unless_available!();
    let device = Device::new();
    let setup = device.setup_through("sed 's/$/ 239.2.1.1%d0:6001/'");
    let line = format!("latency {} --fanout 2 --load 500 --trial 0.2 --repeat 1", device.sides());
    let result = &results(&line, &[("--setup", &setup)])[0];
    let counts = &result["counts"];
    let figures = ["received", "lost", "duplicated", "stray"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!(figures, [200, 0, 0, 100], "{result:#}");
}

/// What another receiver takes at the same interface is at no wrong port.
#[test]
fn receivers_on_one_interface_have_no_strays() {
    skip_unless_available!();
    let device = Device::new();
    let (tx, rx) = (device.fan.sender.netns().name(), device.fan.receivers[0].netns().name());
    let setup = device.ctl("add feed 239.1.1.1%r-in:5000 239.2.1.1%r-out1:6000 239.2.1.1%r-out1:7000");
    let line = format!(
        "latency --tx 239.1.1.1%s0:5000/{tx} --rx 239.2.1.1%d0:6000/{rx} --rx 239.2.1.1%d0:7000/{rx} --fanout 2 \
         --load 500 --trial 0.2 --repeat 1"
    );
    let counts = &results(&line, &[("--setup", &setup)])[0]["counts"];
    let figures = ["received", "lost", "stray"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!(figures, [200, 0, 0], "{counts:#}");
}

/// A device that is not MCR; then two of them side by side, which make each packet two.
#[test]
fn any_relay_is_measured_and_duplicates_are_told() {
    skip_unless_available!();
    let line = Line::new("bench").unwrap();
    let _first = socat(&line);
    let (tx, rx) = (line.sender.netns().name(), line.receiver.netns().name());
    let options = format!(
        "throughput --tx 239.1.1.1%s0:5000/{tx} --rx 239.2.1.1%d0:6000/{rx} --trial 0.2 --repeat 1 --most 500 --size 64"
    );
    let alone = &results(&options, &[])[0];
    let pps = alone["pps"]["median"].as_f64().unwrap();
    assert!(pps > 0.0, "{alone:#}");
    assert_eq!(alone["counts"]["duplicated"], 0, "{alone:#}");
    let _second = socat(&line);
    // A probe tells when the second has joined: from then on packets come twice.
    testbed::eventually(LONG, "duplicates", || {
        let both = bench(&options, &[]).json();
        both["results"][0]["counts"]["duplicated"].as_u64().unwrap() > 0
    });
}
