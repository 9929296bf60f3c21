//! What is refused, with which exit code and what words.

use mcr::generator::header::Header;
use serde_json::Value;
use testbed::{Datagram, Injector, eventually, skip_unless_available};

use super::device::{Device, bench, command, report, start};
use crate::cable::LONG;

#[test]
fn command_lines_that_cannot_be_measured() {
    skip_unless_available!();
    let device = Device::new();
    let sides = device.sides();
    let tx = device.fan.sender.netns().name();
    let rx = device.fan.receivers[0].netns().name();
    for (line, says) in [
        (
            format!("throughput --tx 239.1.1.1%s0:5000/nowhere-{tx} --rx 239.2.1.1%d0:6000/{rx}"),
            "cannot enter",
        ),
        (format!("throughput --tx 239.1.1.1%s0:5000/dev/null --rx 239.2.1.1%d0:6000/{rx}"), "cannot enter"),
        (
            format!("throughput --tx 239.1.1.1%s0:5000/{tx} --rx 239.2.1.1%absent:6000/{rx}"),
            "absent does not exist",
        ),
        (format!("throughput {sides} --rx 239.2.1.1%d0:6000/run/netns/{rx} --fanout 3"), "is given twice"),
        (format!("latency {sides} --load 5 --trial 0.1"), "less than one packet"),
        (format!("latency {sides} --trial 0.001"), "from 0.01 on"),
        (format!("throughput --tx 239.1.1.1:5000/{tx} --rx 239.2.1.1%d0:6000/{rx}"), "names no interface"),
        (format!("throughput --tx 239.1.1.1%s0/{tx} --rx 239.2.1.1%d0:6000/{rx}"), "names no port"),
        (format!("throughput {sides} --size 17"), "18 to 65507"),
        (format!("throughput {sides} --fanout 1,0"), "a whole number from 1 on"),
        (format!("matrix {sides} --groups 70000"), "this is too many"),
        (format!("throughput {sides} --size 18:0"), "a weight is"),
        (format!("throughput {sides} --loss 1"), "a part of 1"),
        (format!("throughput {sides} --rx 239.2.1.1%d0:6000/{rx} --fanout 3"), "would take the same packets"),
        (
            format!("throughput {sides} --groups 65535 --tx 239.255.255.1%s0:5000/{tx}"),
            "cannot be used multiple",
        ),
        (
            format!("matrix --tx 239.255.255.1%s0:5000/{tx} --rx 239.2.1.1%d0:6000/{rx} --groups 300"),
            "run past",
        ),
        (format!("latency {sides} --loss 0.1"), "--loss says nothing to latency"),
        (format!("throughput {sides} --load 5"), "--load says nothing to throughput"),
        (format!("capacity {sides} --load 5,6"), "one --load"),
        (format!("mixed {sides}"), "at least one --unicast"),
        (format!("mixed {sides} --unicast 10.0.0.1:7"), "has no '='"),
        (format!("join --tx 239.1.1.1%s0:5000/{tx} --rx 10.10.2.100:6000/{rx}"), "joins nothing"),
        (format!("join {sides} --join true"), "--leave"),
        (
            format!("throughput {sides} --tx-core 1023"),
            "--tx-core names core 1023, which this process may not use",
        ),
        (format!("throughput {sides} --rx-cores 0,1023"), "--rx-cores names core 1023"),
    ] {
        let finished = bench(&line, &[]);
        assert_eq!(finished.code(), 2, "{line}: {finished:?}");
        assert!(finished.stderr.contains(says), "{line}: {finished:?}");
    }
}

/// A file in the way is known before the first trial.
#[test]
fn a_folder_that_cannot_be_written() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    for (test, name) in [
        ("throughput", "results.json"),
        ("throughput", "throughput.svg"),
        ("latency", "latency-imix-1-1.svg"),
        ("join", "table.md"),
    ] {
        let path = format!("{folder}/{name}");
        std::fs::create_dir_all(&path).unwrap();
        let line = format!("{test} {} --size imix --out {folder}", device.sides());
        let finished = bench(&line, &[("--setup", "echo setting up >&2")]);
        assert_eq!(finished.code(), 1, "{finished:?}");
        assert!(finished.stderr.contains(&format!("cannot write {path}")), "{finished:?}");
        assert!(!finished.stderr.contains("setting up"), "{finished:?}");
        std::fs::remove_dir(&path).unwrap();
    }
    // What is tried leaves nothing.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// What was measured is shown, and the rest written, also where a file cannot be.
