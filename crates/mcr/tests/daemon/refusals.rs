//! Every refusal, by each of its three ways in: `mcrd --check`, `mcrctl apply`, `mcrctl add`.

use std::process::Command;

use testbed::relay::Relay;
use testbed::{rule, run, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, Place};

const IN: &str = "239.1.1.1%r-in:5000";
const OUT: &str = "239.2.2.2%r-out:6000";

/// Inputs that are refused, each with words of the message.
const INPUTS: &[(&str, &str)] = &[
    // Form.
    ("239.1.1%r-in:5000", "\"239.1.1\" is not an IP address: write IPv4 as 239.1.1.1"),
    ("239.1.1.256%r-in:5000", "is not an IP address"),
    ("", "the endpoint is empty: write [SOURCE@]ADDRESS[%INTERFACE][:PORT]"),
    ("ff3e::1%r-in:5000", "has an IPv6 address without brackets"),
    ("[ff3e::1%r-in:5000", "has no closing bracket"),
    ("[239.1.1.1]%r-in:5000", "brackets hold IPv6 only"),
    ("239.1.1.1%r-in:0", "port 0 is no destination or source: ports are 1 to 65535"),
    ("239.1.1.1%r-in:65536", "\"65536\" is not a port: ports are 1 to 65535"),
    ("239.1.1.1%r-in:http", "\"http\" is not a port"),
    ("239.1.1.1%an-interface-name-too-long:5000", "an-interface-name-too-long"),
    ("239.1.1.1%r-in:5000,ttl=4", "options belong to outputs"),
    // Interfaces.
    ("239.1.1.1:5000", "names no interface: an input needs one, write 239.1.1.1%INTERFACE:5000"),
    ("10.10.1.1:5000", "names no interface: an input needs one"),
    // Addresses and sources.
    ("10.10.1.1%r-in", "is unicast and names no port: write 10.10.1.1%r-in:PORT"),
    ("239.9.9.9@239.1.1.1%r-in:5000", "source 239.9.9.9 is multicast, but only hosts send"),
    ("[ff02::1]@[ff3e::1]%r-in:5000", "source ff02::1 is multicast"),
    ("10.0.0.1@[ff3e::1]%r-in:5000", "are of different families: write both as IPv4 or both as IPv6"),
    ("0.0.0.0%r-in:5000", "0.0.0.0 is the unspecified address"),
    ("255.255.255.255%r-in:5000", "is the limited broadcast"),
    ("[::ffff:239.1.1.1]%r-in:5000", "is an IPv4 address in IPv6 form: write 239.1.1.1"),
];

/// Outputs that are refused.
const OUTPUTS: &[(&str, &str)] = &[
    // Form.
    ("239.2.2.2%r-out:0", "port 0 is no destination or source"),
    ("239.2.2.2%r-out,ttl=0", "ttl=0 is refused: write a TTL from 1 to 255, or ttl=decrement"),
    ("239.2.2.2%r-out,ttl=256", "ttl=256 is refused: write a TTL from 1 to 255"),
    ("239.2.2.2%r-out,dscp=64", "dscp=64 is refused: write a code point from 0 to 63"),
    ("239.2.2.2%r-out,batch=0", "batch=0 is refused: write 1 (no bursts) to 64"),
    ("239.2.2.2%r-out,batch=65", "batch=65 is refused"),
    ("239.2.2.2%r-out,sport=0", "sport=0 is refused: write a port from 1 to 65535"),
    ("239.2.2.2%r-out,source=me", "source=me is refused: write source=interface"),
    ("239.2.2.2%r-out,speed=9", "there is no output option \"speed\": the options are"),
    ("239.2.2.2%r-out,ttl", "is not an option: write KEY=VALUE"),
    ("239.2.2.2%r-out,ttl=1,ttl=2", "option ttl is given twice"),
    ("10.0.0.1@239.2.2.2%r-out", "an output's source is an option, write 239.2.2.2%r-out,source=10.0.0.1"),
    // Interfaces.
    ("239.2.2.2:6000,ttl=3", "names no interface to leave by: write 239.2.2.2%INTERFACE:6000,ttl=3"),
    ("[ff3e::2]:6000", "names no interface to leave by: write [ff3e::2]%INTERFACE:6000"),
    ("[fe80::2]:6000", "is link-local and names no interface"),
    // Addresses and sources.
    ("[::]:6000", ":: is the unspecified address"),
    ("239.2.2.2%r-out,source=239.1.1.1", "source 239.1.1.1 is multicast"),
    ("[ff3e::2]%r-out,source=10.0.0.1", "are of different families"),
    ("[ff3e::2]%r-out,source=keep,sport=7", "cannot keep the source of input 239.1.1.1%r-in:5000"),
    // Loops.
    (IN, "loop: x -> 239.1.1.1%r-in:5000 -> x: send to another group, port or interface"),
];

