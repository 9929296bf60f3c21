//! What the supervisor knows of the rules to be examined, taken at one moment.

use std::net::IpAddr;

use dataplane::table::Table;
use mcast::{Leg, Rule, RuleName};

use crate::api::model::State;
use crate::supervisor::links::Interfaces;
use crate::supervisor::telemetry::Count;

/// Most rules examined at once. As many interfaces and addresses fit a socket filter in the 20 KiB a socket may have
/// for one where `net.core.optmem_max` is what it was before Linux 6.8.
pub const RULES_MAX: usize = 400;

/// Most outputs examined at once, those of the first rule apart.
pub const OUTPUTS_MAX: usize = 4096;

/// The rules to be examined, and what they stand in.
#[derive(Debug)]
pub struct Case {
    /// The rules.
    pub rules: Vec<RuleCase>,
    /// Rules that were to be examined too and are not.
    pub left_out: u64,
    /// Links and addresses.
    pub interfaces: Interfaces,
    /// What any rule takes of the addresses examined: one flow a rule, without legs, in the order of `names`.
    pub inputs: Table,
    /// The rules' names, by the index of their flow.
    pub names: Vec<RuleName>,
    /// What concerns all rules.
    pub host: HostCase,
}

/// One rule.
#[derive(Debug)]
pub struct RuleCase {
    /// The rule.
    pub rule: Rule,
    /// Where it stands.
    pub state: State,
    /// Why.
    pub reason: String,
    /// Index of its input's interface; absent: there is none.
    pub ifindex: Option<u32>,
    /// Index of its flow; absent where its interface is.
    pub flow: Option<u32>,
    /// Why its group is not joined.
    pub join_error: Option<String>,
    /// Datagrams that matched it since it runs.
    pub matched: u64,
    /// Its outputs.
    pub legs: Vec<LegCase>,
}

impl RuleCase {
    /// Interface and address that its packets arrive by.
    pub fn arrival(&self) -> Option<(u32, IpAddr)> {
        Some((self.ifindex?, self.rule.input.address))
    }
}

/// One output.
#[derive(Debug)]
pub struct LegCase {
    /// The output.
    pub leg: Leg,
    /// Index of its interface, where it names one that is there.
    pub ifindex: Option<u32>,
    /// Why it waits, if it does.
    pub pending: Option<String>,
    /// Why the kernel refuses its datagrams now, as an error number.
    pub failing: Option<i32>,
    /// Why it refuses some or all of them, while it does.
    pub losing: Option<i32>,
    /// What it has sent.
    pub count: Count,
    /// MTU of its way out in bytes; absent while it waits.
    pub mtu: Option<u32>,
}

/// What concerns all rules.
#[derive(Debug, Default)]
pub struct HostCase {
    /// IPv4 groups joined.
    pub groups4: usize,
    /// IPv6 groups joined.
    pub groups6: usize,
    /// Sources that groups of either family are joined with.
    pub sources: usize,
    /// Sockets that all joins are on.
    pub join_sockets: usize,
    /// Why a limit keeps a group from being joined.
    pub limit: Option<String>,
    /// What a join for which no socket could be had was told.
    pub no_socket: Option<String>,
    /// Bytes of send buffer of the egress socket granted least; absent: there is none.
    pub send_buffer: Option<usize>,
    /// Frames lost for want of room since the start.
    pub lost: u64,
    /// Of those, in the last one to two seconds.
    pub lost_now: u64,
    /// Frames the inputs' interfaces offered since the start.
    pub offered: u64,
    /// Bytes of a worker's rings.
    pub ring_mib: u64,
    /// Workers.
    pub workers: usize,
}
