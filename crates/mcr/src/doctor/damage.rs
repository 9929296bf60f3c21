//! Packets that the rule would take and that do not get through as they are: damaged, in pieces that make no whole, used up.

use std::collections::BTreeSet;

use mcast::Ttl;

use super::finding::{fail_if, listed, ok, packets};
use super::heard::{Arrivals, Fate, Kind};
use super::mismatch::fits_port;
use super::traffic::{HeardOf, or_none, sum, told};
use crate::api::model::Finding;

/// Of so many fragments one may be without the others: they were still under way when the listening ended.
const UNDER_WAY: u64 = 8;

impl HeardOf<'_> {
    pub(super) fn checksum(&self) -> Finding {
        const CHECK: &str = "checksum";
        let is_bad = |kind: &Kind| matches!(kind.fate, Fate::BadChecksum | Fate::Malformed);
        let input = &self.rule.rule.input;
        let bad = self.of(|kind| is_bad(kind) && kind.vlan.is_none() && fits_port(input, kind));
        if bad.is_empty() {
            return ok(CHECK, "every packet's checksums and headers are right");
        }
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("{} came damaged, and are dropped: {}", packets(sum(&bad)), told(&bad)),
            format!(
                "if the sender is a virtual machine or container, ethtool -K DEVICE tx off there; otherwise look for a \
                 fault on the way: ethtool -S {}",
                input.interface
            ),
        )
    }

    pub(super) fn fragments(&self) -> Finding {
        const CHECK: &str = "fragments";
        let Arrivals { fragments, joined, .. } = self.arrivals;
        if *fragments == 0 {
            return ok(CHECK, "no packet came in fragments");
        }
        let lost = fragments - joined;
        if lost * UNDER_WAY <= *fragments {
            return ok(CHECK, format!("{fragments} fragments came and were put together, as workers do"));
        }
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("{lost} of {fragments} fragments made no packet: others are missing or overlap"),
            "let the sender send datagrams that fit the path's MTU (a payload of up to 1472 bytes, 1452 in IPv6), or look \
             for what loses fragments on the way, such as a firewall",
        )
    }

    pub(super) fn ttl(&self) -> Finding {
        const CHECK: &str = "ttl";
        let legs = &self.rule.legs;
        let decrement = legs.iter().filter(|leg| leg.leg.ttl == Ttl::Decrement).count();
        let ttls: BTreeSet<u8> = self.taken().iter().map(|(kind, _)| kind.ttl).collect();
        let heard = or_none(listed(&ttls));
        if decrement == 0 {
            return ok(CHECK, format!("no output has ttl=decrement, so any TTL does; heard: {heard}"));
        }
        if ttls.iter().all(|ttl| *ttl > 1) {
            return ok(CHECK, format!("outputs with ttl=decrement need a TTL of 2; heard: {heard}"));
        }
        fail_if(
            decrement == legs.len() && ttls.iter().all(|ttl| *ttl <= 1),
            CHECK,
            format!(
                "packets arrive with TTL {heard}; those with 1 are used up for {decrement} of {} outputs, which have \
                 ttl=decrement",
                legs.len()
            ),
            "let the sender use a larger TTL, or give the outputs one of their own, as in ttl=16",
        )
    }
}
