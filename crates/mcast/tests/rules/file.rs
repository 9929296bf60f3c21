//! The rule file: what it means, where its mistakes are, that it survives writing.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use mcast::{Engine, Flow, Rule, RuleFile, RuleSet, WorkerOptions};
use proptest::prelude::*;

use crate::strategies;

/// The mistakes in a file as `line:column message`.
fn mistakes(text: &str) -> Vec<String> {
    let error = RuleFile::parse(text).unwrap_err();
    error.mistakes().iter().map(|at| format!("{}:{} {}", at.line, at.column, at.message)).collect()
}

fn assert_mistakes(text: &str, expected: &[&str]) {
    let found = mistakes(text);
    let fit = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(fit, "{text}\n{found:#?}\n{expected:#?}");
}

#[test]
fn a_file_is_read() {
    let text = r#"
# a comment
[[rule]]
name    = "camera-1"
input   = "10.10.1.100@239.1.1.1%eth0:5000"
outputs = ["239.2.2.2%eth1:6000,ttl=16,dscp=34",
           "10.0.0.100:6000",
           "[ff3e::2]%eth2:6000"]
engine  = "auto"

[[rule]]
name = "feed"
input = { interface = "eth0", group = "239.1.1.1", port = 5000 }
outputs = [{ group = "239.3.3.3", interface = "eth1" }]
engine = "userspace"

[worker]
cores = "0,2-3"
ring_mib = 64
busy_poll = false
max_wait_us = 0
"#;
    let file = RuleFile::parse(text).unwrap();
    let names: Vec<_> = file.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["camera-1", "feed"]);
    let feed = file.rules.get(&"feed".parse().unwrap()).unwrap();
    assert_eq!((feed.outputs[0].to_string().as_str(), feed.engine), ("239.3.3.3%eth1", Engine::Userspace));
    assert_eq!(file.worker.cores.as_ref().unwrap().as_slice(), [0, 2, 3]);
    assert_eq!(file.worker.ring_mib.unwrap().get(), 64);
    assert_eq!(file.worker.busy_poll, Some(false));
    assert_eq!(file.worker.max_wait_us, Some(0));
    assert_eq!(RuleFile::parse(&file.to_toml()).unwrap(), file);
}

#[test]
fn an_empty_file_has_no_rules() {
    assert_eq!(RuleFile::parse("# nothing\n").unwrap(), RuleFile::default());
    assert_eq!(RuleFile::parse("rule = []\n[worker]\n").unwrap(), RuleFile::default());
    assert_eq!(RuleFile::default().to_toml(), "");
}

#[test]
fn bad_toml_ends_at_its_place() {
    assert_mistakes("[[rule]]\nname = \"a\nx", &["2:10 not TOML: invalid basic string"]);
    assert_mistakes("[[rule]\n", &["1:8 not TOML: "]);
    assert_mistakes("[[rule]]\nname = 1\nname = 2\n", &["3:1 not TOML: duplicate key"]);
}

