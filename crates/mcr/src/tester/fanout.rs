//! Which output of the device goes to which receiver: the first n receivers, and these again with the next ports.

use std::num::NonZeroU16;
use std::ops::Range;

use mcast::Endpoint;

use super::error::TesterError;
use super::place::Place;

/// How often each receiver is used for `fanout` outputs of the device, receivers in order; those left out are not
/// used at all.
///
/// Use k of a group's receiver is its port plus k. A host's flows have a port each, so there use k starts at its port
/// plus k times `groups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fanout {
    /// Outputs of the device for each flow.
    pub outputs: u16,
    /// Flows.
    pub groups: u16,
    /// Receivers there are.
    pub receivers: usize,
}

impl Fanout {
    /// How many outputs receiver `at` takes.
    pub fn uses(self, at: usize) -> u16 {
        let (outputs, receivers) = (usize::from(self.outputs), self.receivers);
        // Never more than all outputs, which fit.
        (outputs / receivers + usize::from(at < outputs % receivers)) as u16
    }

    /// Receivers that take any.
    pub fn used(self) -> usize {
        self.receivers.min(self.outputs.into())
    }

    /// The endpoint of use `turn` of a receiver, for its first flow.
    ///
    /// # Errors
    /// When its ports run out.
    pub fn endpoint(self, receiver: &Place, turn: u16) -> Result<Endpoint, TesterError> {
        let step = u32::from(turn) * self.ports_each(receiver);
        let port = receiver.endpoint.port.map_or(0, NonZeroU16::get);
        let moved = u16::try_from(u32::from(port) + step).ok().and_then(NonZeroU16::new);
        let run_out = || TesterError::Ports(Box::new(receiver.clone()), self.outputs, self.groups);
        Ok(Endpoint { port: Some(moved.ok_or_else(run_out)?), ..receiver.endpoint.clone() })
    }

    /// The endpoints of all outputs in order: the first of each receiver, then the second of each, and so on.
    ///
    /// # Errors
    /// When ports run out, or two outputs would be the same.
    pub fn endpoints(self, receivers: &[Place]) -> Result<Vec<Endpoint>, TesterError> {
        let output = |output: u16| {
            let (turn, at) = (usize::from(output) / self.receivers, usize::from(output) % self.receivers);
            self.endpoint(&receivers[at], turn as u16)
        };
        self.collision(receivers)?;
        (0..self.outputs).map(output).collect()
    }

    /// How many ports one use of a receiver takes.
    fn ports_each(self, receiver: &Place) -> u32 {
        if receiver.endpoint.address.is_multicast() { 1 } else { self.groups.into() }
    }

    fn collision(self, receivers: &[Place]) -> Result<(), TesterError> {
        let used = &receivers[..self.used()];
        for (at, one) in used.iter().enumerate() {
            let other = used[..at].iter().enumerate().find(|(before, other)| {
                let ports = self.ports(one, at);
                let taken = self.ports(other, *before);
                one.may_share_link(other)
                    && self.meet(one, other)
                    && ports.start < taken.end
                    && taken.start < ports.end
            });
            if let Some((_, other)) = other {
                return Err(TesterError::Collision(
                    Box::new(one.clone()),
                    Box::new(other.clone()),
                    self.outputs,
                ));
            }
        }
        Ok(())
    }

    /// Whether two receivers have an address in common.
    fn meet(self, one: &Place, other: &Place) -> bool {
        use std::net::IpAddr::{V4, V6};
        let apart = match (one.endpoint.address, other.endpoint.address) {
            (V4(one), V4(other)) => u128::from(one.to_bits().abs_diff(other.to_bits())),
            (V6(one), V6(other)) => one.to_bits().abs_diff(other.to_bits()),
            _ => return false,
        };
        apart < if one.endpoint.address.is_multicast() { self.groups.into() } else { 1 }
    }

