//! What a single rule must satisfy, beyond form, before it may run.
//!
//! Every refusal says which input or output it is about and what to write instead. Whether rules fit
//! together is left to [`RuleSet`](crate::RuleSet), whether interfaces exist to the daemon.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::leg::BATCH_MAX;
use crate::{Engine, Flow, Leg, LegSource, Rule, SendAs};

/// Most outputs a rule may have.
pub const OUTPUTS_MAX: usize = 1024;

/// Why a rule is refused on its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The input's address cannot be received on.
    #[error("input {input}: {why}")]
    InputAddress {
        /// The input.
        input: Flow,
        /// What is wrong with the address.
        why: AddressError,
    },
    /// No datagram of the input can come from its source.
    #[error("input {input}: {why}")]
    InputSource {
        /// The input.
        input: Flow,
        /// What is wrong with the source.
        why: AddressError,
    },
    /// A unicast input for any port would take the host's own traffic.
    #[error("input {0} is unicast and names no port: write {0}:PORT, only a group may leave it out")]
    InputPort(Flow),
    /// A rule that sends nothing.
    #[error("outputs is empty, so the rule would relay nothing: list at least one output")]
    NoOutputs,
    /// More outputs than [`OUTPUTS_MAX`].
    #[error("the rule has {0} outputs, the most is {OUTPUTS_MAX}: spread them over relays in a row")]
    TooManyOutputs(usize),
    /// The output's address cannot be sent to.
    #[error("output {output}: {why}")]
    OutputAddress {
        /// The output.
        output: Leg,
        /// What is wrong with the address.
        why: AddressError,
    },
    /// The output's datagrams cannot come from its source.
    #[error("output {output}: {why}")]
    OutputSource {
        /// The output.
        output: Leg,
        /// What is wrong with the source.
        why: AddressError,
    },
    /// A group without the interface it leaves by.
    #[error("output {output} is a group and names no interface to leave by: write {remedy}")]
    GroupInterface {
        /// The output.
        output: Leg,
        /// How to write it.
        remedy: String,
    },
    /// A link-local host without its link (RFC 4007, section 6).
    #[error("output {output} is link-local and names no interface, so its link is unknown: write {remedy}")]
    LinkLocalInterface {
        /// The output.
        output: Leg,
        /// How to write it.
        remedy: String,
    },
    /// A kept source address of the other family.
    #[error(
        "output {output} cannot keep the source of input {input}, which is of the other address family: write \
         source=interface or source=ADDRESS"
    )]
    KeepFamily {
        /// The output.
        output: Leg,
        /// The input.
        input: Flow,
    },
    /// One output twice: its receivers would get every packet twice.
    #[error("output {0} is there already: remove one of the two")]
    OutputTwice(Leg),
    /// A burst above what the kernel takes.
    #[error("output {0} has a batch above {BATCH_MAX}: write 1 to {BATCH_MAX}, or leave it out for no limit")]
    Batch(Leg),
    /// Frames to a host, whose link address only the kernel knows.
    #[error(
        "output {0} is a host, whose link address is the kernel's to know: send=frames is for groups, leave it out"
    )]
    FramesToHost(Leg),
    /// An engine this version does not have.
    #[error("engine {0} is not in this version: write auto or userspace")]
    Engine(Engine),
}

/// Why an address cannot stand where it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// `0.0.0.0` or `::`.
    #[error("{0} is the unspecified address, which no datagram carries on the wire: name a real one")]
    Unspecified(IpAddr),
    /// `255.255.255.255` (RFC 919, section 7).
    #[error("255.255.255.255 is the limited broadcast, which is not relayed: name a group or a host")]
    Broadcast,
    /// An IPv4 address written as IPv6 (RFC 4291, section 2.5.5.2), which never appears on the wire.
    #[error("{0} is an IPv4 address in IPv6 form: write {1}")]
    Mapped(Ipv6Addr, Ipv4Addr),
    /// A group as a source (RFC 1112, section 7.2; RFC 4291, section 2.7).
    #[error(
        "source {0} is multicast, but only hosts send: name the sender's own address or leave the source out"
    )]
    MulticastSource(IpAddr),
    /// Source and address of different families.
    #[error("source {0} and address {1} are of different families: write both as IPv4 or both as IPv6")]
    SourceFamily(IpAddr, IpAddr),
}

