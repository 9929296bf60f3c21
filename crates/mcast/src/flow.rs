//! What a rule takes in.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::InterfaceName;

/// A stream of UDP datagrams as it arrives: on which interface, to which address, from whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The only source taken (a source-specific join when `address` is a group); absent: any.
    pub source: Option<IpAddr>,
    /// A multicast group, or a unicast address of this host (which then needs `port`).
    pub address: IpAddr,
    /// Ingress interface.
    pub interface: InterfaceName,
    /// Destination port; absent: any.
    pub port: Option<NonZeroU16>,
}
