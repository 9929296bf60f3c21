//! What a rule sends out: one leg per output.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::str::FromStr;

use crate::endpoint::{Bracketed, parse_address, parse_decimal};
use crate::{Endpoint, EndpointError, InterfaceName};

/// Most datagrams one segmented send takes (`UDP_MAX_SEGMENTS` of kernels before 6.9, udp(7)).
pub(crate) const BATCH_MAX: u8 = 64;

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
    /// What is handed to the kernel.
    pub send: SendAs,
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

/// What a leg hands to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SendAs {
    /// Datagrams, which it routes and filters as any program's.
    #[default]
    Datagrams,
    /// Whole Ethernet frames to a group: a third less work where flows are many and bursts short. They pass neither routing
    /// nor the firewall's OUTPUT and POSTROUTING.
    Frames,
}

impl Leg {
    /// Whether datagrams leave from the port they came from: asked for, or kept with the source address.
    pub fn keeps_port(&self) -> bool {
        match self.sport {
            SourcePort::Keep => true,
            SourcePort::Default => self.source == LegSource::Keep,
            SourcePort::Port(_) => false,
        }
    }
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
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

impl Leg {
    /// A leg to this place with every option at its default.
    pub fn new(address: IpAddr, interface: Option<InterfaceName>, port: Option<NonZeroU16>) -> Self {
        Self {
            address,
            interface,
            port,
            source: LegSource::default(),
            sport: SourcePort::default(),
            ttl: Ttl::default(),
            dscp: None,
            batch: None,
            send: SendAs::default(),
        }
    }

    /// Where it goes, without options.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { source: None, address: self.address, interface: self.interface.clone(), port: self.port }
    }

    /// The leg with the place of a missing interface marked, for a remedy.
    pub(crate) fn with_interface_marked(&self) -> String {
        let bare = self.endpoint().to_string();
        self.to_string().replacen(&bare, &self.endpoint().with_interface_marked(), 1)
    }

    fn set_option(&mut self, key: &str, value: &str) -> Result<(), EndpointError> {
        match key {
            "source" => self.source = value.parse()?,
            "sport" => self.sport = value.parse()?,
            "ttl" => self.ttl = value.parse()?,
            "dscp" => self.dscp = Some(value.parse()?),
            "batch" => self.batch = Some(parse_batch(value)?),
            "send" => self.send = value.parse()?,
            _ => return Err(EndpointError::OptionUnknown(key.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Leg {
    type Err = EndpointError;

    /// Reads `ADDRESS[%INTERFACE][:PORT][,OPTION=VALUE...]`; judges form only.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut parts = text.split(',');
        let endpoint: Endpoint = parts.next().unwrap_or_default().parse()?;
        if let Some(source) = endpoint.source {
            let bare = Endpoint { source: None, ..endpoint.clone() };
            let remedy = format!("{bare},source={}", Bracketed(source));
            return Err(EndpointError::SourceOnOutput(Box::new(endpoint), remedy));
        }
        let mut leg = Self::new(endpoint.address, endpoint.interface, endpoint.port);
        let mut seen: Vec<&str> = Vec::new();
        for part in parts {
            let (key, value) =
                part.split_once('=').ok_or_else(|| EndpointError::OptionForm(part.to_owned()))?;
            if seen.contains(&key) {
                return Err(EndpointError::OptionTwice(key.to_owned()));
            }
            leg.set_option(key, value)?;
            seen.push(key);
        }
        Ok(leg)
    }
}

impl fmt::Display for Leg {
    /// Writes the canonical form: options in one order, defaults left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint().fmt(f)?;
        if self.source != LegSource::default() {
            write!(f, ",source={}", self.source)?;
        }
        match self.sport {
            SourcePort::Default => {}
            SourcePort::Keep => f.write_str(",sport=keep")?,
            SourcePort::Port(port) => write!(f, ",sport={port}")?,
        }
        if self.ttl != Ttl::default() {
            write!(f, ",ttl={}", self.ttl)?;
        }
        if let Some(dscp) = self.dscp {
            write!(f, ",dscp={}", dscp.value())?;
        }
        if let Some(batch) = self.batch {
            write!(f, ",batch={batch}")?;
        }
        match self.send {
            SendAs::Datagrams => Ok(()),
            SendAs::Frames => f.write_str(",send=frames"),
        }
    }
}

impl FromStr for LegSource {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text {
            "interface" => Ok(Self::Interface),
            "keep" => Ok(Self::Keep),
            _ => match parse_address(text) {
                Ok(address) => Ok(Self::Address(address)),
                Err(_) => Err(EndpointError::Source(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for LegSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Interface => f.write_str("interface"),
            Self::Keep => f.write_str("keep"),
            Self::Address(address) => Bracketed(address).fmt(f),
        }
    }
}

impl FromStr for SourcePort {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text == "keep" {
            return Ok(Self::Keep);
        }
        let port = parse_decimal(text, u16::MAX.into()).and_then(|n| u16::try_from(n).ok());
        match port.and_then(NonZeroU16::new) {
            Some(port) => Ok(Self::Port(port)),
            None => Err(EndpointError::SourcePort(text.to_owned())),
        }
    }
}

impl FromStr for Ttl {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text == "decrement" {
            return Ok(Self::Decrement);
        }
        match parse_octet(text).and_then(NonZeroU8::new) {
            Some(ttl) => Ok(Self::Set(ttl)),
            None => Err(EndpointError::Ttl(text.to_owned())),
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(ttl) => ttl.fmt(f),
            Self::Decrement => f.write_str("decrement"),
        }
    }
}

impl FromStr for Dscp {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse_octet(text).and_then(Self::new).ok_or_else(|| EndpointError::Dscp(text.to_owned()))
    }
}

impl FromStr for SendAs {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text {
            "datagrams" => Ok(Self::Datagrams),
            "frames" => Ok(Self::Frames),
            _ => Err(EndpointError::Send(text.to_owned())),
        }
    }
}

/// A burst from 1 to [`BATCH_MAX`] datagrams.
pub(crate) fn parse_batch(text: &str) -> Result<NonZeroU8, EndpointError> {
    let batch = parse_octet(text).filter(|&batch| batch <= BATCH_MAX).and_then(NonZeroU8::new);
    batch.ok_or_else(|| EndpointError::Batch(text.to_owned()))
}

fn parse_octet(text: &str) -> Option<u8> {
    parse_decimal(text, u8::MAX.into()).and_then(|number| u8::try_from(number).ok())
}
