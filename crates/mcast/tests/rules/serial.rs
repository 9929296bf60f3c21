//! The nouns in JSON and TOML: strings written, strings and tables read.

use mcast::{Flow, Leg, Rule};
use proptest::prelude::*;

use crate::{rule, strategies};

fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
    serde_json::from_str::<T>(json).unwrap_err().to_string()
}

#[test]
fn rules_are_written_as_strings() {
    let sample = rule("a", "239.1.1.1%eth0:5000", &["239.2.2.2%eth1,ttl=16", "10.0.0.1:7"]);
    let json = r#"{"name":"a","input":"239.1.1.1%eth0:5000","outputs":["239.2.2.2%eth1,ttl=16","10.0.0.1:7"],"engine":"auto"}"#;
    assert_eq!(serde_json::to_string(&sample).unwrap(), json);
    assert_eq!(serde_json::from_str::<Rule>(json).unwrap(), sample);
    let without_engine = json.replace(r#","engine":"auto""#, "");
    assert_eq!(serde_json::from_str::<Rule>(&without_engine).unwrap(), sample);
}

#[test]
fn tables_read_like_strings() {
    for (table, text) in [
        (
            r#"{"interface":"eth0","group":"239.1.1.1","port":5000,"source":"10.10.1.100"}"#,
            "10.10.1.100@239.1.1.1%eth0:5000",
        ),
        (r#"{"interface":"eth0","group":"ff3e::2"}"#, "[ff3e::2]%eth0"),
        (r#"{"interface":"eth0","address":"10.0.0.1","port":5000}"#, "10.0.0.1%eth0:5000"),
    ] {
        assert_eq!(serde_json::from_str::<Flow>(table).unwrap().to_string(), text);
    }
    for (table, text) in [
        (r#"{"group":"239.2.2.2","interface":"eth1"}"#, "239.2.2.2%eth1"),
        (r#"{"address":"10.0.0.1","source":"interface","ttl":64}"#, "10.0.0.1"),
        (
            r#"{"group":"239.2.2.2","interface":"eth1","port":6000,"source":"keep","sport":7,"ttl":"decrement","dscp":34,"batch":1,"send":"frames"}"#,
            "239.2.2.2%eth1:6000,source=keep,sport=7,ttl=decrement,dscp=34,batch=1,send=frames",
        ),
        (
            r#"{"group":"ff3e::2","interface":"eth1","source":"2001:db8::1","sport":"keep","ttl":16}"#,
            "[ff3e::2]%eth1,source=[2001:db8::1],sport=keep,ttl=16",
        ),
    ] {
        assert_eq!(serde_json::from_str::<Leg>(table).unwrap().to_string(), text);
    }
}

#[test]
fn toml_reads_the_same_tables() {
    let text = r#"
        name = "camera-1"
        input = { interface = "eth0", group = "239.1.1.1", port = 5000, source = "10.10.1.100" }
        outputs = ["239.2.2.2%eth1:6000", { address = "10.0.0.100", port = 6000, ttl = "decrement" }]
        engine = "userspace"
    "#;
    let read: Rule = toml::from_str(text).unwrap();
    assert_eq!(read.input.to_string(), "10.10.1.100@239.1.1.1%eth0:5000");
    assert_eq!(read.outputs[1].to_string(), "10.0.0.100:6000,ttl=decrement");
    assert_eq!(toml::from_str::<Rule>(&toml::to_string(&read).unwrap()).unwrap(), read);
}

#[test]
fn bad_tables_are_refused_with_the_remedy() {
    for (json, words) in [
        (r#"{"interface":"eth0"}"#, "write group for multicast, address for unicast"),
        (
            r#"{"interface":"eth0","group":"239.1.1.1","address":"10.0.0.1"}"#,
            "one of group and address is needed",
        ),
        (r#"{"interface":"eth0","group":"10.0.0.1"}"#, "group = 10.0.0.1 is not multicast"),
        (
            r#"{"interface":"eth0","address":"239.1.1.1"}"#,
            "address = 239.1.1.1 is multicast: write group = 239.1.1.1",
        ),
        (r#"{"group":"239.1.1.1","port":5000}"#, "write 239.1.1.1%INTERFACE:5000"),
        (r#"{"interface":"eth0","group":"239.1.1.1","port":0}"#, "ports are 1 to 65535"),
        (r#"{"interface":"eth0","group":"239.1.1.1","port":-1}"#, "\"-1\" is not a port"),
        (
            r#"{"interface":"eth0","group":"239.1.1.1","ttl":3}"#,
            "unknown field `ttl`, expected one of `interface`, `group`, `address`, `port`, `source`",
        ),
        (r#"{"interface":"a b","group":"239.1.1.1"}"#, "is not an interface name"),
        ("5", "expected an input: a string such as"),
    ] {
        let message = refused::<Flow>(json);
        assert!(message.contains(words), "{json}: {message}");
    }
    for (json, words) in [
        (r#"{"address":"10.0.0.1","ttl":0}"#, "ttl=0 is refused: write a TTL from 1 to 255"),
        (r#"{"address":"10.0.0.1","ttl":256}"#, "ttl=256 is refused"),
        (r#"{"address":"10.0.0.1","ttl":1.5}"#, "expected a string or a whole number"),
        (r#"{"address":"10.0.0.1","dscp":64}"#, "dscp=64 is refused"),
        (r#"{"address":"10.0.0.1","batch":65}"#, "batch=65 is refused"),
        (r#"{"address":"10.0.0.1","sport":0}"#, "sport=0 is refused"),
        (r#"{"address":"10.0.0.1","source":"any"}"#, "source=any is refused"),
        (
            r#"{"address":"10.0.0.1","tos":1}"#,
            "unknown field `tos`, expected one of `group`, `address`, `interface`",
        ),
        (r#""10.0.0.1@239.1.1.1%eth0""#, "write 239.1.1.1%eth0,source=10.0.0.1"),
    ] {
        let message = refused::<Leg>(json);
        assert!(message.contains(words), "{json}: {message}");
    }
    let message = refused::<Rule>(r#"{"name":"a","inputs":"239.1.1.1%eth0","outputs":[]}"#);
    assert!(message.contains("unknown field `inputs`, expected one of `name`, `input`"), "{message}");
    let message = refused::<Rule>(r#"{"name":"a","input":"239.1.1.1%eth0","outputs":[],"engine":"xdp"}"#);
    assert!(message.contains("there is no engine \"xdp\": write auto, userspace or tc"), "{message}");
}

proptest! {
    #[test]
    fn json_survives(flow in strategies::flow(), leg in strategies::leg()) {
        let json = serde_json::to_string(&(&flow, &leg)).unwrap();
        prop_assert_eq!(serde_json::from_str::<(Flow, Leg)>(&json).unwrap(), (flow, leg));
    }
}