#[test]
fn every_mistake_has_its_place() {
    let text = r#"rules = 1
[[rule]]
name = "a b"
input = "239.1.1.1%eth0:0"
outputs = ["239.2.2.2%eth1:6000", "239.2.2.2%eth1,ttl=0",
    { group = "239.2.2.2", interface = "eth1", ttl = 256 }]
engine = "warp"
colour = 1
[[rule]]
name = 5
input = { interface = "eth0", group = "239.1.1.1", port = 0 }
outputs = "10.0.0.1"
[[rule]]
[[rule]]
name = "c"
input = { interface = "eth0", group = "239.1.1.1", prt = 5 }
outputs = [5]
[worker]
cores = "0,9999"
ring_mib = 0
busy_poll = 1
max_wait_us = 1001
threads = 1
"#;
    assert_mistakes(
        text,
        &[
            "1:1 unknown key \"rules\": the file has [[rule]] and [worker]",
            "3:8 \"a b\" is not a rule name: ",
            "4:9 port 0 is no destination or source: ports are 1 to 65535",
            "5:35 ttl=0 is refused: write a TTL from 1 to 255, or ttl=decrement",
            "6:54 ttl=256 is refused",
            "7:10 there is no engine \"warp\": write auto, userspace or tc",
            "8:1 unknown key \"colour\": a rule has name, input, outputs and engine",
            "10:8 invalid type: integer `5`, expected a rule name",
            "11:59 port 0 is no destination",
            "12:11 outputs is a list: write outputs = [",
            "13:1 the rule has no name: write name = \"camera-1\"",
            "13:1 the rule has no input: write input = ",
            "13:1 the rule has no outputs: write outputs = ",
            "16:52 unknown field `prt`, expected one of `interface`, `group`, `address`, `port`, `source`",
            "17:12 invalid type: integer `5`, expected an output: a string such as",
            "19:9 \"9999\" is not a core",
            "20:12 ring_mib is out of range: write a whole number of MiB from 1 to 1024",
            "21:13 busy_poll is a switch: write true or false",
            "22:15 max_wait_us is out of range: write a whole number of microseconds from 0 to 1000",
            "23:1 unknown key \"threads\": [worker] has cores, ring_mib, busy_poll and max_wait_us",
        ],
    );
    assert_mistakes("worker = 1\n[rule]\n", &["1:1 worker is a table", "2:2 a rule stands under [[rule]]"]);
    assert_mistakes("rule = [1]\n", &["1:9 a rule is a table"]);
}

#[test]
fn every_refusal_has_its_place() {
    let text = r#"[[rule]]
name = "a"
input = "239.9.9.9@239.1.1.1%eth0:5000"
outputs = ["239.2.2.2:6000"]
[[rule]]
name = "b"
input = { source = "ff02::1", group = "239.1.1.2", interface = "eth0" }
outputs = []
[[rule]]
name = "b"
input = "239.1.1.1%eth0"
outputs = ["10.0.0.1,sport=9", { address = "10.0.0.1", sport = 9 }, { address = "0.0.0.0" }]
engine = "tc"
[[rule]]
name = "d"
input = "239.1.1.1%eth0"
outputs = ["10.0.0.1"]
[[rule]]
name = "e"
input = "239.1.1.3%eth0"
outputs = ["10.0.0.1", "239.1.1.4%eth0"]
[[rule]]
name = "f"
input = "239.1.1.4%eth0"
outputs = ["239.1.1.3%eth0"]
"#;
    assert_mistakes(
        text,
        &[
            "3:9 rule a: input 239.9.9.9@239.1.1.1%eth0:5000: source 239.9.9.9 is multicast",
            "4:12 rule a: output 239.2.2.2:6000 is a group and names no interface",
            "7:20 rule b: input [ff02::1]@239.1.1.2%eth0: source ff02::1 is multicast",
            "8:11 rule b: outputs is empty",
            "10:8 there is a rule named b already: give this one another name, or replace that one (the other stands at line 6)",
            "12:32 rule b: output 10.0.0.1,sport=9 is there already: remove one of the two",
            "12:81 rule b: output 0.0.0.0: 0.0.0.0 is the unspecified",
            "13:10 rule b: engine tc is not in this version",
            "16:9 rules d and b both have the input 239.1.1.1%eth0",
            "21:24 loop: e -> 239.1.1.4%eth0 -> f -> 239.1.1.3%eth0 -> e",
        ],
    );
}

#[test]
fn long_lists_of_mistakes_are_cut() {
    let text = "[[rule]]\n".repeat(10);
    let error = RuleFile::parse(&text).unwrap_err();
    let shown = error.to_string();
    assert_eq!(error.mistakes().len(), 30);
    assert!(shown.starts_with("line 1, column 1: the rule has no name"), "{shown}");
    assert!(shown.ends_with("\nand 10 more"), "{shown}");
    assert_eq!(shown.lines().count(), 21);
}

/// Ten thousand rules of a kind, as a file.
fn many(rule: impl Fn(usize) -> (String, String)) -> String {
    let entry = |number| {
        let (input, output) = rule(number);
        format!("[[rule]]\nname = \"r{number}\"\ninput = \"{input}\"\noutputs = [\"{output}\"]\n")
    };
    (0..10_000).map(entry).collect()
}

fn group(base: u8, number: usize) -> String {
    format!("239.{base}.{}.{}", number / 250, number % 250)
}

