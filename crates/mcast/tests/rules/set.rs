//! Rules together: collisions, loops, changes, plans.

use mcast::{Leg, LegSource, Rule, RuleName, RulePart, RuleSet, Ttl};
use proptest::prelude::*;

use crate::rule;

fn name(text: &str) -> RuleName {
    text.parse().unwrap()
}

/// What a set of these rules, named a, b, c..., is refused for: as a whole, and rule by rule.
fn verdicts(rules: &[(&str, &[&str])]) -> (Vec<String>, Option<String>) {
    let rules: Vec<Rule> = ('a'..='z')
        .zip(rules)
        .map(|(letter, (input, outputs))| rule(&letter.to_string(), input, outputs))
        .collect();
    let faults = RuleSet::from_rules(rules.clone()).err().unwrap_or_default();
    let whole = faults.into_iter().map(|fault| fault.error.to_string()).collect();
    let mut set = RuleSet::new();
    let single = rules.into_iter().find_map(|rule| set.add(rule).err());
    (whole, single.map(|error| error.to_string()))
}

fn assert_refused(rules: &[(&str, &[&str])], words: &[&str]) {
    let (whole, single) = verdicts(rules);
    assert_eq!(whole.len(), 1, "{rules:?}: {whole:?}");
    let single = single.unwrap_or_else(|| panic!("{rules:?} were added one by one"));
    for words in words {
        assert!(whole[0].contains(words), "{rules:?}: {}", whole[0]);
    }
    // The circle may be told from another of its rules, but it is the same kind of refusal.
    assert_eq!(single.split(':').next(), whole[0].split(':').next());
}

fn assert_accepted(rules: &[(&str, &[&str])]) {
    assert_eq!(verdicts(rules), (vec![], None), "{rules:?}");
}

#[test]
fn an_output_that_is_its_input_is_a_loop() {
    assert_refused(
        &[("239.1.1.1%eth0:5000", &["239.9.9.9%eth0", "239.1.1.1%eth0:5000"])],
        &["loop: a -> 239.1.1.1%eth0:5000 -> a: send to another group, port or interface"],
    );
    for (input, output) in [
        ("239.1.1.1%eth0", "239.1.1.1%eth0"),
        ("239.1.1.1%eth0", "239.1.1.1%eth0:7"),
        ("239.1.1.1%eth0:5", "239.1.1.1%eth0"),
        ("239.1.1.1%eth0", "239.1.1.1%eth0,ttl=decrement"),
        ("[ff3e::2]%eth0:5", "[ff3e::2]%eth0"),
        ("10.0.0.1@239.1.1.1%eth0", "239.1.1.1%eth0,source=10.0.0.1"),
        ("10.0.0.1@239.1.1.1%eth0", "239.1.1.1%eth0,source=keep,sport=7"),
        ("239.1.1.1%lo:5", "239.1.1.1%lo:5"),
        ("10.0.0.1%eth0:5", "10.0.0.1:5"),
        ("10.0.0.1%eth0:5", "10.0.0.1%eth0"),
    ] {
        assert_refused(&[(input, &[output])], &["loop: a -> "]);
    }
}

#[test]
fn what_cannot_feed_is_no_loop() {
    for (input, output) in [
        ("239.1.1.1%eth0:5", "239.1.1.1%eth0:6"),
        ("239.1.1.1%eth0:5", "239.1.1.1%eth1:5"),
        ("239.1.1.1%eth0:5", "239.1.1.2%eth0:5"),
        ("10.0.0.1@239.1.1.1%eth0", "239.1.1.1%eth0"),
        ("10.0.0.1@239.1.1.1%eth0", "239.1.1.1%eth0,source=10.0.0.2"),
        ("10.0.0.1%eth0:5", "10.0.0.1:6"),
        ("10.0.0.1%eth0:5", "10.0.0.1%eth1:5"),
        ("10.0.0.1%eth0:5", "10.0.0.2:5"),
    ] {
        assert_accepted(&[(input, &[output])]);
    }
    // A chain that ends.
    assert_accepted(&[
        ("239.1.1.1%eth0", &["239.1.1.2%eth0"]),
        ("239.1.1.2%eth0", &["239.1.1.3%eth1"]),
        ("239.1.1.3%eth1", &["239.1.1.4%eth0"]),
    ]);
    // Two sources of one group, each relayed the other way: neither takes what the other sends.
    assert_accepted(&[
        ("10.0.0.1@239.1.1.1%eth0", &["239.1.1.1%eth1,source=keep,sport=5"]),
        ("10.0.1.1@239.1.1.1%eth1", &["239.1.1.1%eth0"]),
    ]);
}

