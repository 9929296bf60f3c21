//! The rule itself and the interface it takes packets from.

use std::net::IpAddr;

use super::Seen;
use super::case::RuleCase;
use super::finding::{fail, listed, ok, packets, skip, warn};
use crate::api::model::{Finding, State};
use crate::supervisor::links::{Interface, Interfaces};

pub(super) fn checks(seen: &Seen<'_>, rule: &RuleCase) -> Vec<Finding> {
    let interfaces = &seen.case.interfaces;
    let name = rule.rule.input.interface.as_str();
    let mut checks = vec![state(rule), present(interfaces, name, "interface")];
    match interfaces.by_name(name) {
        Some(interface) => {
            checks.extend([up(interface, "up"), carrier(interface, "carrier")]);
            checks.push(address(interfaces, rule, interface));
        }
        None => {
            checks.extend(["up", "carrier", "address"].map(|check| skip(check, no_interface(name))));
        }
    }
    checks
}

/// What stands for a check that needs an interface which is not there.
pub(super) fn no_interface(name: &str) -> String {
    format!("there is no interface {name} to look at")
}

fn state(rule: &RuleCase) -> Finding {
    const CHECK: &str = "state";
    let remedy = "see the checks below, and mcrd's log";
    match (rule.state, rule.reason.as_str()) {
        (State::Active, "") => ok(CHECK, format!("active; {} matched since it runs", packets(rule.matched))),
        (State::Active, reason) => warn(CHECK, format!("active in part: {reason}"), remedy),
        (State::Pending, reason) => fail(CHECK, format!("pending: {reason}"), remedy),
        (State::Failed, reason) => fail(CHECK, format!("failed: {reason}"), remedy),
    }
}

/// Whether an interface is there, and its own to use.
fn present(interfaces: &Interfaces, name: &str, check: &str) -> Finding {
    let Some(interface) = interfaces.by_name(name) else { return absent(interfaces, name, check) };
    match interfaces.why_not_input(name) {
        None => ok(check, format!("{name} has index {} and MTU {}", interface.index, interface.mtu)),
        Some(why) => match why.rsplit_once(": ") {
            Some((why, remedy)) => fail(check, why, format!("{remedy} in the rule's input")),
            None => fail(check, why, ""),
        },
    }
}

pub(super) fn absent(interfaces: &Interfaces, name: &str, check: &str) -> Finding {
    let others = interfaces.iter().filter(|interface| !interface.loopback).map(|interface| &interface.name);
    let evidence = format!("there is no interface {name} in mcrd's network namespace");
    fail(check, evidence, format!("create it, or name one that is there: {}", listed(others)))
}

pub(super) fn up(interface: &Interface, check: &str) -> Finding {
    let name = &interface.name;
    if interface.up {
        ok(check, format!("{name} is switched on"))
    } else {
        fail(check, format!("{name} is switched off"), format!("ip link set dev {name} up"))
    }
}

pub(super) fn carrier(interface: &Interface, check: &str) -> Finding {
    let name = &interface.name;
    match (interface.up, interface.running) {
        (false, _) => skip(check, format!("{name} is switched off")),
        (true, true) => ok(check, format!("{name} has a carrier")),
        (true, false) => fail(
            check,
            format!("{name} has no carrier"),
            format!("connect its cable, or bring up the far end: see ip link show dev {name}"),
        ),
    }
}

/// Joins go by the interface's index, so that a group needs no address, but for what a switch may make of reports
/// without one.
fn address(interfaces: &Interfaces, rule: &RuleCase, interface: &Interface) -> Finding {
    const CHECK: &str = "address";
    let name = &interface.name;
    let input = rule.rule.input.address;
    let own = || interface.addresses.iter();
    if !input.is_multicast() {
        return match (own().any(|address| *address == input), interfaces.local_addresses().contains(&input)) {
            (true, _) => ok(CHECK, format!("{input} is an address of {name}")),
            (false, true) => {
                ok(CHECK, format!("{input} is an address of another interface, good on {name} too"))
            }
            (false, false) => fail(
                CHECK,
                format!("{input} is no address of this host"),
                format!("ip address add {input}/{} dev {name}", if input.is_ipv4() { 32 } else { 128 }),
            ),
        };
    }
    let of_family: Vec<_> = own().filter(|address| address.is_ipv4() == input.is_ipv4()).collect();
    match input {
        IpAddr::V4(_) if of_family.is_empty() => ok(
            CHECK,
            format!(
                "{name} has no IPv4 address, and needs none to join or to take packets; IGMP reports leave from \
                 0.0.0.0 then, which routers must accept (RFC 3376, section 4.2.13) and some switches do not"
            ),
        ),
        IpAddr::V6(_) if !of_family.iter().any(|address| is_link_local(address)) => warn(
            CHECK,
            format!(
                "{name} has no IPv6 link-local address, so that MLD reports leave from ::, which routers ignore \
                 (RFC 3810, section 5.2.13)"
            ),
            format!("ip address add fe80::1/64 dev {name}"),
        ),
        _ => ok(CHECK, format!("{name} has {}; a group would need none", listed(of_family))),
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
