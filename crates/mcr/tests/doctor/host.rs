//! What concerns all rules: limits of joins, buffers, rings that overflow.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testbed::{Line, eventually, rule, skip_unless_available};

use crate::ward::{SOON, Ward, four};

const OUTPUT: &str = "239.2.2.2%r-out:6000";

#[test]
fn limits_that_are_too_low_are_named() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &[OUTPUT]);
    let found = ward.findings();
    found.assert("memberships", "ok", "1 IPv4 and 0 IPv6 groups");
    found.assert("memberships", "ok", "net.ipv4.igmp_max_memberships = 20");
    // Before 6.8 it is the whole system's.
    if ward.line.relay().sysctl("net.core.optmem_max", "100").is_ok() {
        let found = ward.findings();
        found.assert("memberships", "fail", "sysctl -w net.core.optmem_max=131072");
        // There is no memory for a filter either, so that nothing is heard.
        found.assert("packets", "skip", "cannot be listened to");
        assert_eq!(found.with("fail"), ["memberships"], "{:#}", found.0);
    }
}

#[test]
fn buffers_are_not_bound_by_the_systems_limits() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &[OUTPUT]);
    let found = ward.findings();
    found.assert("buffers", "ok", "8388608 bytes to send from");
    found.assert("buffers", "ok", "net.core.wmem_max");
    ward.relay.ctl_ok(&["remove", "a"]);
    ward.relay.ctl_ok(&["add", "a", "239.1.1.1%eth9", "239.2.2.2%eth9"]);
    ward.findings().assert("buffers", "ok", "no socket");
}

/// Workers that stand still while more arrives than the smallest ring holds.
#[test]
fn rings_that_overflow_are_told_while_they_do() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    let rules = "[worker]\nring_mib = 1\n".to_owned() + &rule("a", "239.1.1.1%r-in:5000", &[OUTPUT]);
    let ward = Ward::on(line, &rules);
    ward.findings_with(&[four()]).assert("ring_losses", "ok", "none of");
    let workers = ward.relay.ctl_json(&["workers"]);
    let signal = |signal: Signal| {
        for worker in workers.as_array().unwrap() {
            let pid = worker["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap()));
            kill_process(pid.unwrap(), signal).unwrap();
        }
    };
    let lost = |stats: &Value| stats["totals"]["buf_exhaust"].as_u64().unwrap();
    signal(Signal::STOP);
    let stream = ward.stream(&vec![four(); 100]);
    ward.relay.wait_stats(SOON, |stats| lost(stats) > 0);
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["ring_losses"], "{:#}", found.0);
    found.assert("ring_losses", "fail", "rings of 1 MiB");
    drop(stream);
    signal(Signal::CONT);
    eventually(SOON, "no more is lost", || {
        ward.found(&["doctor", "a", "--listen", "0"]).check("ring_losses")["verdict"] == "warn"
    });
}