#[test]
fn circles_on_one_interface_are_loops() {
    assert_refused(
        &[
            ("239.1.1.1%eth0:5", &["239.1.1.2%eth0,ttl=decrement"]),
            ("239.1.1.2%eth0:5", &["239.9.9.9%eth0", "239.1.1.3%eth0:6,ttl=decrement"]),
            ("239.1.1.3%eth0", &["239.1.1.1%eth0:5,ttl=decrement"]),
            ("239.1.1.4%eth0", &["239.1.1.1%eth0:5"]),
        ],
        &["loop: a -> 239.1.1.2%eth0 -> b -> 239.1.1.3%eth0:6 -> c -> 239.1.1.1%eth0:5 -> a: "],
    );
}

#[test]
fn circles_through_this_host_are_loops() {
    assert_refused(
        &[
            ("239.1.1.1%eth0", &["239.1.1.1%lo,ttl=decrement"]),
            ("239.1.1.1%lo", &["239.1.1.1%eth0,ttl=decrement"]),
        ],
        &["loop: ", "a -> 239.1.1.1%lo -> b -> 239.1.1.1%eth0 -> a"],
    );
    assert_refused(
        &[
            ("239.1.1.1%eth0:5", &["10.0.0.1:7,ttl=decrement"]),
            ("10.0.0.1%eth1:7", &["239.1.1.1%eth0:5,ttl=decrement"]),
        ],
        &["loop: a -> 10.0.0.1:7 -> b -> 239.1.1.1%eth0:5 -> a"],
    );
}

#[test]
fn opposite_pairs_need_decrement() {
    assert_accepted(&[
        ("239.255.255.250%eth0:1900", &["239.255.255.250%eth1:1900,ttl=decrement"]),
        ("239.255.255.250%eth1:1900", &["239.255.255.250%eth0:1900,ttl=decrement"]),
    ]);
    assert_refused(
        &[
            ("239.255.255.250%eth0:1900", &["239.255.255.250%eth1:1900"]),
            ("239.255.255.250%eth1:1900", &["239.255.255.250%eth0,ttl=4"]),
        ],
        &[
            "loop wherever these interfaces are connected: \
             a -> 239.255.255.250%eth1:1900 -> b -> 239.255.255.250%eth0 -> a",
            "add ttl=decrement to every output on the way, \
             here 239.255.255.250%eth1:1900 of rule a and 239.255.255.250%eth0,ttl=4 of rule b",
        ],
    );
    assert_refused(
        &[
            ("[ff02::fb]%eth0:5353", &["[ff02::fb]%eth1,ttl=decrement"]),
            ("[ff02::fb]%eth1:5353", &["[ff02::fb]%eth0"]),
        ],
        &["here [ff02::fb]%eth0 of rule b"],
    );
    // A full mesh of three is the same thing.
    assert_accepted(&[
        ("224.0.0.251%eth0", &["224.0.0.251%eth1,ttl=decrement", "224.0.0.251%eth2,ttl=decrement"]),
        ("224.0.0.251%eth1", &["224.0.0.251%eth0,ttl=decrement", "224.0.0.251%eth2,ttl=decrement"]),
        ("224.0.0.251%eth2", &["224.0.0.251%eth0,ttl=decrement", "224.0.0.251%eth1,ttl=decrement"]),
    ]);
}

#[test]
fn collisions_name_both() {
    let message = |rules: Vec<Rule>| {
        let faults = RuleSet::from_rules(rules).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        (faults[0].rule, faults[0].part, faults[0].error.to_string())
    };
    let (place, part, words) = message(vec![
        rule("a", "239.1.1.1%eth0:5", &["10.0.0.1"]),
        rule("b", "239.1.1.1%eth0:5", &["10.0.0.2"]),
    ]);
    assert_eq!((place, part), (1, RulePart::Input));
    assert!(
        words.contains("rules b and a both have the input 239.1.1.1%eth0:5: list all outputs in one"),
        "{words}"
    );
    let (place, part, words) = message(vec![
        rule("a", "239.1.1.1%eth0:5", &["10.0.0.1"]),
        rule("a", "239.1.1.1%eth0:6", &["10.0.0.2"]),
    ]);
    assert_eq!((place, part), (1, RulePart::Name));
    assert!(words.contains("there is a rule named a already: give this one another name"), "{words}");
}

