//! What concerns all rules: limits of joins, buffers, losses at the rings.

use super::case::{Case, HostCase};
use super::finding::{fail, fail_if, listed, ok, packets, warn};
use super::sysctls::Sysctl;
use crate::api::model::Finding;
use crate::supervisor::egress::SEND_BUFFER_BYTES;
use rustix::process::{Resource, getrlimit};

/// A parameter that bounds joins: the least a join needs, and what kernels have by default.
const JOIN_LIMITS: [(&str, i64, i64); 4] = [
    ("net.ipv4.igmp_max_memberships", 1, 20),
    ("net.ipv4.igmp_max_msf", 1, 10),
    ("net.ipv6.mld_max_msf", 1, 64),
    // What a group with ten sources, or a socket filter for some interfaces, takes of a socket's memory.
    ("net.core.optmem_max", 2048, 131_072),
];

pub(super) fn checks(case: &Case) -> Vec<Finding> {
    vec![memberships(&case.host), buffers(&case.host), ring_losses(&case.host)]
}

/// The limits are a socket's, and joins are spread over sockets: what bounds them in the end is open files.
fn memberships(host: &HostCase) -> Finding {
    const CHECK: &str = "memberships";
    let limits = JOIN_LIMITS.map(|(name, least, usual)| (Sysctl::new(name), least, usual));
    let shown = limits.iter().map(|(sysctl, ..)| sysctl.shown()).collect::<Vec<_>>().join(", ");
    let HostCase { groups4, groups6, sources, join_sockets, .. } = host;
    let joined = format!(
        "{groups4} IPv4 and {groups6} IPv6 groups with {sources} sources are joined on {join_sockets} sockets; {shown}"
    );
    let low = |(sysctl, least, _): &&(Sysctl, i64, i64)| sysctl.value().is_some_and(|value| value < *least);
    let raise: Vec<_> = limits.iter().filter(low).collect();
    let settings = |limits: Vec<&(Sysctl, i64, i64)>| {
        let each = limits.iter().map(|(sysctl, _, usual)| format!("{}={usual}", sysctl.name));
        format!("sysctl -w {}", each.collect::<Vec<_>>().join(" "))
    };
    if let Some(why) = &host.no_socket {
        let (why, remedy) =
            why.split_once("; ").unwrap_or((why, "raise the limit of open files (LimitNOFILE=, ulimit -n)"));
        return fail(CHECK, format!("{why}; {joined}"), remedy);
    }
    if let Some(why) = &host.limit {
        let remedy = if raise.is_empty() { settings(limits.iter().collect()) } else { settings(raise) };
        return fail(CHECK, format!("{why}; {joined}"), remedy);
    }
    if !raise.is_empty() {
        let names = listed(raise.iter().map(|(sysctl, ..)| &sysctl.name));
        return fail(
            CHECK,
            format!("{names} is too low for a further group or rule; {joined}"),
            settings(raise),
        );
    }
    match getrlimit(Resource::Nofile).current {
        Some(files) if *join_sockets as u64 > files / 2 => warn(
            CHECK,
            format!("{joined}; mcrd may have {files} files open"),
            "raise LimitNOFILE= (ulimit -n), or net.ipv4.igmp_max_memberships to put more groups on a socket",
        ),
        _ => ok(CHECK, joined),
    }
}

/// mcrd asks beyond the system's limits, as CAP_NET_ADMIN allows: they bind other programs.
fn buffers(host: &HostCase) -> Finding {
    const CHECK: &str = "buffers";
    let limits =
        ["net.core.wmem_max", "net.core.rmem_max"].map(|name| Sysctl::new(name).shown()).join(" and ");
    match host.send_buffer {
        Some(granted) if granted < SEND_BUFFER_BYTES => warn(
            CHECK,
            format!("a socket was granted {granted} of {SEND_BUFFER_BYTES} bytes to send from; {limits}"),
            format!("sysctl -w net.core.wmem_max={SEND_BUFFER_BYTES}, then restart mcrd"),
        ),
        Some(granted) => ok(
            CHECK,
            format!(
                "every socket has {granted} bytes to send from, whatever {limits} are; receivers on this host are \
                     bound by the latter"
            ),
        ),
        None => ok(CHECK, format!("no socket is open to send from; mcrd is not bound by {limits}")),
    }
}

fn ring_losses(host: &HostCase) -> Finding {
    const CHECK: &str = "ring_losses";
    let HostCase { lost, lost_now, offered, ring_mib, workers, .. } = host;
    if *lost == 0 {
        return ok(CHECK, format!("none of {} was lost for want of room", packets(*offered)));
    }
    fail_if(
        *lost_now > 0,
        CHECK,
        format!(
            "{} of {offered} were lost for want of room (buf_exhaust), {lost_now} of them in the last seconds, with \
             {workers} workers and rings of {ring_mib} MiB",
            packets(*lost)
        ),
        "give mcrd more or less busy cores ([worker] cores), or for bursts a larger ring ([worker] ring_mib), and \
         restart it",
    )
}
