//! Each output: its interface, the way there, and what becomes of its datagrams.

use std::net::IpAddr;

use mcast::InterfaceName;

use super::Seen;
use super::case::{LegCase, RuleCase};
use super::finding::{fail, ok, skip, warn};
use super::input::{absent, carrier, up};
use super::traffic::longest;
use super::ways::Neighbour;
use crate::api::model::{Finding, Verdict};
use crate::supervisor::report::refusal_remedy;

const UDP_HEADER: usize = 8;

pub(super) fn checks(seen: &Seen<'_>, rule: &RuleCase) -> Vec<Finding> {
    let longest = longest(seen, rule);
    let of_leg = |leg: &LegCase| {
        let checks = [
            interface(seen, leg),
            route(seen, leg),
            mtu(leg, longest),
            neighbour(seen, leg),
            errors(leg),
            gso(leg),
        ];
        let output = Some(leg.leg.to_string());
        checks.map(|finding| Finding { output: output.clone(), ..finding })
    };
    rule.legs.iter().flat_map(of_leg).collect()
}

/// The first thing that is wrong with the output's interface.
fn interface(seen: &Seen<'_>, leg: &LegCase) -> Finding {
    const CHECK: &str = "output_interface";
    let Some(name) = leg.leg.interface.as_ref().map(InterfaceName::as_str) else {
        return ok(CHECK, "none is named: the kernel routes");
    };
    let interfaces = &seen.case.interfaces;
    let Some(interface) = interfaces.by_name(name) else { return absent(interfaces, name, CHECK) };
    [up(interface, CHECK), carrier(interface, CHECK)]
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Fail)
        .unwrap_or_else(|| ok(CHECK, format!("{name} is up and has a carrier")))
}

fn route(seen: &Seen<'_>, leg: &LegCase) -> Finding {
    const CHECK: &str = "route";
    let name = leg.leg.interface.as_ref().map(InterfaceName::as_str);
    if let Some(why) = name.and_then(|name| seen.case.interfaces.why_not(name)) {
        return skip(CHECK, why);
    }
    match &leg.pending {
        Some(why) => {
            let to = leg.leg.address;
            let remedy = match name {
                Some(dev) => format!(
                    "ip address add ADDRESS/PREFIX dev {dev}, ip route add {to} dev {dev}, or source= on the output: \
                     as the reason has it"
                ),
                None => format!("ip route add {to} via ROUTER, or name the output's interface"),
            };
            fail(CHECK, why, remedy)
        }
        None if leg.leg.address.is_multicast() => ok(CHECK, "a group leaves by the interface that is named"),
        None => match seen.ways.to(leg.leg.address, leg.ifindex) {
            Some(Ok(way)) => {
                let name = seen.case.interfaces.by_index(way.ifindex).map_or("?", |found| &found.name);
                ok(CHECK, format!("{} is reached by {name}, next hop {}", leg.leg.address, way.next_hop))
            }
            Some(Err(why)) => skip(CHECK, format!("the kernel does not say which way it takes: {why}")),
            None => skip(CHECK, "the kernel was not asked"),
        },
    }
}

/// The way's MTU against the longest datagram heard, under the output's own headers.
fn mtu(leg: &LegCase, longest: Option<usize>) -> Finding {
    const CHECK: &str = "mtu";
    let Some(mtu) = leg.mtu.map(|mtu| mtu as usize) else { return skip(CHECK, "the output waits") };
    let headers = UDP_HEADER + if leg.leg.address.is_ipv4() { 20 } else { 40 };
    let fits = mtu.saturating_sub(headers);
    match longest {
        None => ok(CHECK, format!("{mtu}: payloads of up to {fits} bytes leave whole; none was heard")),
        Some(longest) if longest <= fits => {
            ok(CHECK, format!("{mtu}: the longest payload heard, {longest} bytes, leaves whole"))
        }
        Some(longest) => {
            let dev = leg.leg.interface.as_ref().map_or("INTERFACE", InterfaceName::as_str);
            warn(
                CHECK,
                format!("{mtu}: payloads of {longest} bytes leave in fragments, as {fits} fit"),
                format!(
                    "ip link set dev {dev} mtu {} where the network behind takes that, or let the sender send less",
                    longest + headers
                ),
            )
        }
    }
}

fn neighbour(seen: &Seen<'_>, leg: &LegCase) -> Finding {
    const CHECK: &str = "neighbour";
    if leg.leg.address.is_multicast() {
        return ok(CHECK, "a group needs none");
    }
    let way = match seen.ways.to(leg.leg.address, leg.ifindex) {
        Some(Ok(way)) => way,
        Some(Err(_)) | None => return skip(CHECK, "the way there is not known"),
    };
    if way.local {
        return ok(CHECK, "it is an address of this host");
    }
    let (hop, name) =
        (way.next_hop, seen.case.interfaces.by_index(way.ifindex).map_or("?", |found| &found.name));
    match seen.ways.neighbour(way) {
        Neighbour::Unknown(why) => skip(CHECK, why),
        Neighbour::Absent => ok(CHECK, format!("{hop} on {name} has no entry: it is asked for when needed")),
        Neighbour::Answers(state) => ok(CHECK, format!("{hop} on {name} is {state}")),
        Neighbour::Silent(state) => fail(
            CHECK,
            format!("{hop} on {name} does not answer {}: its entry is {state}", resolution(hop)),
            format!(
                "check that {hop} is up, on this link and not behind a firewall: ip neighbour show dev {name}"
            ),
        ),
    }
}

fn resolution(hop: IpAddr) -> &'static str {
    if hop.is_ipv4() { "ARP" } else { "neighbour solicitations" }
}

fn errors(leg: &LegCase) -> Finding {
    const CHECK: &str = "send_errors";
    let count = leg.count;
    let told = format!(
        "{} sent, {} refused by the kernel, {} answered with an ICMP error",
        count.packets, count.errors, count.unreachable
    );
    match (leg.failing, leg.losing) {
        (Some(errno), _) => {
            let error = std::io::Error::from_raw_os_error(errno);
            fail(CHECK, format!("sending fails: {error}; {told}"), refusal_remedy(errno))
        }
        (None, Some(errno)) => {
            let error = std::io::Error::from_raw_os_error(errno);
            warn(CHECK, format!("the kernel refuses some: {error}; {told}"), refusal_remedy(errno))
        }
        (None, None) if count.errors + count.unreachable > 0 => {
            warn(CHECK, format!("{told}; it does not fail now"), "see mcrd's log for the reasons and times")
        }
        (None, None) => ok(CHECK, told),
    }
}

fn gso(leg: &LegCase) -> Finding {
    const CHECK: &str = "gso";
    if leg.leg.keeps_port() {
        return ok(CHECK, "the packet's source port is kept: each datagram takes a system call of its own");
    }
    if !leg.count.gso_off {
        return ok(CHECK, "bursts leave with one system call");
    }
    warn(
        CHECK,
        "the device or path refused bursts: datagrams leave one by one, which costs processor time",
        "check the route's MTU, IPsec on the way, and ethtool -k DEVICE tx-udp-segmentation; bursts are tried again by and \
         by",
    )
}