/// Loops of inputs of other kinds.
const PAIRS: &[(&str, &str, &str)] = &[
    ("239.1.1.1%r-in", "239.1.1.1%r-in:7,ttl=decrement", "loop: x -> "),
    ("239.1.1.1%lo:5000", "239.1.1.1%lo:5000", "loop: x -> 239.1.1.1%lo:5000 -> x"),
    ("10.10.1.1%r-in:5000", "10.10.1.1:5000", "loop: x -> 10.10.1.1:5000 -> x"),
];

/// A file of several rules: all but the last are sound, the last is refused with these words at this line.
type Several = (&'static [(&'static str, &'static str, &'static str)], usize, &'static str);

const SEVERALS: &[Several] = &[
    (
        &[("x", IN, OUT), ("y", IN, "10.10.2.100:7")],
        7,
        "rules y and x both have the input 239.1.1.1%r-in:5000",
    ),
    (
        &[("x", IN, OUT), ("x", "239.1.1.2%r-in", OUT)],
        6,
        "there is a rule named x already: give this one another name",
    ),
    (
        &[("x", "239.1.1.1%r-in", "239.1.1.2%r-in"), ("y", "239.1.1.2%r-in", "239.1.1.1%r-in")],
        4,
        "-> 239.1.1.2%r-in -> ",
    ),
    (
        &[
            ("x", "239.1.1.1%r-in", "239.1.1.1%lo,ttl=decrement"),
            ("y", "239.1.1.1%lo", "239.1.1.1%r-in,ttl=decrement"),
        ],
        4,
        "loop: ",
    ),
    (&[("x", "239.1.1.1%r-in:5", "10.10.1.1:7"), ("y", "10.10.1.1%r-in:7", "239.1.1.1%r-in:5")], 4, "loop: "),
    (
        &[
            ("x", "224.0.0.251%r-in", "224.0.0.251%r-out"),
            ("y", "224.0.0.251%r-out", "224.0.0.251%r-in,ttl=decrement"),
        ],
        4,
        "add ttl=decrement to every output on the way, here 224.0.0.251%r-out of rule x",
    ),
];

/// What only a file can have wrong: the text, line and column, words.
const FILES: &[(&str, &str, &str)] = &[
    (
        "[[rule]]\nname = \"x\"\ninput = \"239.1.1.1%r-in\"\noutputs = []\n",
        "line 4, column 11",
        "outputs is empty",
    ),
    ("colour = 1\n", "line 1, column 1", "unknown key \"colour\": the file has [[rule]] and [worker]"),
    (
        "[[rule]]\nnam = \"x\"\n",
        "line 2, column 1",
        "unknown key \"nam\": a rule has name, input, outputs and engine",
    ),
    (
        "[[rule]]\nname = \"x\"\n",
        "line 1, column 1",
        "the rule has no input: write input = \"239.1.1.1%eth0:5000\"",
    ),
    ("[rule]\nname = \"x\"\n", "line 1, column 2", "a rule stands under [[rule]], in double brackets"),
    ("[[rule]]\nname = \"x\n", "line 2, column", "not TOML: "),
    (
        "[[rule]]\nname = \"x\"\ninput = { group = \"239.1.1.1\" }\noutputs = [\"10.0.0.1\"]\n",
        "line 3",
        "interface",
    ),
    (
        "[[rule]]\nname = \"x\"\ninput = \"239.1.1.1%r-in\"\noutputs = \"10.0.0.1\"\n",
        "line 4, column 11",
        "outputs is a list",
    ),
    (
        "[worker]\nring_mib = 0\n",
        "line 2, column 12",
        "ring_mib is out of range: write a whole number of MiB from 1",
    ),
    ("[worker]\ncores = \"1-0\"\n", "line 2, column 9", "the range \"1-0\" runs downwards"),
    ("[worker]\nthreads = 2\n", "line 2, column 1", "unknown key \"threads\": [worker] has cores"),
];

