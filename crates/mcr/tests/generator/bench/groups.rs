//! Group capacity.

use testbed::skip_unless_available;

use super::device::{Device, bench, results};
use crate::cable::Cable;

/// A device that takes the first five flows and no other.
#[test]
fn the_capacity_is_found_to_the_group() {
    skip_unless_available!();
    let device = Device::new();
    let line =
        format!("capacity {} --fanout 2 --size 18 --load 20 --trial 0.2 --repeat 1 --wait 3", device.sides());
    let result = &results(&line, &[("--setup", &device.setup_through("head -n 5"))])[0];
    assert_eq!((&result["groups"], &result["failed_at"]), (&5.into(), &6.into()), "{result:#}");
    assert_eq!(result["limited_by"], "device");
    let why = result["why"].as_str().unwrap();
    assert!(why.contains("239.2.1.6%d0:6000"), "{why}");
    let tried: Vec<_> = result["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["groups"].as_u64().unwrap())
        .collect();
    assert_eq!(tried, [1, 2, 4, 8, 6, 5]);
}

/// What the tester cannot try is no fault of the device's, and no lack of a result.
#[test]
fn a_capacity_beyond_the_testers_own_is_said() {
    skip_unless_available!();
    let cable = Cable::new();
    let (tx, rx) = (cable.s0.netns().name(), cable.d0.netns().name());
    let sides = format!("--tx 239.1.1.1%s0:5000/{tx} --rx 239.1.1.1%d0:5000/{rx}");
    let queue = "tc qdisc add dev s0 root tbf rate 4mbit burst 3000 limit 6000";
    cable.s0.netns().tool(queue).unwrap();
    // Four groups take what the sender's queue lets through, and forty do not.
    let line = format!("capacity {sides} --size 1000 --load 100 --groups 1,4,40 --trial 0.2 --repeat 1");
    let result = &results(&line, &[])[0];
    assert_eq!((&result["groups"], &result["limited_by"]), (&4.into(), &"tester".into()), "{result:#}");
    assert!(result["failed_at"].is_null() && result["error"].is_null(), "{result:#}");
    let last = result["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["groups"], &last["void"]), (&40.into(), &true.into()), "{last:#}");
    assert!(last["why"].as_str().unwrap().contains("limited by the tester"), "{last:#}");
}

/// Where it does not take even those it took before it has no capacity.
#[test]
fn a_device_that_ends_has_no_capacity() {
    skip_unless_available!();
    let device = Device::new();
    let ended = device.absent("ended");
    let setup = format!(
        "test ! -e {ended} && {{ test $MCRGEN_GROUPS -lt 4 || {{ touch {ended}; false; }}; }} && {{ {}; }}",
        device.setup()
    );
    let line = format!("capacity {} --trial 0.1 --repeat 1 --wait 5", device.sides());
    let finished = bench(&line, &[("--setup", &setup)]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    let result = &finished.json()["results"][0];
    assert!(result["error"].as_str().unwrap().starts_with("2 groups were all forwarded"), "{result:#}");
    assert!(result["limited_by"].is_null(), "{result:#}");
}

/// A set-up that refuses so many has said so; one that refuses a single group is broken.
#[test]
fn a_list_ends_at_the_first_that_fails() {
    skip_unless_available!();
    let device = Device::new();
    let line = format!("capacity {} --groups 1,3,7,9 --trial 0.1 --repeat 1 --wait 5", device.sides());
    let refuse = format!("test $MCRGEN_GROUPS -lt 7 && {{ {}; }}", device.setup());
    let result = &results(&line, &[("--setup", &refuse)])[0];
    assert_eq!((&result["groups"], &result["failed_at"]), (&3.into(), &7.into()), "{result:#}");
    assert!(result["why"].as_str().unwrap().contains("exit code 1"), "{result:#}");
    assert_eq!(
        result["attempts"].as_array().unwrap().last().unwrap()["groups"],
        3,
        "tried again: {result:#}"
    );
    let all = &results(&line.replace("1,3,7,9", "1,3"), &[("--setup", &refuse)])[0];
    assert_eq!((&all["groups"], &all["limited_by"]), (&3.into(), &"most".into()), "{all:#}");
    let broken = bench(&line, &[("--setup", "exit 9")]);
    // What was not asked for is reported as it was used.
    let (settings, result) = (&broken.json()["settings"], &broken.json()["results"][0]);
    assert_eq!((&settings["load"], &result["load_pps"]), (&[10].into(), &10.into()), "{broken:?}");
    assert_eq!(broken.code(), 1, "{broken:?}");
    assert!(result["limited_by"].is_null(), "{broken:?}");
    assert!(broken.json()["results"][0]["error"].as_str().unwrap().contains("exit code 9"), "{broken:?}");
}