/// Quadratic checks take minutes on these even in a debug build without load; linear ones a second.
#[test]
fn ten_thousand_rules_are_quick_in_any_shape() {
    let plain = many(|n| (format!("{}%eth0:5000", group(1, n)), format!("{}%eth1:6000", group(2, n))));
    let chain = many(|n| (format!("{}%eth0", group(1, n)), format!("{}%eth0", group(1, n + 1))));
    let chain_back = many(|n| (format!("{}%eth0", group(1, n + 1)), format!("{}%eth0", group(1, n))));
    let one_address = many(|n| {
        let input = format!("10.{}.{}.1@10.0.0.1%eth0:{}", n / 250, n % 250, n + 1);
        (input, "10.0.0.1:60000,source=10.0.0.2".to_owned())
    });
    let pairs = many(|n| {
        let (here, there) = if n % 2 == 0 { ("eth0", "eth1") } else { ("eth1", "eth0") };
        let group = group(1, n / 2);
        (format!("{group}%{here}"), format!("{group}%{there},ttl=decrement"))
    });
    for text in [plain, chain, chain_back, one_address, pairs.clone()] {
        let start = Instant::now();
        let file = RuleFile::parse(&text).unwrap();
        assert_eq!(file.rules.len(), 10_000);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
    let looping = pairs.replace(",ttl=decrement", "");
    let start = Instant::now();
    assert_eq!(RuleFile::parse(&looping).unwrap_err().mistakes().len(), 5_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Sound rules with arbitrary interfaces, ports and options.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (strategies::flow(), prop::collection::vec(strategies::leg(), 1..6), any::<bool>());
    prop::collection::vec(rule, 1..8).prop_map(|parts| {
        let named = parts.into_iter().enumerate().map(|(number, (input, outputs, userspace))| Rule {
            name: format!("r{number}").parse().unwrap(),
            input: Flow {
                source: input.source.filter(|source| source.is_ipv4() == input.address.is_ipv4()),
                port: input.port.or(NonZeroU16::new(9)),
                ..input
            },
            outputs,
            engine: if userspace { Engine::Userspace } else { Engine::Auto },
        });
        let cut = named.map(|mut rule| {
            let input = rule.clone();
            rule.outputs.retain(|leg| Rule { outputs: vec![leg.clone()], ..input.clone() }.check().is_ok());
            rule
        });
        cut.filter(|rule| rule.check().is_ok()).collect()
    })
}

fn worker() -> impl Strategy<Value = WorkerOptions> {
    use prop::option::of;
    let cores = of("[0-9](,1[0-9](-2[0-9])?)?");
    let options = (cores, of(1u16..=1024), of(any::<bool>()), of(0u16..=1000));
    options.prop_map(|(cores, ring_mib, busy_poll, max_wait_us)| WorkerOptions {
        cores: cores.map(|cores| cores.parse().unwrap()),
        ring_mib: ring_mib.and_then(|mib| mib.try_into().ok()),
        busy_poll,
        max_wait_us,
    })
}

proptest! {
    #[test]
    fn files_survive_writing(rules in rules(), worker in worker()) {
        if let Ok(rules) = RuleSet::from_rules(rules) {
            let file = RuleFile { rules, worker };
            let text = file.to_toml();
            prop_assert_eq!(RuleFile::parse(&text), Ok(file), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = RuleFile::parse(&text);
    }

    #[test]
    fn no_toml_makes_the_reader_panic(
        lines in prop::collection::vec(
            "(\\[\\[rule\\]\\]|\\[worker\\]|(name|input|outputs|engine|cores|ring_mib|max_wait_us|x) = (1|-1|true|1.5|\"\\PC{0,12}\"|\\[\\]|\\[1, \"a\"\\]|\\{ group = \"é\", port = 0 \\}|1979-05-27))",
            0..12,
        )
    ) {
        let text = lines.join("\n");
        if let Err(error) = RuleFile::parse(&text) {
            let count = text.lines().count().max(1);
            prop_assert!(!error.mistakes().is_empty());
            prop_assert!(error.mistakes().iter().all(|at| (1..=count + 1).contains(&at.line) && at.column >= 1));
        }
    }
}