struct Refused<'a> {
    relay: &'a Relay,
    before: (serde_json::Value, serde_json::Value),
}

fn state(relay: &Relay) -> (serde_json::Value, serde_json::Value) {
    (relay.ctl_json(&["list"]), relay.stats()["generation"].clone())
}

impl<'a> Refused<'a> {
    fn of(relay: &'a Relay) -> Self {
        Self { relay, before: state(relay) }
    }

    /// `mcrd --check` and `mcrctl apply` refuse the file, at the place and with the words.
    fn file(&self, text: &str, at: &str, words: &str) {
        let path = self.relay.file("refused.toml", text);
        let mut check = Command::new(PROGRAMS.mcrd);
        check.args(["--check", "--config", &path]);
        let checked = run(check, PATIENCE);
        assert_eq!((checked.code(), checked.stdout.as_str()), (2, ""), "{text}");
        let applied = self.relay.ctl(&["apply", &path]);
        assert_eq!((applied.code(), applied.stdout.as_str()), (1, ""), "{text}");
        for message in [checked.stderr, applied.stderr] {
            let line = message.lines().find(|line| line.contains(words));
            let line = line.unwrap_or_else(|| panic!("{text}: no {words:?} in {message}"));
            assert!(line.contains(at), "{text}: not at {at}: {line}");
            assert!(message.contains(&path), "{text}: the file is not named: {message}");
        }
    }