#[test]
fn a_result_that_cannot_be_written_is_shown() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    let line = format!("throughput {} --trial 0.1 --repeat 1 --most 200 --out {folder}", device.sides());
    let setup = format!("mkdir {folder}/results.json && {{ {}; }}", device.setup());
    let finished = bench(&line, &[("--setup", &setup)]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(finished.json()["results"].as_array().unwrap().len(), 1, "{finished:?}");
    assert!(finished.stderr.contains("cannot write"), "{finished:?}");
    assert!(std::fs::read_to_string(format!("{folder}/table.md")).unwrap().contains("throughput"));
}

/// A set-up that fails, and one after which nothing comes, leave the step without a result and say why.
#[test]
fn steps_without_a_result() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --fanout 2 --groups 2 --wait 0.3 --trial 0.1", device.sides());
    for (setup, says) in [("echo busy >&2; exit 3", "exit code 3"), ("true", "4 of 4 flows did not arrive")] {
        let finished = bench(&line, &[("--setup", setup)]);
        assert_eq!(finished.code(), 1, "{finished:?}");
        let document = finished.json();
        let error = document["results"][0]["error"].as_str().unwrap();
        assert!(error.contains(says), "{error}");
        assert!(document["results"][0]["pps"].is_null(), "{document:#}");
    }
    let half =
        bench(&line.replace("--wait 0.3", "--wait 3"), &[("--setup", &device.setup_through("head -n 1"))]);
    let document = half.json();
    let error = document["results"][0]["error"].as_str().unwrap();
    assert!(error.contains("2 of 4 flows did not arrive: 239.2.1.2%d0:6000/"), "{error}");
}

/// A device that ends meanwhile has no rate, which is not a rate of nothing.
#[test]
fn a_device_that_ends_has_no_result() {
    skip_unless_available!();
    let device = Device::new();
    let sides = device.sides();
    let ended = |test: &str| {
        let line = format!("{test} {sides} --trial 2 --residual 0.1 --wait 0.5");
        let sent = || device.relay.stats()["totals"]["sent"].as_u64().unwrap();
        let before = sent();
        let mut bench = start(&line, &[("--setup", &device.setup())]);
        eventually(LONG, "the trial has begun", || sent() > before + 500);
        device.relay.ctl_ok(&["remove", "r1"]);
        assert_eq!(bench.wait(LONG).code(), Some(1));
        let result = report(&bench)["results"][0].clone();
        assert!(result["error"].as_str().unwrap().contains("1 of 1 flows did not arrive"), "{result:#}");
        result
    };
    let result = ended("throughput --most 1000 --repeat 2");
    assert!(result["pps"].is_null(), "{result:#}");
    assert!(result["unfinished"].as_array().unwrap().len() > 1, "{result:#}");
    let result = ended("latency --load 1000 --repeat 1");
    assert_eq!(result["trials"][0]["verdict"], "lost", "{result:#}");
}

/// What is wrong with the tester's own side is not put down to the device.
#[test]
fn faults_of_the_testers_side_are_named() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --trial 0.1 --repeat 1 --wait 0.5 --most 500", device.sides());
    let error = |setup: &str| {
        let finished = bench(&line, &[("--setup", setup)]);
        assert_eq!(finished.code(), 1, "{finished:?}");
        finished.json()["results"][0]["error"].as_str().unwrap().to_owned()
    };
    for link in [&device.fan.sender.link, &device.fan.receivers[0].link] {
        link.down().unwrap();
        let error = error(&device.setup());
        assert!(error.contains(&format!("interface {} is down", link.name())), "{error}");
        link.up().unwrap();
    }
}

