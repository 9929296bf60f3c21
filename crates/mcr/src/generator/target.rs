//! Where generated flows go: one address and port per flow, made from one endpoint.
//!
//! Flow i of a group goes to the group's address plus i; flow i to a host goes to its port plus i.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;

use mcast::{Endpoint, InterfaceName};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// Why an endpoint cannot carry the flows asked for.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A group without an interface.
    #[error("{0} names no interface: a group needs one, as in 239.1.1.1%eth0:5000")]
    InterfaceMissing(Box<Endpoint>),
    /// No port where one is needed.
    #[error("{0} names no port: add one, as in :5000")]
    PortMissing(Box<Endpoint>),
    /// No such interface here.
    #[error("interface {0} does not exist in this network namespace ({1}): `ip link` lists those that do")]
    InterfaceAbsent(InterfaceName, #[source] io::Error),
    /// A source that only groups have.
    #[error("source {0} is a group: name a host's address")]
    SourceGroup(IpAddr),
    /// `0.0.0.0` or `::` for a source.
    #[error("source {0} is no host: leave it out")]
    SourceUnspecified(IpAddr),
    /// More flows than addresses or ports follow.
    #[error("{1} flows from {0} run past the last {2}: use fewer flows or a lower one")]
    TooManyFlows(Box<Endpoint>, u16, &'static str),
}

/// A network interface by both its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// As the operator wrote it.
    pub name: InterfaceName,
    /// The kernel's index.
    pub index: u32,
}

impl Interface {
    /// The one that has that name now, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV` where there is none.
    pub fn named(name: InterfaceName) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        Ok(Self { index: netdevice::name_to_index(&socket, name.as_str())?, name })
    }

    /// The one that has that index now, there.
    ///
    /// # Errors
    /// `ENXIO` where there is none.
    pub fn indexed(index: u32) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let name = netdevice::index_to_name(&socket, index)?;
        Ok(Self { index, name: name.parse().map_err(io::Error::other)? })
    }
}

/// The flows of one generator or receiver.
#[derive(Debug, Clone)]
pub struct Target {
    endpoint: Endpoint,
    interface: Option<Interface>,
    flows: u16,
}

impl Target {
    /// The `flows` flows that start at `endpoint`.
    ///
    /// # Errors
    /// When the endpoint lacks what its kind needs or the flows run past the last group or port.
    pub fn new(endpoint: Endpoint, flows: NonZeroU16) -> Result<Self, TargetError> {
        let multicast = endpoint.address.is_multicast();
        if multicast && endpoint.interface.is_none() {
            return Err(TargetError::InterfaceMissing(Box::new(endpoint)));
        }
        if !multicast && endpoint.port.is_none() {
            return Err(TargetError::PortMissing(Box::new(endpoint)));
        }
        endpoint.source.map(host).transpose()?;
        let last = flows.get() - 1;
        if multicast && !advance(endpoint.address, last).is_some_and(|group| group.is_multicast()) {
            return Err(TargetError::TooManyFlows(Box::new(endpoint), flows.get(), "group"));
        }
        if !multicast && endpoint.port.is_some_and(|port| port.checked_add(last).is_none()) {
            return Err(TargetError::TooManyFlows(Box::new(endpoint), flows.get(), "port"));
        }
        let absent = |name: &InterfaceName| {
            let name = name.clone();
            Interface::named(name.clone()).map_err(|error| TargetError::InterfaceAbsent(name, error))
        };
        let interface = endpoint.interface.as_ref().map(absent).transpose()?;
        Ok(Self { endpoint, interface, flows: flows.get() })
    }

    /// How many flows there are.
    pub fn flows(&self) -> u16 {
        self.flows
    }

    /// Whether the flows go to groups.
    pub fn is_multicast(&self) -> bool {
        self.endpoint.address.is_multicast()
    }

    /// The only source meant, where the endpoint names one.
    pub fn source(&self) -> Option<IpAddr> {
        self.endpoint.source
    }

    /// The interface meant, where the endpoint names one.
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// The endpoint as it was written.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Flow `i`'s destination address.
    pub fn address(&self, flow: u16) -> IpAddr {
        let step = if self.is_multicast() { flow } else { 0 };
        advance(self.endpoint.address, step).unwrap_or(self.endpoint.address)
    }

    /// Flow `i`'s destination port; absent where the endpoint has none.
    pub fn port(&self, flow: u16) -> Option<u16> {
        let step = if self.is_multicast() { 0 } else { flow };
        self.endpoint.port.map(|port| port.get().wrapping_add(step))
    }