    /// `mcrctl add` refuses the rule with the words.
    fn add(&self, arguments: &[&str], words: &str) {
        let added = self.relay.ctl(&[&["add"], arguments].concat());
        assert_eq!((added.code(), added.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(added.stderr.contains(words), "{arguments:?}: no {words:?} in {}", added.stderr);
        assert!(added.stderr.starts_with("mcrctl: "), "{}", added.stderr);
    }

    fn assert_nothing_changed(&self) {
        assert_eq!(state(self.relay), self.before);
    }
}

#[test]
fn single_rules() {
    skip_unless_available!();
    let place = Place::start("dm-single", &rule("there", "239.99.9.9%r-in:5000", &[OUT]));
    let refused = Refused::of(&place.relay);
    let inputs = INPUTS.iter().map(|&(input, words)| (input, OUT, "line 3, column ", words));
    let outputs = OUTPUTS.iter().map(|&(output, words)| (IN, output, "line 4, column ", words));
    let pairs = PAIRS.iter().map(|&(input, output, words)| (input, output, "line 4, column ", words));
    for (input, output, place, words) in inputs.chain(outputs).chain(pairs) {
        refused.file(&rule("x", input, &[output]), place, words);
        refused.add(&["x", input, output], words);
    }
    for (engine, words) in [
        ("tc", "engine tc is not in this version: write auto or userspace"),
        ("warp", "there is no engine \"warp\": write auto, userspace or tc"),
    ] {
        let text = rule("x", IN, &[OUT]) + &format!("engine = \"{engine}\"\n");
        refused.file(&text, "line 5, column 10", words);
        refused.add(&["x", IN, OUT, "--engine", engine], words);
    }
    for name in ["a b", "", "ä", "a/b"] {
        refused.file(&rule(name, IN, &[OUT]), "line 2, column 8", "is not a rule name");
        refused.add(&[name, IN, OUT], "is not a rule name");
    }
    refused.assert_nothing_changed();
}

#[test]
fn rules_that_do_not_fit_together() {
    skip_unless_available!();
    let place = Place::start("dm-several", "");
    for (rules, line, words) in SEVERALS {
        let text: String = rules.iter().map(|(name, input, output)| rule(name, input, &[output])).collect();
        let refused = Refused::of(&place.relay);
        refused.file(&text, &format!("line {line}, column "), words);
        refused.assert_nothing_changed();
        let (last, sound) = rules.split_last().unwrap();
        for (name, input, output) in sound {
            place.relay.ctl_ok(&["add", name, input, output]);
        }
        let refused = Refused::of(&place.relay);
        refused.add(&[last.0, last.1, last.2], words);
        refused.assert_nothing_changed();
        for (name, ..) in sound {
            place.relay.ctl_ok(&["remove", name]);
        }
    }
    // The remedy that the last refusal names.
    place.relay.ctl_ok(&["add", "x", "224.0.0.251%r-in", "224.0.0.251%r-out,ttl=decrement"]);
    place.relay.ctl_ok(&["add", "y", "224.0.0.251%r-out", "224.0.0.251%r-in,ttl=decrement"]);
    // Replacing is measured against the others, too.
    let refused = Refused::of(&place.relay);
    refused.add(&["y", "224.0.0.251%r-out", "224.0.0.251%r-in", "--replace"], "add ttl=decrement");
    refused.add(&["y", "224.0.0.251%r-in", "10.10.2.100", "--replace"], "both have the input");
    refused.assert_nothing_changed();
}

#[test]
fn files() {
    skip_unless_available!();
    let place = Place::start("dm-files", &rule("there", IN, &[OUT]));
    let refused = Refused::of(&place.relay);
    for (text, at, words) in FILES {
        refused.file(text, at, words);
    }
    // All mistakes are told at once, each on a line of its own.
    let path = place.relay.file("three.toml", "a = 1\nb = 2\n[worker]\nc = 3\n");
    let told = place.relay.ctl(&["apply", &path]).stderr;
    assert_eq!(told.lines().filter(|line| line.contains("unknown key")).count(), 3, "{told}");
    let json = place.relay.ctl(&["apply", &path, "--json"]);
    assert_eq!((json.code(), json.stdout.as_str()), (1, ""));
    let document: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert!(
        document["error"].as_str().unwrap().contains("line 4, column 1: unknown key \"c\""),
        "{document}"
    );
    for missing in ["/nonexistent/rules.toml", "/"] {
        let absent = place.relay.ctl(&["apply", missing]);
        assert_eq!(absent.code(), 1);
        assert!(absent.stderr.contains(missing), "{}", absent.stderr);
    }
    refused.assert_nothing_changed();
}

#[test]
fn an_input_on_a_bridge_port_names_the_bridge() {
    skip_unless_available!();
    let place = Place::start("dm-bridge", &rule("there", IN, &[OUT]));
    let bridge = testbed::Bridge::new(place.line.relay(), "br0").unwrap();
    let veth = testbed::Veth::pair((place.line.relay(), "p0"), (place.line.relay(), "p1")).unwrap();
    bridge.attach(&veth.a).unwrap();
    let words = "interface p0 is a port of the bridge br0, which takes its packets: use %br0";
    let input = "239.1.1.5%p0:5000";
    // Word of a link takes a moment.
    testbed::eventually(PATIENCE, "the bridge is seen", || {
        let refused = place.relay.ctl(&["add", "x", input, OUT]).code() == 1;
        refused || place.relay.ctl(&["remove", "x"]).code() != 0
    });
    let refused = Refused::of(&place.relay);
    refused.add(&["x", input, OUT], words);
    let file = place.relay.file("port.toml", &rule("x", input, &[OUT]));
    let applied = place.relay.ctl(&["apply", &file]);
    assert_eq!(applied.code(), 1);
    assert!(applied.stderr.contains(words), "{}", applied.stderr);
    refused.assert_nothing_changed();
    // As an output it is fine, and so is the bridge as an input.
    place.relay.ctl_ok(&["add", "x", "239.1.1.5%br0:5000", "239.2.2.9%p0:6000"]);

    // One that becomes a port later waits and says why.
    bridge.attach(&place.line.ingress.link).unwrap();
    place.relay.wait_state("there", "pending", PATIENCE);
    assert!(
        place.relay.state("there").1.contains("is a port of the bridge br0"),
        "{:?}",
        place.relay.state("there")
    );
    place.line.ingress.link.set("nomaster").unwrap();
    place.relay.wait_state("there", "active", PATIENCE);
}
