//! The running set: many rules, changes under traffic, what a change leaves alone, and a file refused.

use testbed::{rule, skip_unless_available};

use crate::fixture::{PATIENCE, Place, assert_all_arrive, numbers, send_numbered};

fn many(count: usize) -> String {
    let one = |n: usize| {
        let (high, low) = (n / 250, n % 250);
        let input = format!("239.10.{high}.{low}%r-in:5000");
        rule(&format!("r{n}"), &input, &[&format!("239.20.{high}.{low}%r-out:6000")])
    };
    (0..count).map(one).collect()
}

#[test]
fn five_thousand_rules_are_applied_listed_and_kept() {
    skip_unless_available!();
    let place = Place::start("dm-many", "");
    let file = place.relay.file("many.toml", &many(5000));
    let plan = place.relay.ctl_json(&["apply", &file]);
    assert_eq!(plan["add"].as_array().unwrap().len(), 5000);
    assert_eq!(plan["notes"].as_array().unwrap().len(), 0, "{}", plan["notes"]);

    let list = place.relay.ctl_json(&["list"]);
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 5000);
    assert!(list.iter().all(|rule| rule["state"] == "active"));
    assert_eq!(
        (&list[4999]["name"], &list[4999]["input"]),
        (&"r4999".into(), &"239.10.19.249%r-in:5000".into())
    );
    let generation = place.relay.stats()["generation"].clone();

    let again = place.relay.ctl_ok(&["apply", &file]);
    assert_eq!(again, "0 added, 0 changed, 0 removed, 5,000 kept\n");
    assert_eq!(place.relay.stats()["generation"], generation);

    let (mut probe, sender) = (place.probe(6000), place.sender(4000));
    for n in [0, 1234, 4999] {
        sender.send(format!("239.10.{}.{}:5000", n / 250, n % 250).parse().unwrap(), b"x").unwrap();
        let group = format!("239.20.{}.{}", n / 250, n % 250);
        assert_eq!(probe.expect_one(PATIENCE).dst.to_string(), group);
    }
}

#[test]
fn a_flow_loses_nothing_while_other_rules_come_change_and_go() {
    skip_unless_available!();
    let place = Place::start("dm-churn", &rule("steady", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"]));
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 3000);
    let relay = &place.relay;
    for round in 0..100 {
        let input = format!("239.3.{round}.1%r-in:5000");
        let output = format!("239.4.{round}.1%r-out:7000");
        relay.ctl_ok(&["add", "other", &input, &output]);
        relay.ctl_ok(&[
            "add",
            "other",
            &input,
            "239.4.4.4%r-out:7000,ttl=3",
            "10.10.2.100:7001",
            "--replace",
        ]);
        relay.ctl_ok(&["remove", "other"]);
    }
    let generation = relay.stats()["generation"].as_u64().unwrap();
    assert!(generation >= 300, "every change is a generation of its own, not {generation} in all");
    let sent = traffic.stop();
    assert!(sent > 3000, "{sent} datagrams in all that time are no flow");
    assert_all_arrive(&mut probe, sent);
}

#[test]
fn a_whole_file_applied_loses_nothing_of_rules_that_stay() {
    skip_unless_available!();
    let steady = rule("steady", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"]);
    let place = Place::start("dm-apply", &steady);
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 2000);
    for round in 0..20 {
        let others = many(if round % 2 == 0 { 200 } else { 100 });
        let file = place.relay.file("next.toml", &format!("{others}{steady}"));
        assert_eq!(
            place.relay.ctl_json(&["apply", &file])["keep"].as_array().unwrap().last().unwrap(),
            "steady"
        );
    }
    let sent = traffic.stop();
    assert_all_arrive(&mut probe, sent);
}

#[test]
fn a_leg_that_stays_keeps_its_counters_and_a_new_one_starts_at_zero() {
    skip_unless_available!();
    let kept = "239.2.2.1%r-out:6000";
    let place = Place::start("dm-legs", &rule("a", "239.1.1.1%r-in:5000", &[kept, "239.2.2.2%r-out:6001"]));
    let sender = place.sender(4000);
    let packets = |relay: &testbed::relay::Relay| {
        let stats = relay.ctl_json(&["stats", "a"]);
        let of_leg = |leg: usize| stats["legs"][leg]["packets"].as_u64().unwrap();
        (stats["packets"].as_u64().unwrap(), of_leg(0), of_leg(1))
    };
    let settled = |expected| {
        testbed::eventually(PATIENCE, format!("{expected:?}"), || packets(&place.relay) == expected);
    };
    send_numbered(&sender, "239.1.1.1:5000", 0, 100);
    settled((100, 100, 100));

    // The new leg stands first: counters follow the leg, not its place.
    place.relay.ctl_ok(&["add", "a", "239.1.1.1%r-in:5000", "239.2.2.3%r-out:6001", kept, "--replace"]);
    assert_eq!(packets(&place.relay), (100, 0, 100));
    send_numbered(&sender, "239.1.1.1:5000", 100, 10);
    settled((110, 10, 110));

    let file =
        place.relay.file("next.toml", &rule("a", "239.1.1.1%r-in:5000", &[kept, "239.2.2.4%r-out:6001"]));
    assert_eq!(place.relay.ctl_ok(&["apply", &file]), "0 added, 1 changed, 0 removed, 0 kept\n");
    send_numbered(&sender, "239.1.1.1:5000", 110, 5);
    settled((115, 115, 5));

    // A rule of the same name made anew begins anew.
    place.relay.ctl_ok(&["remove", "a"]);
    place.relay.ctl_ok(&["add", "a", "239.1.1.1%r-in:5000", kept, "239.2.2.4%r-out:6001"]);
    assert_eq!(packets(&place.relay), (0, 0, 0));
}

#[test]
fn a_refused_file_changes_nothing() {
    skip_unless_available!();
    let steady = rule("steady", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"]);
    let place = Place::start("dm-refuse", &steady);
    let relay = &place.relay;
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 1000);
    let state =
        || (relay.ctl_json(&["list"]), relay.stats()["generation"].clone(), relay.ctl_ok(&["save", "-"]));
    let before = state();
    for wrong in [
        "[[rule]]\nname = \"b\"\n",
        "colour = 1\n",
        "[[rule]\n",
        &rule("steady", "239.1.1.2%r-in", &["10.0.0.1"]),
        &rule("b", "239.1.1.1%r-in:5000", &["10.0.0.1"]),
        &rule("b", "239.1.1.9%r-in:5000", &["239.1.1.9%r-in"]),
    ] {
        // Sound rules before the wrong one, and one of them changed: none of it may come to run.
        let good = rule("new", "239.1.1.7%r-in:5000", &["239.2.2.7%r-out:6000"]);
        let file = relay.file("wrong.toml", &format!("{good}{steady}{wrong}"));
        for arguments in [&["apply", &file][..], &["apply", &file, "--dry-run"]] {
            let refused = relay.ctl(arguments);
            assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""), "{wrong}");
            assert!(refused.stderr.starts_with(&format!("mcrctl: {file}: line ")), "{}", refused.stderr);
            assert!(refused.stderr.contains(", column "), "{}", refused.stderr);
        }
        assert_eq!(state(), before, "{wrong}");
    }
    assert_all_arrive(&mut probe, traffic.stop());
}

