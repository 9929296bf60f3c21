//! What a rule is refused for on its own, with the words.

use mcast::Engine;

use crate::rule;

const GROUP: &str = "239.1.1.1%eth0:5000";
const OUT: &str = "239.2.2.2%eth1:6000";

#[test]
fn sound_rules_pass() {
    for (input, output) in [
        (GROUP, OUT),
        ("239.1.1.1%eth0", "239.2.2.2%eth1"),
        ("10.10.1.100@239.1.1.1%eth0:5000", "10.0.0.100:6000"),
        ("10.0.0.1%eth0:5000", "[ff3e::2]%eth2:6000"),
        ("[2001:db8::1]@[ff3e::2]%eth0:6000", "239.2.2.2%eth1,source=10.0.0.1"),
        ("[2001:db8::9]%eth0:6000", "[fe80::1]%eth1"),
        (GROUP, "239.2.2.2%eth1,source=keep,sport=7"),
        (GROUP, "127.0.0.1:6000,ttl=decrement,batch=64"),
    ] {
        rule("a", input, &[output]).check().unwrap();
    }
}

#[test]
fn bad_inputs_are_refused() {
    for (input, words) in [
        ("0.0.0.0%eth0:5000", "input 0.0.0.0%eth0:5000: 0.0.0.0 is the unspecified address"),
        (
            "[::]%eth0:5000",
            ":: is the unspecified address, which no datagram carries on the wire: name a real one",
        ),
        (
            "255.255.255.255%eth0:5000",
            "is the limited broadcast, which is not relayed: name a group or a host",
        ),
        ("[::ffff:239.1.1.1]%eth0:5000", "::ffff:239.1.1.1 is an IPv4 address in IPv6 form: write 239.1.1.1"),
        ("10.0.0.1%eth0", "is unicast and names no port: write 10.0.0.1%eth0:PORT"),
        ("239.1.1.9@239.1.1.1%eth0", "source 239.1.1.9 is multicast, but only hosts send"),
        ("[ff02::1]@[ff3e::2]%eth0", "source ff02::1 is multicast"),
        ("0.0.0.0@239.1.1.1%eth0", "0.0.0.0 is the unspecified address"),
        ("255.255.255.255@239.1.1.1%eth0", "is the limited broadcast"),
        ("[::ffff:10.0.0.1]@[ff3e::2]%eth0", "write 10.0.0.1"),
        ("10.0.0.1@[ff3e::2]%eth0", "source 10.0.0.1 and address ff3e::2 are of different families"),
        ("[2001:db8::1]@239.1.1.1%eth0", "write both as IPv4 or both as IPv6"),
    ] {
        let message = rule("a", input, &[OUT]).check().unwrap_err().to_string();
        assert!(message.contains(words), "{input}: {message}");
    }
}

#[test]
fn bad_outputs_are_refused() {
    for (output, words) in [
        ("0.0.0.0:6000", "output 0.0.0.0:6000: 0.0.0.0 is the unspecified address"),
        ("[::]:6000", ":: is the unspecified address"),
        ("255.255.255.255:6000", "is the limited broadcast"),
        ("[::ffff:10.0.0.1]:6000", "is an IPv4 address in IPv6 form: write 10.0.0.1"),
        ("239.2.2.2:6000,ttl=3", "names no interface to leave by: write 239.2.2.2%INTERFACE:6000,ttl=3"),
        ("[ff3e::2]", "write [ff3e::2]%INTERFACE"),
        (
            "[fe80::2]:6000",
            "is link-local and names no interface, so its link is unknown: write [fe80::2]%INTERFACE:6000",
        ),
        ("239.2.2.2%eth1,source=239.1.1.1", "source 239.1.1.1 is multicast"),
        ("239.2.2.2%eth1,source=0.0.0.0", "0.0.0.0 is the unspecified address"),
        ("239.2.2.2%eth1,source=255.255.255.255", "is the limited broadcast"),
        ("[ff3e::2]%eth1,source=::ffff:10.0.0.1", "write 10.0.0.1"),
        ("[ff3e::2]%eth1,source=10.0.0.1", "are of different families"),
        ("[ff3e::2]%eth1,source=keep,sport=7", "cannot keep the source of input 239.1.1.1%eth0:5000"),
    ] {
        let message = rule("a", GROUP, &[output]).check().unwrap_err().to_string();
        assert!(message.contains(words), "{output}: {message}");
    }
}

#[test]
fn bad_wholes_are_refused() {
    let message = rule("a", GROUP, &[]).check().unwrap_err().to_string();
    assert!(
        message.contains("outputs is empty, so the rule would relay nothing: list at least one"),
        "{message}"
    );

    let outputs: Vec<String> = (1..=1025).map(|port| format!("10.0.0.1:{port}")).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    rule("a", GROUP, &outputs[..1024]).check().unwrap();
    let message = rule("a", GROUP, &outputs).check().unwrap_err().to_string();
    assert!(message.contains("the rule has 1025 outputs, the most is 1024"), "{message}");

    let message = rule("a", GROUP, &[OUT, "10.0.0.1", OUT]).check().unwrap_err().to_string();
    assert!(message.contains(&format!("output {OUT} is there already")), "{message}");

    let mut tc = rule("a", GROUP, &[OUT]);
    tc.engine = Engine::Tc;
    assert_eq!(
        tc.check().unwrap_err().to_string(),
        "engine tc is not in this version: write auto or userspace"
    );

    let mut burst = rule("a", GROUP, &[OUT]);
    burst.outputs[0].batch = std::num::NonZeroU8::new(65);
    let message = burst.check().unwrap_err().to_string();
    assert!(message.contains("write 1 to 64"), "{message}");

    rule("a", GROUP, &["239.2.2.2%eth1,send=frames"]).check().unwrap();
    let message = rule("a", GROUP, &["10.0.0.1%eth1,send=frames"]).check().unwrap_err().to_string();
    assert!(message.contains("send=frames is for groups"), "{message}");
}

#[test]
fn all_faults_are_told() {
    let outputs = ["239.2.2.2", "[ff3e::2]%eth1,source=keep", "0.0.0.0"];
    assert_eq!(rule("a", "239.1.1.9@10.0.0.1%eth0", &outputs).faults().len(), 5);
}