    /// Which flow's destination this is; absent when it is none of the target's.
    pub fn place(&self, address: IpAddr, port: u16) -> Option<u16> {
        if self.is_multicast() {
            let own_port = self.endpoint.port.is_none_or(|own| own.get() == port);
            return distance(self.endpoint.address, address).filter(|step| own_port && *step < self.flows);
        }
        let step = port.checked_sub(self.endpoint.port?.get())?;
        (address == self.endpoint.address && step < self.flows).then_some(step)
    }

    /// Whether `address` is a destination of any flow.
    pub fn has_address(&self, address: IpAddr) -> bool {
        distance(self.endpoint.address, address)
            .is_some_and(|step| if self.is_multicast() { step < self.flows } else { step == 0 })
    }

    /// What sets flow `i`'s destination apart from the others', for messages.
    pub fn place_name(&self, flow: u16) -> String {
        match self.port(flow) {
            Some(port) if !self.is_multicast() => format!("port {port}"),
            _ => self.address(flow).to_string(),
        }
    }

    /// Flow `i`'s destination as a socket address, scoped to the interface.
    ///
    /// # Errors
    /// When the endpoint has no port.
    pub fn socket_address(&self, flow: u16) -> Result<SocketAddr, TargetError> {
        let port =
            self.port(flow).ok_or_else(|| TargetError::PortMissing(Box::new(self.endpoint.clone())))?;
        let scope = self.interface.as_ref().map_or(0, |interface| interface.index);
        Ok(match self.address(flow) {
            IpAddr::V4(address) => SocketAddr::from((address, port)),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
        })
    }
}

/// An address a datagram can come from (RFC 1122, section 3.2.1.3: never a group).
///
/// # Errors
/// It is a group or none at all.
pub fn host(address: IpAddr) -> Result<IpAddr, TargetError> {
    match address {
        group if group.is_multicast() => Err(TargetError::SourceGroup(group)),
        none if none.is_unspecified() => Err(TargetError::SourceUnspecified(none)),
        host => Ok(host),
    }
}

/// The address `step` further on; absent past the family's last.
pub(crate) fn advance(address: IpAddr, step: u16) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => a.to_bits().checked_add(step.into()).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(a) => a.to_bits().checked_add(step.into()).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// How far `address` lies after `base`; absent when before, too far, or of the other family.
fn distance(base: IpAddr, address: IpAddr) -> Option<u16> {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            address.to_bits().checked_sub(base.to_bits())?.try_into().ok()
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            address.to_bits().checked_sub(base.to_bits())?.try_into().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str, flows: u16) -> Result<Target, TargetError> {
        Target::new(endpoint.parse().unwrap(), NonZeroU16::new(flows).unwrap())
    }

    #[test]
    fn groups_count_up_addresses() {
        let v4 = target("239.1.1.255%lo:5000", 2).unwrap();
        assert_eq!(v4.socket_address(1).unwrap(), "239.1.2.0:5000".parse().unwrap());
        let v6 = target("[ff3e::ffff]%lo:5000", 2).unwrap();
        assert_eq!(v6.address(1), "ff3e::1:0".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn hosts_count_up_ports() {
        let host = target("127.0.0.1:5000", 3).unwrap();
        assert_eq!(host.socket_address(2).unwrap(), "127.0.0.1:5002".parse().unwrap());
    }

    #[test]
    fn places_are_found_again() {
        for (endpoint, flows) in
            [("239.1.1.255%lo:5000", 3), ("[ff3e::ffff]%lo:5000", 3), ("127.0.0.1:5000", 3)]
        {
            let target = target(endpoint, flows).unwrap();
            for flow in 0..flows {
                assert_eq!(target.place(target.address(flow), target.port(flow).unwrap()), Some(flow));
            }
            assert_eq!(target.place(target.address(0), 4999), None);
            assert_eq!(target.place("239.1.1.254".parse().unwrap(), 5000), None);
        }
        let any_port = target("239.1.1.1%lo", 1).unwrap();
        assert_eq!(any_port.place(any_port.address(0), 1), Some(0));
    }

    #[test]
    fn refusals() {
        assert!(matches!(target("239.1.1.1:5000", 1), Err(TargetError::InterfaceMissing(_))));
        assert!(matches!(target("10.0.0.1", 1), Err(TargetError::PortMissing(_))));
        assert!(matches!(target("10.0.0.1:65535", 2), Err(TargetError::TooManyFlows(..))));
        assert!(matches!(target("239.255.255.255%lo:1", 2), Err(TargetError::TooManyFlows(..))));
        assert!(matches!(target("239.1.1.2@239.1.1.1%lo:1", 1), Err(TargetError::SourceGroup(_))));
        assert!(matches!(target("[::]@[ff3e::1]%lo:1", 1), Err(TargetError::SourceUnspecified(_))));
        assert!(matches!(target("239.1.1.1%absent0:1", 1), Err(TargetError::InterfaceAbsent(..))));
    }
}
