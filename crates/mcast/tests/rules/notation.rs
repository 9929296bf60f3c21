//! The endpoint notation read and written: canonical forms, refusals with their words, round trips.

use std::fmt::Display;
use std::str::FromStr;

use mcast::{Endpoint, Flow, Leg};
use proptest::prelude::*;

use crate::strategies;

fn written<T: FromStr<Err: Display> + Display>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(value) => value.to_string(),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refused<T: FromStr<Err: Display> + Display>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(value) => panic!("{text:?} was read as {value}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn canonical_forms_stay() {
    for text in
        ["239.1.1.1", "239.1.1.1:5000", "239.1.1.1%eth0", "[ff3e::2]:6000", "[::1]", "10.0.0.1@239.1.1.1"]
    {
        assert_eq!(written::<Endpoint>(text), text);
    }
    for text in [
        "10.10.1.100@239.1.1.1%eth0:5000",
        "239.1.1.1%br-1.7",
        "[2001:db8::1]@[ff3e::2]%eth0:6000",
        "10.0.0.1%lo:1",
    ] {
        assert_eq!(written::<Flow>(text), text);
    }
    for text in [
        "239.2.2.2%eth1:6000,ttl=16,dscp=34",
        "10.0.0.100:6000",
        "[ff3e::2]%eth2:6000",
        "239.2.2.2%eth1",
        "239.2.2.2%eth1,source=keep,sport=7,ttl=decrement,dscp=0,batch=64,send=frames",
        "[ff3e::2]%eth2,source=[2001:db8::1],sport=keep",
    ] {
        assert_eq!(written::<Leg>(text), text);
    }
}

#[test]
fn other_forms_become_canonical() {
    assert_eq!(written::<Flow>("[ff02::1%eth0]:6000"), "[ff02::1]%eth0:6000");
    assert_eq!(written::<Flow>("[ff02:0:0::1]%eth0:06000"), "[ff02::1]%eth0:6000");
    assert_eq!(written::<Leg>("[ff02::1%eth0]"), "[ff02::1]%eth0");
    assert_eq!(
        written::<Leg>("239.2.2.2%eth1:6000,batch=1,ttl=64,send=datagrams,sport=9,source=interface"),
        "239.2.2.2%eth1:6000,sport=9,batch=1"
    );
    assert_eq!(written::<Leg>("[ff3e::2]%eth2,source=2001:db8::1"), "[ff3e::2]%eth2,source=[2001:db8::1]");
}

#[test]
fn bad_endpoints_are_refused_with_the_remedy() {
    for (text, words) in [
        ("", "the endpoint is empty: write [SOURCE@]ADDRESS[%INTERFACE][:PORT]"),
        ("eth0", "\"eth0\" is not an IP address"),
        ("239.1.1", "\"239.1.1\" is not an IP address"),
        ("239.1.1.1 %eth0", "\"239.1.1.1 \" is not an IP address"),
        ("x@239.1.1.1", "\"x\" is not an IP address"),
        ("10.0.0.1@10.0.0.2@239.1.1.1", "\"10.0.0.2@239.1.1.1\" is not an IP address"),
        ("ff3e::2%eth0:6000", "write it as in [ff3e::1]%eth0:5000"),
        ("ff3e::2:6000", "write it as in [ff3e::1]%eth0:5000"),
        ("2001:db8::1@[ff3e::2]", "has an IPv6 address without brackets"),
        ("[ff3e::2", "has no closing bracket"),
        ("[239.1.1.1]:5000", "brackets hold IPv6 only"),
        ("[ff3e::2]6000", "\"6000\" after the address is neither %INTERFACE nor :PORT"),
        ("239.1.1.1%", "\"\" is not an interface name"),
        ("239.1.1.1%sixteen-letters-", "is not an interface name: 1 to 15"),
        ("239.1.1.1%eth/0:5", "is not an interface name"),
        ("[ff02::1%eth0]%eth0:6000", "names its interface twice"),
        ("10.0.0.1%eth0@239.1.1.1", "as in 10.0.0.1@ADDRESS%eth0"),
        ("[fe80::1%eth0]@[ff02::1]", "as in [fe80::1]@ADDRESS%eth0"),
        ("239.1.1.1:0", "ports are 1 to 65535"),
        ("239.1.1.1:65536", "\"65536\" is not a port"),
        ("239.1.1.1:+5", "\"+5\" is not a port"),
        ("239.1.1.1:", "\"\" is not a port"),
        ("239.1.1.1:5000:6000", "without brackets"),
        ("239.1.1.1%eth0:5000,ttl=3", "\"ttl=3\" follows a comma: options belong to outputs"),
    ] {
        let message = refused::<Endpoint>(text);
        assert!(message.contains(words), "{text:?}: {message}");
    }
}

