//! Whether the kernel has joined the group, and in a version of the protocol that knows sources.

use std::net::IpAddr;

use mcast::Flow;

use super::Seen;
use super::case::RuleCase;
use super::finding::{fail, fail_if, ok, skip, warn};
use super::sysctls::{Sysctl, of_interface_and_all};
use crate::api::model::Finding;
use crate::supervisor::membership::kernel::{Joined, JoinedSources};

const JOINED: &str = "joined";
const IGMP_VERSION: &str = "igmp_version";
const MLD_VERSION: &str = "mld_version";

/// The kernel's own lists.
pub(super) struct Memberships {
    joined: Result<Joined, String>,
    sources: JoinedSources,
}

impl Memberships {
    pub(super) fn read() -> Self {
        let joined = Joined::read().map_err(|error| format!("/proc/net/igmp cannot be read: {error}"));
        Self { joined, sources: JoinedSources::read() }
    }
}

pub(super) fn checks(seen: &Seen<'_>, rule: &RuleCase) -> [Finding; 2] {
    let input = &rule.rule.input;
    let version = match input.address {
        IpAddr::V4(group) if group.is_multicast() => igmp_version(seen, rule),
        IpAddr::V6(group) if group.is_multicast() => mld_version(rule),
        _ => {
            let nothing = format!("{} is a host's address: nothing is to be joined", input.address);
            return [JOINED, if input.address.is_ipv4() { IGMP_VERSION } else { MLD_VERSION }]
                .map(|check| ok(check, &nothing));
        }
    };
    [joined(seen, rule), version]
}

fn joined(seen: &Seen<'_>, rule: &RuleCase) -> Finding {
    let input = &rule.rule.input;
    if let Some(why) = seen.case.interfaces.why_not_input(input.interface.as_str()) {
        return skip(JOINED, why);
    }
    let Some(ifindex) = rule.ifindex else {
        return skip(JOINED, super::input::no_interface(input.interface.as_str()));
    };
    if let Some(error) = &rule.join_error {
        return match error.split_once("; ") {
            Some((why, remedy)) => fail(JOINED, format!("the kernel refuses: {why}"), remedy),
            None => fail(JOINED, format!("the kernel refuses: {error}"), without_family(input)),
        };
    }
    let joined = match &seen.memberships.joined {
        Ok(joined) => joined,
        Err(why) => return skip(JOINED, why),
    };
    let (group, interface) = (input.address, &input.interface);
    let lists = if group.is_ipv4() { ["igmp", "mcfilter"] } else { ["igmp6", "mcfilter6"] };
    if !joined.groups.contains(&(ifindex, group)) {
        let evidence = format!("/proc/net/{} does not list {group} on {interface}", lists[0]);
        return fail(
            JOINED,
            evidence,
            format!("bring {interface} up; mcrd joins again each 30 s at the latest"),
        );
    }
    let listed = input.source.map(|source| (source, seen.memberships.sources.has(ifindex, group, source)));
    match listed {
        None => ok(JOINED, format!("/proc/net/{} lists {group} on {interface}", lists[0])),
        Some((source, Some(true))) => {
            ok(JOINED, format!("/proc/net/{} lists {group} from {source} on {interface}", lists[1]))
        }
        Some((source, None)) => ok(
            JOINED,
            format!(
                "/proc/net/{} lists {group} on {interface}; whether from {source}, /proc/net/{} does not tell of \
                 this interface",
                lists[0], lists[1]
            ),
        ),
        Some((source, Some(false))) => fail(
            JOINED,
            format!("/proc/net/{} lists {group} on {interface}, not from {source}", lists[1]),
            "mcrd joins again each 30 s at the latest: see its log if it does not",
        ),
    }
}

/// What gives an interface the group's family back.
fn without_family(input: &Flow) -> String {
    let interface = &input.interface;
    match input.address {
        IpAddr::V4(_) => format!("ip link set dev {interface} up"),
        IpAddr::V6(_) => format!(
            "sysctl -w {}=0; IPv6 also needs ip link set dev {interface} mtu 1280 or more",
            Sysctl::of_interface("ipv6", interface.as_str(), "disable_ipv6").name
        ),
    }
}