    fn ports(self, receiver: &Place, at: usize) -> Range<u32> {
        let first = u32::from(receiver.endpoint.port.map_or(0, NonZeroU16::get));
        let each = self.ports_each(receiver);
        first..first + u32::from(self.uses(at)) * each
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(list: &[&str]) -> Vec<Place> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn endpoints(outputs: u16, groups: u16, list: &[&str]) -> Result<Vec<String>, TesterError> {
        let fanout = Fanout { outputs, groups, receivers: list.len() };
        Ok(fanout.endpoints(&places(list))?.iter().map(Endpoint::to_string).collect())
    }

    #[test]
    fn receivers_are_used_in_turn_with_the_next_ports() {
        let two = ["239.2.0.1%d0:6000/a", "239.2.0.1%d0:6000/b"];
        assert_eq!(endpoints(1, 4, &two).unwrap(), ["239.2.0.1%d0:6000"]);
        let used = Fanout { outputs: 1, groups: 4, receivers: 2 };
        assert_eq!((used.used(), used.uses(0), used.uses(1)), (1, 1, 0));
        let five = endpoints(5, 4, &two).unwrap();
        let ports: Vec<_> = five.iter().map(|output| output.rsplit_once(':').unwrap().1).collect();
        assert_eq!(ports, ["6000", "6000", "6001", "6001", "6002"]);
    }

    #[test]
    fn a_hosts_flows_have_a_port_each() {
        assert_eq!(
            endpoints(3, 10, &["10.0.0.1:6000"]).unwrap(),
            ["10.0.0.1:6000", "10.0.0.1:6010", "10.0.0.1:6020"]
        );
    }

    #[test]
    fn outputs_that_are_the_same_are_refused() {
        let refused = |outputs, groups, list: &[&str]| {
            matches!(endpoints(outputs, groups, list), Err(TesterError::Collision(..)))
        };
        assert!(refused(2, 1, &["239.2.0.1%d0:6000", "239.2.0.1%d0:6000"]));
        assert!(refused(3, 1, &["239.2.0.1%d0:6000", "239.2.0.1%d0:6001"]));
        assert!(refused(2, 9, &["239.2.0.9%d0:6000", "239.2.0.1%d0:6000"]));
        assert!(!refused(2, 8, &["239.2.0.9%d0:6000", "239.2.0.1%d0:6000"]));
        assert!(!refused(2, 1, &["239.2.0.1%d0:6000/a", "239.2.0.1%d0:6000/b"]));
        assert!(!refused(2, 1, &["239.2.0.1%d0:6000", "239.2.0.1%d1:6000"]));
        assert!(refused(2, 3, &["10.0.0.1:6000", "10.0.0.1:6002"]));
        assert!(refused(2, 1, &["10.0.0.1:6000", "10.0.0.1%d0:6000"]));
    }

    #[test]
    fn ports_run_out() {
        let last = endpoints(3, 1, &["239.2.0.1%d0:65534"]);
        assert!(matches!(last, Err(TesterError::Ports(..))));
        assert_eq!(endpoints(2, 1, &["239.2.0.1%d0:65534"]).unwrap().len(), 2);
    }

    proptest! {
        /// Uses add up to the outputs, and no two outputs are the same.
        #[test]
        fn outputs_are_all_there_and_differ(outputs in 1u16..200, groups in 1u16..50, receivers in 1usize..9) {
            let list: Vec<Place> =
                (0..receivers).map(|n| format!("239.2.0.1%d0:6000/n{n}").parse().unwrap()).collect();
            let fanout = Fanout { outputs, groups, receivers };
            prop_assert_eq!((0..receivers).map(|at| fanout.uses(at)).sum::<u16>(), outputs);
            let mut seen = std::collections::BTreeSet::new();
            for (output, endpoint) in fanout.endpoints(&list).unwrap().iter().enumerate() {
                prop_assert!(seen.insert((output % receivers, endpoint.port)));
            }
        }
    }
}