#[test]
fn only_identical_inputs_collide() {
    assert_accepted(&[
        ("239.1.1.1%eth0", &["10.0.0.1"]),
        ("239.1.1.1%eth0:5", &["10.0.0.1"]),
        ("239.1.1.1%eth0:6", &["10.0.0.1"]),
        ("239.1.1.1%eth1:5", &["10.0.0.1"]),
        ("10.0.0.9@239.1.1.1%eth0", &["10.0.0.1"]),
        ("10.0.0.9@239.1.1.1%eth0:5", &["10.0.0.1"]),
        ("10.0.0.8@239.1.1.1%eth0:5", &["10.0.0.1"]),
    ]);
}

#[test]
fn changes_keep_order_and_undo_themselves() {
    let first = rule("a", "239.1.1.1%eth0:5", &["239.1.1.2%eth0"]);
    let second = rule("b", "239.1.1.2%eth0:5", &["10.0.0.1"]);
    let mut set = RuleSet::new();
    set.add(first.clone()).unwrap();
    set.add(second.clone()).unwrap();
    let before = set.clone();

    assert!(set.add(rule("b", "239.1.1.3%eth0:5", &["10.0.0.1"])).is_err());
    assert!(set.add(rule("c", "239.1.1.2%eth0:5", &["10.0.0.1"])).is_err());
    assert!(set.add(rule("c", "239.1.1.3%eth0:5", &[])).is_err());
    assert!(set.replace(rule("b", "239.1.1.1%eth0:5", &["10.0.0.1"])).is_err());
    assert!(set.replace(rule("b", "239.1.1.2%eth0:5", &["239.1.1.1%eth0"])).is_err());
    assert_eq!(set, before);
    assert_eq!(set.get(&name("b")), Some(&second));

    let changed = rule("a", "239.1.1.1%eth0:6", &["10.0.0.1"]);
    assert_eq!(set.replace(changed.clone()).unwrap(), Some(first));
    assert_eq!(set.iter().next(), Some(&changed));
    set.add(rule("c", "239.1.1.1%eth0:5", &["10.0.0.1"])).unwrap();
    assert_eq!(set.remove(&name("a")), Some(changed.clone()));
    assert_eq!(set.remove(&name("a")), None);
    assert_eq!(set.replace(changed).unwrap(), None);
    let names: Vec<_> = set.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!((names, set.len(), set.is_empty()), (vec!["b", "c", "a"], 3, false));
}

#[test]
fn plans_go_by_name() {
    let gone = rule("gone", "239.1.1.1%eth0", &["10.0.0.1"]);
    let kept = rule("kept", "239.1.1.2%eth0", &["10.0.0.1"]);
    let old = RuleSet::from_rules(vec![gone, rule("other", "239.1.1.3%eth0", &["10.0.0.1"]), kept.clone()]);
    let new = RuleSet::from_rules(vec![
        kept,
        rule("new", "239.1.1.1%eth0", &["10.0.0.1"]),
        rule("other", "239.1.1.3%eth0", &["10.0.0.1,ttl=3"]),
    ]);
    let (old, new) = (old.unwrap(), new.unwrap());
    let plan = old.plan(&new);
    assert_eq!(plan.add, [name("new")]);
    assert_eq!(plan.remove, [name("gone")]);
    assert_eq!(plan.change, [name("other")]);
    assert_eq!(plan.keep, [name("kept")]);
    assert_eq!(new.plan(&new).keep.len(), 3);
}