/// Forced by the operator, or lowered as an older querier was heard (RFC 3376, section 7.2.1).
fn igmp_version(seen: &Seen<'_>, rule: &RuleCase) -> Finding {
    let interface = rule.rule.input.interface.as_str();
    let forced = lowest_forced(of_interface_and_all("ipv4", interface, "force_igmp_version"), 3);
    let spoken = seen.memberships.joined.as_ref().ok();
    let spoken = spoken.and_then(|joined| joined.igmp_versions.get(&rule.ifindex?).copied());
    let shown = || spoken.map_or_else(String::new, |version| format!(", {interface} speaks IGMPv{version}"));
    match (forced, spoken) {
        (Some((sysctl, version)), _) => {
            lowered(IGMP_VERSION, rule, &format!("{} = {version}{}", sysctl.name, shown()), unforce(&sysctl))
        }
        (None, Some(version @ ..3)) => {
            let evidence =
                format!("an IGMPv{version} querier was heard on {interface}, which speaks that since");
            // The kernel follows the oldest querier, whatever is forced (ip-sysctl: force_igmp_version).
            let remedy = "let the switch or router that sends queries speak IGMPv3";
            match rule.rule.input.source {
                Some(_) => warn(IGMP_VERSION, format!("{evidence}: sources cannot be asked for"), remedy),
                None => ok(IGMP_VERSION, evidence),
            }
        }
        (None, _) => ok(IGMP_VERSION, format!("no version is forced{}", shown())),
    }
}

fn mld_version(rule: &RuleCase) -> Finding {
    let interface = rule.rule.input.interface.as_str();
    match lowest_forced(of_interface_and_all("ipv6", interface, "force_mld_version"), 2) {
        Some((sysctl, version)) => {
            lowered(MLD_VERSION, rule, &format!("{} = {version}", sysctl.name), unforce(&sysctl))
        }
        None => ok(MLD_VERSION, "no version is forced"),
    }
}

fn unforce(sysctl: &Sysctl) -> String {
    format!("sysctl -w {}=0", sysctl.name)
}

/// The parameter that forces a version below `newest`, and the version.
fn lowest_forced(sysctls: [Sysctl; 2], newest: i64) -> Option<(Sysctl, i64)> {
    let forced = sysctls.into_iter().filter_map(|sysctl| Some((sysctl.value()?, sysctl)));
    let lowest =
        forced.filter(|(version, _)| (1..newest).contains(version)).min_by_key(|(version, _)| *version);
    lowest.map(|(version, sysctl)| (sysctl, version))
}

/// A version without sources. Routers ignore such reports for source-specific groups (RFC 4604, section 2.2.2); of
/// others they send every source.
fn lowered(check: &str, rule: &RuleCase, evidence: &str, remedy: String) -> Finding {
    let input = &rule.rule.input;
    match input.source {
        Some(source) if input.address.is_multicast() => fail_if(
            is_source_specific(input.address),
            check,
            format!("{evidence}: {} cannot be asked for from {source} alone", input.address),
            remedy,
        ),
        _ => ok(check, format!("{evidence}, which does for an input without a source")),
    }
}

/// 232.0.0.0/8 and ff3x::/32 (RFC 4607, section 1).
fn is_source_specific(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[0] == 232,
        IpAddr::V6(group) => group.segments()[0] & 0xfff0 == 0xff30 && group.segments()[1] == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_specific_groups_are_told() {
        for (group, specific) in [
            ("232.1.1.1", true),
            ("239.1.1.1", false),
            ("ff3e::1", true),
            ("ff3e:20::1", false),
            ("ff1e::1", false),
        ] {
            assert_eq!(is_source_specific(group.parse().unwrap()), specific, "{group}");
        }
    }
}