#[test]
fn what_is_saved_is_kept_when_applied() {
    skip_unless_available!();
    let config = "[worker]\nring_mib = 16\n".to_owned()
        + &rule(
            "a",
            "10.10.1.100@239.1.1.1%r-in:5000",
            &["239.2.2.1%r-out:6000,ttl=16,dscp=34", "10.10.2.100"],
        )
        + "[[rule]]\nname = \"b\"\ninput = { interface = \"r-in\", group = \"ff3e::2\" }\n\
           outputs = [{ group = \"ff3e::3\", interface = \"r-out\", source = \"keep\", sport = 9 }]\n";
    let place = Place::start("dm-save", &config);
    let relay = &place.relay;
    relay.ctl_ok(&["add", "c", "10.10.1.1%r-in:5000", "[fe80::1]%r-out,ttl=decrement,batch=1"]);
    let saved = relay.file("saved.toml", "");
    assert_eq!(relay.ctl_ok(&["save", &saved]), format!("saved {saved}\n"));
    let list = relay.ctl_json(&["list"]);

    let plan = relay.ctl_json(&["apply", &saved, "--dry-run"]);
    assert_eq!(plan, relay.ctl_json(&["apply", &saved]));
    assert_eq!(plan["keep"], serde_json::json!(["a", "b", "c"]));
    let none = serde_json::json!([]);
    assert_eq!((&plan["add"], &plan["change"], &plan["remove"]), (&none, &none, &none));
    assert_eq!(relay.ctl_json(&["list"]), list);
    assert!(std::fs::read_to_string(&saved).unwrap().contains("ring_mib = 16"));

    // The file named with --config has not been touched: what was only added is not in it.
    std::fs::copy(relay.config(), &saved).unwrap();
    assert_eq!(relay.ctl_json(&["apply", &saved])["remove"], serde_json::json!(["c"]));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    skip_unless_available!();
    let [a, b] =
        [1, 2].map(|n| rule(&format!("r{n}"), &format!("239.1.1.{n}%r-in:5000"), &["239.2.2.1%r-out:6000"]));
    let place = Place::start("dm-dry", &format!("{a}{b}"));
    let relay = &place.relay;
    let changed = a.replace("6000", "6001");
    let file = relay.file("next.toml", &(changed + &rule("new", "239.1.1.3%eth9:5000", &["10.10.2.100"])));
    let before = (relay.ctl_json(&["list"]), relay.stats()["generation"].clone());
    let text = relay.ctl_ok(&["apply", &file, "--dry-run"]);
    let expected = "- r2\n~ r1\n+ new\nnote: new would wait: interface eth9 does not exist\n\
                    would be: 1 added, 1 changed, 1 removed, 0 kept\n";
    assert_eq!(text, expected);
    assert_eq!((relay.ctl_json(&["list"]), relay.stats()["generation"].clone()), before);
    relay.ctl_ok(&["apply", &file]);
    assert_eq!(relay.state("new").0, "pending");
    let (mut probe, sender) = (place.probe(6001), place.sender(4000));
    send_numbered(&sender, "239.1.1.1:5000", 7, 1);
    assert_eq!(numbers(&probe.expect(1, PATIENCE)), [7]);
}