/// Whether a leg of a rule feeds another rule, by definition rather than by index.
fn feeds(rule: &Rule, leg: &Leg, fed: &Rule) -> bool {
    let flow = &fed.input;
    let place = match &leg.interface {
        Some(interface) => *interface == flow.interface,
        None => !flow.address.is_multicast(),
    };
    let port = leg.port.or(rule.input.port);
    let sources = match (leg.source, flow.source) {
        (_, None) => true,
        (LegSource::Interface, Some(_)) => false,
        (LegSource::Keep, Some(source)) => rule.input.source.is_none_or(|kept| kept == source),
        (LegSource::Address(own), Some(source)) => own == source,
    };
    let ports = port.is_none() || flow.port.is_none() || port == flow.port;
    place && leg.address == flow.address && ports && sources
}

/// Whether rules have a circle that is refused, by closing the relation of who reaches whom.
fn has_refused_circle(rules: &[Rule]) -> bool {
    let closure = |edges: &[(usize, usize)]| {
        let mut reach = vec![vec![false; rules.len()]; rules.len()];
        edges.iter().for_each(|&(from, to)| reach[from][to] = true);
        for by in 0..rules.len() {
            for from in 0..rules.len() {
                for to in 0..rules.len() {
                    reach[from][to] |= reach[from][by] && reach[by][to];
                }
            }
        }
        reach
    };
    let (mut all, mut one_interface, mut bad) = (vec![], vec![], vec![]);
    for (from, rule) in rules.iter().enumerate() {
        for (to, fed) in rules.iter().enumerate() {
            for leg in rule.outputs.iter().filter(|leg| feeds(rule, leg, fed)) {
                all.push((from, to));
                if leg.interface.as_ref() == Some(&rule.input.interface) {
                    one_interface.push((from, to));
                }
                let here = leg.interface.as_ref().is_none_or(|interface| interface.as_str() == "lo");
                if here || leg.ttl != Ttl::Decrement {
                    bad.push((from, to));
                }
            }
        }
    }
    let reach = closure(&all);
    let on_one = closure(&one_interface);
    (0..rules.len()).any(|rule| on_one[rule][rule])
        || bad.iter().any(|&(from, to)| from == to || reach[to][from])
}

/// A few rules on so few interfaces, addresses, ports and sources that they often feed each other.
fn crowded_rules() -> impl Strategy<Value = Vec<Rule>> {
    let interface = prop::sample::select(vec!["eth0", "eth1", "lo"]);
    let address = prop::sample::select(vec!["239.1.1.1", "239.1.1.2", "10.0.0.1"]);
    let input =
        (prop::sample::select(vec!["", "", "10.0.0.8@", "10.0.0.9@"]), address.clone(), interface.clone());
    let leg = (
        address,
        prop::option::weighted(0.8, interface),
        prop::sample::select(vec!["", ":5", ":6"]),
        prop::sample::select(vec!["", "", ",source=10.0.0.8", ",source=keep,sport=7"]),
        prop::sample::select(vec!["", ",ttl=decrement", ",ttl=decrement", ",ttl=decrement"]),
    );
    let leg = leg.prop_map(|(address, interface, port, source, ttl)| {
        let interface = interface.map(|interface| format!("%{interface}")).unwrap_or_default();
        format!("{address}{interface}{port}{source}{ttl}")
    });
    let parts = (input, prop::sample::select(vec!["", ":5", ":6"]), prop::collection::vec(leg, 1..3));
    prop::collection::vec(parts, 1..6).prop_map(|parts| {
        let rules =
            parts.into_iter().enumerate().map(|(number, ((source, address, interface), port, legs))| {
                let legs: Vec<_> = legs.iter().map(String::as_str).collect();
                rule(&format!("r{number}"), &format!("{source}{address}%{interface}{port}"), &legs)
            });
        let mut inputs = std::collections::HashSet::new();
        rules.filter(|rule| rule.check().is_ok() && inputs.insert(rule.input.clone())).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn loops_are_those_of_the_definition(rules in crowded_rules()) {
        let expected = has_refused_circle(&rules);
        let whole = RuleSet::from_rules(rules.clone());
        prop_assert_eq!(whole.is_err(), expected, "{:?}", whole);

        let mut set = RuleSet::new();
        let refused = rules.iter().any(|rule| set.add(rule.clone()).is_err());
        prop_assert_eq!(refused, expected);

        for fault in whole.err().unwrap_or_default() {
            let words = fault.error.to_string();
            prop_assert!(words.contains(&format!("{} -> ", rules[fault.rule].name)), "{}", words);
        }
    }
}
