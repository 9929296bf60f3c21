//! `mcrctl doctor`: why a rule does not relay, as checks with what was seen and what to do.
//!
//! The daemon looks, as it has the rights and sits in the network namespace that counts. [`examine`] runs in a task
//! of its own: it listens to arriving packets for a while, asks the kernel, and judges. It changes nothing and holds
//! up nobody; what it takes of memory and time is bounded whatever arrives and however many rules there are.

pub mod case;
mod damage;
mod filter;
mod finding;
mod heard;
mod host;
mod input;
mod joins;
mod listen;
mod mismatch;
mod outputs;
mod pieces;
mod reverse_path;
mod sysctls;
mod traffic;
mod ways;

use std::time::Duration;

use self::case::{Case, RuleCase};
use self::heard::Heard;
use self::joins::Memberships;
use self::ways::Ways;
use crate::api::model::{Diagnosis, RuleFindings};

/// Every check by name, as findings have them in their order: of a rule's input, of each output, of the host. A rule has
/// that of the two versions which is its family's.
pub const CHECKS: [&str; 27] = [
    "state",
    "interface",
    "up",
    "carrier",
    "address",
    "joined",
    "igmp_version",
    "mld_version",
    "packets",
    "vlan",
    "mac",
    "source",
    "port",
    "precedence",
    "checksum",
    "fragments",
    "ttl",
    "rp_filter",
    "output_interface",
    "route",
    "mtu",
    "neighbour",
    "send_errors",
    "gso",
    "memberships",
    "buffers",
    "ring_losses",
];

/// How long packets are listened to unless the request says.
pub const LISTEN: Duration = Duration::from_millis(1500);

/// The longest that packets are listened to.
pub const LISTEN_MAX: Duration = Duration::from_secs(10);

/// Looks at everything a case is about.
///
/// # Errors
/// The look broke off, which is a fault of the program.
pub async fn examine(case: Case, listen: Duration) -> Result<Diagnosis, String> {
    let heard = listen::listen(&case, listen).await;
    let ways = ways::look(&case, &heard).await;
    // Thousands of rules take a while to describe: not on the supervisor's thread.
    let judged = tokio::task::spawn_blocking(move || diagnose(&Seen::new(&case, &heard, &ways)));
    judged.await.map_err(|error| format!("the examination broke off: {error}"))
}

/// All there is to judge by.
struct Seen<'a> {
    case: &'a Case,
    heard: &'a Heard,
    ways: &'a Ways,
    memberships: Memberships,
}

impl<'a> Seen<'a> {
    fn new(case: &'a Case, heard: &'a Heard, ways: &'a Ways) -> Self {
        Self { case, heard, ways, memberships: Memberships::read() }
    }
}

fn diagnose(seen: &Seen<'_>) -> Diagnosis {
    Diagnosis {
        rules: seen.case.rules.iter().map(|rule| findings(seen, rule)).collect(),
        host: host::checks(seen.case),
        left_out: seen.case.left_out,
    }
}

fn findings(seen: &Seen<'_>, rule: &RuleCase) -> RuleFindings {
    let mut checks = input::checks(seen, rule);
    checks.extend(joins::checks(seen, rule));
    checks.extend(traffic::checks(seen, rule));
    checks.push(reverse_path::check(seen, rule));
    checks.extend(outputs::checks(seen, rule));
    RuleFindings { name: rule.rule.name.to_string(), input: rule.rule.input.to_string(), checks }
}
