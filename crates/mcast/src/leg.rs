//! What a rule sends out: one leg per output.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};

use crate::InterfaceName;

/// One output of a rule: where the payload goes and under which headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leg {
    /// Destination, a group or a host.
    pub address: IpAddr,
    /// Egress interface: required for a group; absent for a host: the kernel routes.
    pub interface: Option<InterfaceName>,
    /// Destination port; absent: the packet keeps the one it came with.
    pub port: Option<NonZeroU16>,
    /// Source address.
    pub source: LegSource,
    /// Source port.
    pub sport: SourcePort,
    /// TTL or hop limit.
    pub ttl: Ttl,
    /// DSCP; absent: the packet keeps the one it came with. ECN is always kept.
    pub dscp: Option<Dscp>,
    /// Most datagrams handed to the kernel in one burst; absent: as many as it takes.
    pub batch: Option<NonZeroU8>,
}

/// The source address a leg sends from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LegSource {
    /// What the kernel picks for the leg's route.
    #[default]
    Interface,
    /// The one the packet came with (same address family only).
    Keep,
    /// This address, whether or not the host owns it.
    Address(IpAddr),
}

/// The source port a leg sends from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SourcePort {
    /// The daemon's own, or the packet's where the leg keeps the source address.
    #[default]
    Default,
    /// The one the packet came with.
    Keep,
    /// This port.
    Port(NonZeroU16),
}

/// The TTL (IPv4) or hop limit (IPv6) a leg sends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// This value.
    Set(NonZeroU8),
    /// One less than the packet came with; a packet that came with 1 is dropped (reason `ttl`).
    Decrement,
}

impl Default for Ttl {
    fn default() -> Self {
        Self::Set(const { NonZeroU8::new(64).unwrap() })
    }
}

/// A differentiated services code point, 0 to 63 (RFC 2474, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// The code point, if it is below 64.
    pub fn new(value: u8) -> Option<Self> {
        (value < 64).then_some(Self(value))
    }

    /// The code point's number.
    pub fn value(self) -> u8 {
        self.0
    }
}