#[test]
fn bad_inputs_are_refused_with_the_remedy() {
    let message = refused::<Flow>("10.0.0.1@239.1.1.1:5000");
    assert!(message.contains("write 10.0.0.1@239.1.1.1%INTERFACE:5000"), "{message}");
    let message = refused::<Flow>("239.1.1.1%eth0,source=10.0.0.1");
    assert!(message.contains("options belong to outputs"), "{message}");
}

#[test]
fn bad_outputs_are_refused_with_the_remedy() {
    for (text, words) in [
        (",ttl=3", "the endpoint is empty"),
        ("10.0.0.1@239.1.1.1%eth0:5000", "write 239.1.1.1%eth0:5000,source=10.0.0.1"),
        ("[fe80::1]@[ff02::1]%eth0,ttl=3", "write [ff02::1]%eth0,source=[fe80::1]"),
        (
            "239.1.1.1%eth0,",
            "\"\" is not an option: write KEY=VALUE with one of source, sport, ttl, dscp, batch, send",
        ),
        ("239.1.1.1%eth0,ttl", "\"ttl\" is not an option"),
        ("239.1.1.1%eth0,tos=3", "there is no output option \"tos\""),
        ("239.1.1.1%eth0,ttl=3,ttl=3", "option ttl is given twice"),
        ("239.1.1.1%eth0,source=eth0", "source=eth0 is refused"),
        ("239.1.1.1%eth0,sport=0", "sport=0 is refused: write a port from 1 to 65535"),
        ("239.1.1.1%eth0,sport=65536", "sport=65536 is refused"),
        ("239.1.1.1%eth0,ttl=0", "ttl=0 is refused: write a TTL from 1 to 255, or ttl=decrement"),
        ("239.1.1.1%eth0,ttl=256", "ttl=256 is refused"),
        ("239.1.1.1%eth0,ttl=+3", "ttl=+3 is refused"),
        ("239.1.1.1%eth0,dscp=64", "dscp=64 is refused: write a code point from 0 to 63"),
        ("239.1.1.1%eth0,batch=0", "batch=0 is refused: write 1 (no bursts) to 64"),
        ("239.1.1.1%eth0,batch=65", "batch=65 is refused"),
        ("239.1.1.1%eth0,send=packets", "send=packets is refused: write send=datagrams or send=frames"),
    ] {
        let message = refused::<Leg>(text);
        assert!(message.contains(words), "{text:?}: {message}");
    }
}

proptest! {
    #[test]
    fn endpoints_survive_writing(endpoint in strategies::endpoint()) {
        prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
    }

    #[test]
    fn inputs_survive_writing(flow in strategies::flow()) {
        prop_assert_eq!(flow.to_string().parse::<Flow>().unwrap(), flow);
    }

    #[test]
    fn outputs_survive_writing(leg in strategies::leg()) {
        prop_assert_eq!(leg.to_string().parse::<Leg>().unwrap(), leg);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,60}|[0-9a-f:.%@,=\\[\\]]{0,40}") {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
        if let Ok(flow) = text.parse::<Flow>() {
            prop_assert_eq!(flow.to_string().parse::<Flow>().unwrap(), flow);
        }
        if let Ok(leg) = text.parse::<Leg>() {
            prop_assert_eq!(leg.to_string().parse::<Leg>().unwrap(), leg);
        }
    }
}
