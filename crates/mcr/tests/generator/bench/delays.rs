//! Join and leave delay, by a rule change and by membership.

use testbed::topology::segment;
use testbed::{Bridge, Netns, Veth, skip_unless_available};

use super::device::{Device, bench, results};

#[test]
fn a_rule_change_is_timed() {
    skip_unless_available!();
    let device = Device::new();
    let outputs = "239.2.1.1%r-out1:6000 239.2.1.1%r-out2:6000";
    let join = device.ctl(&format!("add feed 239.1.1.1%r-in:5000 {outputs}"));
    let leave = device.ctl("remove feed");
    let line = format!("join {} --fanout 2 --load 1000 --repeat 2", device.sides());
    let result = &results(&line, &[("--join", &join), ("--leave", &leave)])[0];
    assert_eq!((&result["by"], &result["resolution_us"]), (&"command".into(), &1000.0.into()));
    let rounds = result["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let count = |key: &str| round[key].as_array().unwrap().len();
        let counts = ["join_us", "join_from_end_us", "leave_us", "leave_from_end_us"].map(count);
        assert_eq!(counts, [2; 4], "{round:#}");
        for (begin, end) in [("join_us", "join_from_end_us"), ("leave_us", "leave_from_end_us")] {
            for output in 0..2 {
                let (begin, end) = (&round[begin][output], &round[end][output]);
                // A command takes some time, and packets have to arrive after it began.
                assert!(begin.as_f64().unwrap() > end.as_f64().unwrap(), "{round:#}");
            }
        }
        assert!(round["join_us"][0].as_f64().unwrap() > 0.0, "{round:#}");
    }
    let spread = |key: &str| ["min", "median", "max"].map(|figure| result[key][figure].as_f64().unwrap());
    assert!(spread("join_us").is_sorted() && spread("leave_us").is_sorted(), "{result:#}");
}

#[test]
fn a_device_that_forwards_before_the_join_is_refused() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("join {} --load 1000 --repeat 1", device.sides());
    let finished = bench(&line, &[("--setup", &device.setup()), ("--join", "true"), ("--leave", "true")]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let document = finished.json();
    let error = document["results"][0]["error"].as_str().unwrap();
    assert!(error.contains("before the first join"), "{error}");
}

/// A sender whose link goes away meanwhile, if only for a moment, leaves no delay behind.
#[test]
fn without_the_senders_own_link_nothing_is_timed() {
    skip_unless_available!();
    let device = Device::new();
    let sender = device.fan.sender.netns().name();
    let add = device.ctl("add feed 239.1.1.1%r-in:5000 239.2.1.1%r-out1:6000");
    let join = format!("ip -n {sender} link set s0 down; ip -n {sender} link set s0 up; {add}");
    let leave = device.ctl("remove feed");
    let line = format!("join {} --load 1000 --repeat 1", device.sides());
    let finished = bench(&line, &[("--join", &join), ("--leave", &leave)]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let result = &finished.json()["results"][0];
    assert!(result["error"].as_str().unwrap().contains("interface s0 went down"), "{result:#}");
    assert_eq!((&result["rounds"], &result["join_us"]), (&serde_json::json!([]), &serde_json::Value::Null));
}

/// A switch that follows IGMP and MLD: it forwards to a port from which a report came, and stops at a leave.
#[test]
fn a_membership_is_timed() {
    skip_unless_available!();
    let (switch, source, sink) =
        (Netns::new("sw").unwrap(), Netns::new("sw-s").unwrap(), Netns::new("sw-d").unwrap());
    let bridge = Bridge::new(&switch, "br0").unwrap();
    let (s0, d0) =
        (bridge.connect("p1", (&source, "s0")).unwrap(), bridge.connect("p2", (&sink, "d0")).unwrap());
    s0.add_address("10.10.1.1".parse().unwrap(), 24).unwrap();
    d0.add_address("10.10.1.2".parse().unwrap(), 24).unwrap();
    bridge.link().add_address("10.10.1.9".parse().unwrap(), 24).unwrap();
    bridge.snooping(true).unwrap();
    // What nobody joined goes nowhere, also while the switch has no querier yet; leaves count at once.
    switch.tool("bridge link set dev p2 mcast_flood off").unwrap();
    switch.ip("link set p2 type bridge_slave mcast_fast_leave on mcast_router 0").unwrap();
    let line = format!(
        "join --tx 239.1.1.1%s0:5000/{} --rx 239.1.1.1%d0:5000/{} --load 1000 --groups 2 --repeat 2",
        source.name(),
        sink.name()
    );
    let result = &results(&line, &[])[0];
    assert_eq!(
        (&result["by"], &result["resolution_us"]),
        (&"membership".into(), &2000.0.into()),
        "{result:#}"
    );
    for round in result["rounds"].as_array().unwrap() {
        let count = |key: &str| round[key].as_array().unwrap().len();
        assert_eq!(["join_us", "join_from_end_us", "leave_us"].map(count), [2, 0, 2], "{round:#}");
        assert!(round["join_us"][0].as_f64().unwrap() > 0.0, "{round:#}");
    }
}

/// A cable forwards whatever nobody asked for, and a device of which nothing comes has no delay.
#[test]
fn what_cannot_be_timed_is_said() {
    skip_unless_available!();
    let (source, sink) = (Netns::new("ca-s").unwrap(), Netns::new("ca-d").unwrap());
    let _cable = segment(1, (&source, "s0", 1), (&sink, "d0", 2)).unwrap();
    let _apart = Veth::pair((&sink, "x0"), (&sink, "x1")).unwrap();
    let error = |rx: &str| {
        let line = format!(
            "join --tx 239.1.1.1%s0:5000/{} --rx {rx}/{} --load 1000 --repeat 1 --wait 0.3",
            source.name(),
            sink.name()
        );
        let finished = bench(&line, &[]);
        assert_eq!(finished.code(), 1, "{finished:?}");
        finished.json()["results"][0]["error"].as_str().unwrap().to_owned()
    };
    let always = error("239.1.1.1%d0:5000");
    assert!(always.contains("before the first join"), "{always}");
    let never = error("239.1.1.1%x0:5000");
    assert!(never.contains("nothing came of 239.1.1.1%x0:5000/"), "{never}");
}
