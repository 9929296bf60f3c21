//! Multicast beside unicast.

use testbed::skip_unless_available;

use super::device::{Device, results};

/// The device is a relay for unicast too, by rules that the set-up makes of what it is told.
#[test]
fn both_classes_are_offered_in_their_shares_and_counted() {
    skip_unless_available!();
    let device = Device::new();
    let receiver = device.fan.receivers[1].netns().name();
    let unicast = format!("10.10.1.1%s0:7000=10.10.3.100:7001/{receiver}");
    let line = format!(
        "mixed {} --unicast {unicast} --unicast-share 0,25,100 --size 200 --trial 0.2 --repeat 1 --most 1000",
        device.sides()
    );
    let results = results(&line, &[("--setup", &device.setup())]);
    assert_eq!(results.len(), 3);
    for (result, share) in results.iter().zip([0, 25, 100]) {
        assert_eq!(result["unicast_share"], share);
        let trials = result["repeats"][0]["trials"].as_array().unwrap();
        let passed = trials.iter().find(|trial| trial["verdict"] == "passed").unwrap();
        let received = |class: usize| passed["classes"][class]["received"].as_u64().unwrap();
        assert_eq!(
            (&passed["classes"][0]["class"], &passed["classes"][1]["class"]),
            (&"multicast".into(), &"unicast".into())
        );
        let all = received(0) + received(1);
        assert_eq!(Some(all), passed["sent"].as_u64(), "{passed:#}");
        // The shares are of packets offered, to one packet.
        assert!((100 * received(1)).abs_diff(share * all) <= 100, "{passed:#}");
    }
}
