//! Groups that are not joined, or in a version that knows no sources.

use testbed::{Datagram, Line, eventually, rule, skip_unless_available};

use crate::ward::{SOON, Ward, four, six};

const OUTPUT: &str = "239.2.2.2%r-out:6000";

#[test]
fn a_join_the_kernel_refuses_is_named_with_the_limit() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.relay().sysctl("net.ipv4.igmp_max_memberships", "0").unwrap();
    let ward = Ward::on(line, &rule("a", "239.1.1.1%r-in:5000", &[OUTPUT]));
    let found = ward.findings_with(&[four()]);
    assert_eq!(found.with("fail"), ["state", "joined", "memberships"], "{:#}", found.0);
    found.assert("joined", "fail", "igmp_max_memberships");
    found.assert("memberships", "fail", "sysctl -w net.ipv4.igmp_max_memberships=20");
    ward.line.relay().sysctl("net.ipv4.igmp_max_memberships", "20").unwrap();
    ward.relay.wait_state("a", "active", SOON);
    ward.findings_with(&[four()]).assert("joined", "ok", "/proc/net/igmp");
}

#[test]
fn a_join_on_an_interface_without_ipv6_is_told() {
    skip_unless_available!();
    let ward = Ward::of("[ff3e::1:1]%r-in:5000", &["239.2.2.2%r-out:6000"]);
    ward.findings_with(&[six()]).assert("joined", "ok", "/proc/net/igmp6 lists ff3e::1:1");
    // Below 1280 bytes an interface has no IPv6 (RFC 8200, section 5).
    ward.line.ingress.link.set_mtu(1000).unwrap();
    eventually(SOON, "the join has failed", || ward.relay.state("a").0 == "failed");
    let found = ward.findings();
    found.assert("joined", "fail", "IPv6 switched off");
    found.assert("joined", "fail", "mtu 1280");
}

#[test]
fn a_version_forced_lower_matters_where_a_source_is_wanted() {
    skip_unless_available!();
    let rules = rule("a", "10.10.1.100@232.1.1.1%r-in:5000", &[OUTPUT])
        + &rule("b", "10.10.1.100@239.1.1.1%r-in:5000", &[OUTPUT])
        + &rule("c", "239.1.1.2%r-in:5000", &[OUTPUT]);
    let ward = Ward::with(&rules);
    let version = |name: &str| ward.found(&["doctor", name, "--listen", "0"]);
    version("a").assert("igmp_version", "ok", "IGMPv3");
    ward.line.relay().sysctl("net.ipv4.conf.r-in.force_igmp_version", "2").unwrap();
    version("a").assert(
        "igmp_version",
        "fail",
        "net.ipv4.conf.r-in.force_igmp_version = 2, r-in speaks IGMPv2",
    );
    version("a").assert("igmp_version", "fail", "sysctl -w net.ipv4.conf.r-in.force_igmp_version=0");
    version("b").assert("igmp_version", "warn", "10.10.1.100 alone");
    version("c").assert("igmp_version", "ok", "without a source");
    ward.line.relay().sysctl("net.ipv4.conf.r-in.force_igmp_version", "0").unwrap();
    ward.line.relay().sysctl("net.ipv4.conf.all.force_igmp_version", "1").unwrap();
    version("a").assert("igmp_version", "fail", "net.ipv4.conf.all.force_igmp_version = 1");
}

#[test]
fn an_mld_version_forced_lower_is_told() {
    skip_unless_available!();
    let rules = rule("a", "[fd00:1::100]@[ff3e::1:1]%r-in:5000", &[OUTPUT])
        + &rule("b", "[fd00:1::100]@[ff15::1:1]%r-in:5000", &[OUTPUT]);
    let ward = Ward::with(&rules);
    let version = |name: &str| ward.found(&["doctor", name, "--listen", "0"]);
    version("a").assert("mld_version", "ok", "no version");
    version("a").assert("joined", "ok", "from fd00:1::100");
    ward.line.relay().sysctl("net.ipv6.conf.r-in.force_mld_version", "1").unwrap();
    version("a").assert("mld_version", "fail", "sysctl -w net.ipv6.conf.r-in.force_mld_version=0");
    version("b").assert("mld_version", "warn", "net.ipv6.conf.r-in.force_mld_version = 1");
}

#[test]
fn an_older_querier_is_noticed() {
    skip_unless_available!();
    let ward = Ward::of("10.10.1.100@239.1.1.1%r-in:5000", &[OUTPUT]);
    ward.input.send_raw(&igmpv2_query(&ward)).unwrap();
    eventually(SOON, "the relay's kernel speaks IGMPv2", || {
        let igmp = || std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
        ward.line.relay().enter(igmp).lines().any(|line| line.contains("r-in") && line.ends_with("V2"))
    });
    let found = ward.findings_with(&[four()]);
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    found.assert("igmp_version", "warn", "IGMPv2 querier");
}

/// A general query of version 2 (RFC 2236, section 2), in the IP header of a UDP datagram of the same length.
fn igmpv2_query(ward: &Ward) -> Vec<u8> {
    const IP: usize = 14;
    let mut frame = Datagram::between("10.10.1.100:1", "224.0.0.1:1").ttl(1).frame(ward.input.mac());
    frame[IP + 9] = 2;
    // The header's checksum, after the protocol went from 17 to 2 (RFC 1624).
    let checksum = u16::from_be_bytes([frame[IP + 10], frame[IP + 11]]);
    let (raised, carry) = checksum.overflowing_add(15);
    frame[IP + 10..IP + 12].copy_from_slice(&(raised + u16::from(carry)).to_be_bytes());
    // Membership query, 10 s to answer, checksum, any group.
    frame[IP + 20..IP + 28].copy_from_slice(&[0x11, 100, !0x11, !100, 0, 0, 0, 0]);
    frame
}