/// Nor is what lacks once a link of its own went down, for a moment or for good.
#[test]
fn the_testers_own_link_that_goes_down_ends_it() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --trial 3 --repeat 2 --most 1000", device.sides());
    let receiver = &device.fan.receivers[0].link;
    for (link, stays) in [(receiver, false), (receiver, true), (&device.fan.sender.link, false)] {
        let sent = || device.relay.stats()["totals"]["sent"].as_u64().unwrap();
        let before = sent();
        let mut bench = start(&line, &[("--setup", &device.setup())]);
        eventually(LONG, "the trial has begun", || sent() > before + 500);
        link.down().unwrap();
        if !stays {
            link.up().unwrap();
        }
        assert_eq!(bench.wait(LONG).code(), Some(1));
        link.up().unwrap();
        let result = &report(&bench)["results"][0];
        let error = result["error"].as_str().unwrap();
        assert!(error.contains(&format!("interface {} went down", link.name())), "{error}");
        assert_eq!((&result["pps"], &result["limited_by"]), (&Value::Null, &Value::Null), "{result:#}");
    }
}

/// What the sender's kernel keeps back is not looked for at the device.
#[test]
fn packets_that_never_left_are_told() {
    skip_unless_available!();
    let device = Device::new();
    // A packet is longer than what it lets through at a time.
    let full = "tc qdisc add dev s0 root tbf rate 8kbit burst 100 limit 100";
    device.fan.sender.netns().tool(full).unwrap();
    let line = format!("throughput {} --size 1000 --wait 0.5 --trial 0.1 --repeat 1", device.sides());
    let finished = bench(&line, &[("--setup", &device.setup())]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let error = finished.json()["results"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the tester's kernel took none of the packets offered"), "{error}");
}

/// A device that damages packets is told from one that forwards none.
#[test]
fn wrong_checksums_are_told() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --trial 0.1 --repeat 1 --wait 2", device.sides());
    let mut bench = start(&line, &[("--setup", "echo ready")]);
    bench.wait_line(|line| line == "ready", LONG);
    let damaging = Injector::on(&device.fan.egress[0].link).unwrap();
    let mut payload = vec![0; 18];
    Header { flow: 0, sequence: 0, sent_ns: 0 }.emit(&mut payload);
    let datagram =
        Datagram::between("10.10.2.1:4000", "239.2.1.1:6000").payload(payload).with_wrong_checksum();
    eventually(LONG, "the run ends", || {
        damaging.send(&datagram).unwrap();
        !bench.is_running()
    });
    assert_eq!(bench.wait(LONG).code(), Some(1));
    let report = report(&bench);
    let error = report["results"][0]["error"].as_str().unwrap();
    assert!(error.contains("packets arrived with wrong checksums"), "{error}");
}

/// Packets that do not fit are the operator's matter, whatever cuts them, and no loss of the device's.
#[test]
fn fragments_are_told() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("throughput {} --trial 0.1 --repeat 1 --wait 1 --most 1000", device.sides());
    device.fan.relay().ip("link set r-out1 mtu 1000").unwrap();
    // All of the first packets are cut by the sender, one in two of the others by the device.
    for size in ["4000", "64:1,1300:1"] {
        let finished = bench(&format!("{line} --size {size}"), &[("--setup", &device.setup())]);
        assert_eq!(finished.code(), 1, "{finished:?}");
        let result = &finished.json()["results"][0];
        assert!(result["error"].as_str().unwrap().contains("use a --size that fits each MTU"), "{result:#}");
        assert!(result["pps"].is_null(), "{result:#}");
    }
}

/// Where nobody takes the report the files are written all the same.
#[test]
fn a_report_that_cannot_be_shown_is_written() {
    skip_unless_available!();
    let device = Device::new();
    let folder = device.folder();
    let line = format!("latency {} --load 500 --trial 0.1 --repeat 1 --out {folder}", device.sides());
    let mut command = command(&line, &[("--setup", &device.setup())]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the report"), "{output:?}");
    assert!(std::path::Path::new(&folder).join("results.json").exists());
}
