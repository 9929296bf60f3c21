//! Sender, relay and two receivers, and the rules between them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::{Fan, Netns, Programs, Relay, eventually, rule};

const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };
const MCRGEN: &str = env!("CARGO_BIN_EXE_mcrgen");

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Flows of the sender, each with a rule of its own, so that every worker has some.
pub(crate) const FLOWS: usize = 8;
/// The first of them go to the second receiver too, whose link flaps.
pub(crate) const TWICE: usize = 2;

/// A running relay `r-in` → `r-out1`, `r-out2` to receivers, and `r-out3` to nobody.
pub(crate) struct Place {
    pub(crate) relay: Relay,
    pub(crate) fan: Fan,
    /// The supervisor's process.
    pub(crate) pid: u64,
}

impl Place {
    /// Starts all but the traffic.
    pub(crate) fn new() -> Result<Self> {
        let fan = Fan::new("soak", 3)?;
        // Nothing but traffic on the links, or it could not be told from what else arrives and leaves.
        fan.sender.netns().sysctl("net.ipv6.conf.s0.disable_ipv6", "1")?;
        fan.relay().sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        fan.sender.link.wire_size()?;
        for port in &fan.egress {
            port.link.wire_size()?;
        }
        let mut relay = Relay::start(PROGRAMS, fan.relay(), &rules())?;
        let pid = relay.daemon().pid().into();
        let place = Self { relay, fan, pid };
        place.wait_active();
        Ok(place)
    }

    /// Waits until every rule is active.
    pub(crate) fn wait_active(&self) {
        eventually(SOON, "every rule is active", || {
            let rules = self.relay.ctl_json(&["list"]);
            rules.as_array().is_some_and(|rules| rules.iter().all(|rule| rule["state"] == "active"))
        });
    }

    /// Stops the relay, whose last STATS lines have to say what it said before.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let said = self.relay.stats();
        let last = self.relay.stop();
        let of = |name: &str| said["totals"][name].as_u64().unwrap_or(u64::MAX);
        ensure!(last.ingress.balances() && last.egress.balances(), "last STATS do not add up: {last:?}");
        ensure!(
            (last.ingress.matched, last.egress.sent) == (of("matched"), of("sent")),
            "last STATS {last:?} after {}",
            said["totals"]
        );
        Ok(())
    }
}

/// The rule of each flow, in a rule file.
pub(crate) fn rules() -> String {
    (0..FLOWS)
        .map(|flow| {
            let mut outputs = vec![format!("239.2.0.{flow}%r-out1:6000")];
            if flow < TWICE {
                outputs.push(format!("239.3.0.{flow}%r-out2:6000"));
            }
            rule(&rule_name(flow), &format!("239.1.0.{flow}%r-in:5000"), &outputs)
        })
        .collect()
}

/// Name of a flow's rule.
pub(crate) fn rule_name(flow: usize) -> String {
    format!("flow{flow}")
}

/// `mcrgen` in a namespace.
pub(crate) fn mcrgen(netns: &Netns, arguments: &[&str]) -> Command {
    let mut command = netns.command(MCRGEN);
    command.arg("--json").args(arguments);
    command
}

/// A number in a JSON document.
///
/// # Panics
/// When there is none.
pub(crate) fn number(document: &Value, name: &str) -> u64 {
    document[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {document:#}"))
}
