//! Reverse-path filtering: no matter to the relay, which takes packets before it, but to a program on the same host.

use std::net::IpAddr;

use super::Seen;
use super::case::RuleCase;
use super::finding::{listed, ok};
use super::sysctls::of_interface_and_all;
use super::traffic::sources;
use crate::api::model::Finding;

const CHECK: &str = "rp_filter";

pub(super) fn check(seen: &Seen<'_>, rule: &RuleCase) -> Finding {
    let interface = rule.rule.input.interface.as_str();
    if rule.rule.input.address.is_ipv6() {
        return ok(CHECK, "there is no such filter for IPv6");
    }
    // The larger of the two counts (ip-sysctl: rp_filter).
    let filters = of_interface_and_all("ipv4", interface, "rp_filter").map(|sysctl| (sysctl.value(), sysctl));
    let Some((Some(mode @ 1..), sysctl)) = filters.into_iter().max_by_key(|(mode, _)| *mode) else {
        return ok(CHECK, format!("{interface} does not filter by the reverse path"));
    };
    let evidence = format!("{} = {mode} does not matter to mcrd, which takes packets before it", sysctl.name);
    let lost = unreturned(seen, rule, mode);
    if lost.is_empty() {
        return ok(CHECK, evidence);
    }
    let mut finding =
        ok(CHECK, format!("{evidence}; a program on this host would get nothing from {}", listed(lost)));
    finding.remedy = format!(
        "for such a program alone: ip route add SOURCE dev {interface}, or rp_filter=0 on {interface} and all"
    );
    finding
}

/// Sources heard to which no route leads back: by this interface (mode 1) or at all (mode 2).
fn unreturned(seen: &Seen<'_>, rule: &RuleCase, mode: i64) -> Vec<IpAddr> {
    let Some(arrivals) = rule.arrival().and_then(|place| seen.heard.arrivals.get(&place)) else {
        return Vec::new();
    };
    let returns = |source: &IpAddr| match seen.ways.to(*source, None) {
        None => true,
        Some(Err(_)) => false,
        Some(Ok(way)) => mode != 1 || Some(way.ifindex) == rule.ifindex,
    };
    sources(arrivals, rule).into_iter().filter(|source| !returns(source)).collect()
}