/// The part of a rule a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulePart {
    /// The name.
    Name,
    /// The input.
    Input,
    /// All outputs.
    Outputs,
    /// The output at this place, from 0.
    Output(usize),
    /// The engine.
    Engine,
}

impl Rule {
    /// Checks the rule on its own.
    ///
    /// # Errors
    /// The first thing that keeps it from running, with the remedy.
    pub fn check(&self) -> Result<(), RuleError> {
        match self.faults().into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything that keeps the rule from running, each with the part it is about.
    pub fn faults(&self) -> Vec<(RulePart, RuleError)> {
        let mut faults = Vec::new();
        faults.extend(self.input.faults().into_iter().map(|error| (RulePart::Input, error)));
        match self.outputs.len() {
            0 => faults.push((RulePart::Outputs, RuleError::NoOutputs)),
            count if count > OUTPUTS_MAX => {
                faults.push((RulePart::Outputs, RuleError::TooManyOutputs(count)));
            }
            _ => {}
        }
        let mut seen = HashSet::new();
        for (place, leg) in self.outputs.iter().enumerate() {
            let errors = leg.faults(&self.input).into_iter();
            faults.extend(errors.map(|error| (RulePart::Output(place), error)));
            if !seen.insert(leg) {
                faults.push((RulePart::Output(place), RuleError::OutputTwice(leg.clone())));
            }
        }
        if self.engine == Engine::Tc {
            faults.push((RulePart::Engine, RuleError::Engine(self.engine)));
        }
        faults
    }
}

impl Flow {
    fn faults(&self) -> Vec<RuleError> {
        let mut faults = Vec::new();
        let input = || self.clone();
        if let Some(why) = check_address(self.address) {
            faults.push(RuleError::InputAddress { input: input(), why });
        } else if !self.address.is_multicast() && self.port.is_none() {
            faults.push(RuleError::InputPort(input()));
        }
        if let Some(why) = self.source.and_then(|source| check_source(source, self.address)) {
            faults.push(RuleError::InputSource { input: input(), why });
        }
        faults
    }
}

impl Leg {
    fn faults(&self, input: &Flow) -> Vec<RuleError> {
        let mut faults = Vec::new();
        let output = || self.clone();
        let remedy = || self.with_interface_marked();
        if let Some(why) = check_address(self.address) {
            faults.push(RuleError::OutputAddress { output: output(), why });
        } else if self.interface.is_none() && self.address.is_multicast() {
            faults.push(RuleError::GroupInterface { output: output(), remedy: remedy() });
        } else if self.interface.is_none() && is_link_local(self.address) {
            faults.push(RuleError::LinkLocalInterface { output: output(), remedy: remedy() });
        }
        if let LegSource::Address(source) = self.source
            && let Some(why) = check_source(source, self.address)
        {
            faults.push(RuleError::OutputSource { output: output(), why });
        }
        if self.source == LegSource::Keep && self.address.is_ipv4() != input.address.is_ipv4() {
            faults.push(RuleError::KeepFamily { output: output(), input: input.clone() });
        }
        if self.batch.is_some_and(|batch| batch.get() > BATCH_MAX) {
            faults.push(RuleError::Batch(output()));
        }
        if self.send == SendAs::Frames && !self.address.is_multicast() {
            faults.push(RuleError::FramesToHost(output()));
        }
        faults
    }
}

/// What keeps an address from being a destination.
fn check_address(address: IpAddr) -> Option<AddressError> {
    if address.is_unspecified() {
        return Some(AddressError::Unspecified(address));
    }
    match address {
        IpAddr::V4(address) => address.is_broadcast().then_some(AddressError::Broadcast),
        IpAddr::V6(address) => {
            address.to_ipv4_mapped().map(|embedded| AddressError::Mapped(address, embedded))
        }
    }
}

/// What keeps an address from being the source of datagrams to `destination`.
fn check_source(source: IpAddr, destination: IpAddr) -> Option<AddressError> {
    if source.is_multicast() {
        return Some(AddressError::MulticastSource(source));
    }
    let family = || {
        let differs = source.is_ipv4() != destination.is_ipv4();
        differs.then_some(AddressError::SourceFamily(source, destination))
    };
    check_address(source).or_else(family)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
