//! The endpoint notation: `[SOURCE@]ADDRESS[%INTERFACE][:PORT]`, IPv6 in brackets.
//!
//! One parser and one writer serve inputs, outputs and the traffic generator. `[ff02::1%eth0]:6000`, as other
//! tools print scoped addresses, is read too and written as `[ff02::1]%eth0:6000`. Reading judges form only;
//! what an address may be used for is left to the rules that use it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::{InterfaceName, NameError};

/// Where datagrams go or come from, as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The sender, as in a source-specific join.
    pub source: Option<IpAddr>,
    /// A group or a host.
    pub address: IpAddr,
    /// The interface the address is meant on.
    pub interface: Option<InterfaceName>,
    /// The destination port.
    pub port: Option<NonZeroU16>,
}

/// Why a text is not an endpoint, or not one that fits where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing where an endpoint is due.
    #[error("the endpoint is empty: write [SOURCE@]ADDRESS[%INTERFACE][:PORT], as in 239.1.1.1%eth0:5000")]
    Empty,
    /// Neither an IPv4 nor an IPv6 address.
    #[error("{0:?} is not an IP address: write IPv4 as 239.1.1.1, IPv6 as [ff3e::1]")]
    Address(String),
    /// An IPv6 address without brackets, so that a port could not be told from it.
    #[error("{0:?} has an IPv6 address without brackets: write it as in [ff3e::1]%eth0:5000")]
    Unbracketed(String),
    /// A bracket that is opened and not closed.
    #[error("{0:?} has no closing bracket: write IPv6 as in [ff3e::1]%eth0:5000")]
    Unclosed(String),
    /// Brackets around something that is not IPv6.
    #[error("[{0}] is not an IPv6 address: brackets hold IPv6 only, IPv4 is written without")]
    Bracketed(String),
    /// Text that is neither `%INTERFACE` nor `:PORT`.
    #[error("{0:?} after the address is neither %INTERFACE nor :PORT")]
    Trailing(String),
    /// A bad interface name.
    #[error(transparent)]
    Interface(#[from] NameError),
    /// The interface stands inside and outside the brackets.
    #[error("{0:?} names its interface twice: write it once, after the brackets")]
    InterfaceTwice(String),
    /// An interface on the source.
    #[error(
        "the source {0:?} has an interface: the interface belongs after the address, as in {0}@ADDRESS%{1}"
    )]
    SourceInterface(String, String),
    /// Not a number a port can have.
    #[error("{0:?} is not a port: ports are 1 to 65535")]
    Port(String),
    /// Port 0, which no datagram can be sent to.
    #[error(
        "port 0 is no destination or source: ports are 1 to 65535; leave it out for any or the packet's own"
    )]
    PortZero,
    /// An input that does not say where it comes in.
    #[error("input {0} names no interface: an input needs one, write {1}")]
    InterfaceMissing(Box<Endpoint>, String),
    /// Options where none are taken.
    #[error("{0:?} follows a comma: options belong to outputs, nothing else takes them")]
    OptionsRefused(String),
    /// `SOURCE@` on an output.
    #[error("output {0} begins with a source: an output's source is an option, write {1}")]
    SourceOnOutput(Box<Endpoint>, String),
    /// A table with neither or both of the keys that hold the address.
    #[error("one of group and address is needed: write group for multicast, address for unicast")]
    GroupOrAddress,
    /// Unicast under the key for multicast.
    #[error("group = {0} is not multicast: write a group, or address = {0} for a host")]
    NotGroup(IpAddr),
    /// Multicast under the key for unicast.
    #[error("address = {0} is multicast: write group = {0}")]
    NotHost(IpAddr),
    /// An option without `=`.
    #[error("{0:?} is not an option: write KEY=VALUE with one of {LEG_OPTIONS}")]
    OptionForm(String),
    /// An option there is not.
    #[error("there is no output option {0:?}: the options are {LEG_OPTIONS}")]
    OptionUnknown(String),
    /// The same option again.
    #[error("option {0} is given twice: write it once")]
    OptionTwice(String),
    /// A source no leg can have.
    #[error("source={0} is refused: write source=interface, source=keep or source=ADDRESS")]
    Source(String),
    /// A source port no leg can have.
    #[error("sport={0} is refused: write a port from 1 to 65535, or sport=keep")]
    SourcePort(String),
    /// A TTL no packet can leave with.
    #[error("ttl={0} is refused: write a TTL from 1 to 255, or ttl=decrement")]
    Ttl(String),
    /// Not six bits.
    #[error("dscp={0} is refused: write a code point from 0 to 63; left out, the packet keeps its own")]
    Dscp(String),
    /// Not a burst the kernel takes.
    #[error("batch={0} is refused: write 1 (no bursts) to 64 datagrams; left out, there is no limit")]
    Batch(String),
    /// Nothing a leg can hand to the kernel.
    #[error("send={0} is refused: write send=datagrams or send=frames")]
    Send(String),
}

/// The options of a leg, as messages list them.
const LEG_OPTIONS: &str = "source, sport, ttl, dscp, batch, send";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        if let Some((_, options)) = text.split_once(',') {
            return Err(EndpointError::OptionsRefused(options.to_owned()));
        }
        let (source, rest) = match text.split_once('@') {
            Some((source, rest)) => (Some(parse_source(source)?), rest),
            None => (None, text),
        };
        let (address, zone, tail) = split_address(rest)?;
        let (interface, port) = split_tail(tail)?;
        if zone.is_some() && interface.is_some() {
            return Err(EndpointError::InterfaceTwice(text.to_owned()));
        }
        let interface = zone.or(interface).map(str::parse).transpose()?;
        let port = port.map(parse_port).transpose()?;
        Ok(Self { source, address, interface, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source {
            write!(f, "{}@", Bracketed(source))?;
        }
        write!(f, "{}", Bracketed(self.address))?;
        if let Some(interface) = &self.interface {
            write!(f, "%{interface}")?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Endpoint {
    /// The same endpoint with the place of a missing interface marked, for a remedy.
    pub(crate) fn with_interface_marked(&self) -> String {
        let source = self.source.map(|source| format!("{}@", Bracketed(source))).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{source}{}%INTERFACE{port}", Bracketed(self.address))
    }
}

/// An address as the notation writes it: IPv6 in brackets.
pub(crate) struct Bracketed(pub(crate) IpAddr);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// An address where nothing can follow it: brackets around IPv6 may be left out.
pub(crate) fn parse_address(text: &str) -> Result<IpAddr, EndpointError> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(inside) => {
            inside.parse().map(IpAddr::V6).map_err(|_| EndpointError::Bracketed(inside.to_owned()))
        }
        None => text.parse().map_err(|_| EndpointError::Address(text.to_owned())),
    }
}

/// A port from 1 to 65535, digits only.
pub(crate) fn parse_port(text: &str) -> Result<NonZeroU16, EndpointError> {
    let number = parse_decimal(text, u16::MAX.into()).ok_or_else(|| EndpointError::Port(text.to_owned()))?;
    u16::try_from(number).ok().and_then(NonZeroU16::new).ok_or(EndpointError::PortZero)
}

/// A decimal number up to `max`. The standard parser would also take a leading `+`.
pub(crate) fn parse_decimal(text: &str, max: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&number: &u32| digits && number <= max)
}

fn parse_source(text: &str) -> Result<IpAddr, EndpointError> {
    if text.starts_with('[') {
        let (address, zone, tail) = split_address(text)?;
        let interface = zone.or(tail.strip_prefix('%'));
        return match interface {
            Some(interface) => Err(source_interface(&Bracketed(address), interface)),
            None if tail.is_empty() => Ok(address),
            None => Err(EndpointError::Trailing(tail.to_owned())),
        };
    }
    match text.split_once('%') {
        Some((address, interface)) => Err(source_interface(&address, interface)),
        None => match text.parse() {
            Ok(IpAddr::V6(_)) => Err(EndpointError::Unbracketed(text.to_owned())),
            Ok(address) => Ok(address),
            Err(_) => Err(EndpointError::Address(text.to_owned())),
        },
    }
}

fn source_interface(address: &dyn fmt::Display, interface: &str) -> EndpointError {
    EndpointError::SourceInterface(address.to_string(), interface.to_owned())
}

/// Splits the address off: itself, the zone inside its brackets, what follows.
fn split_address(text: &str) -> Result<(IpAddr, Option<&str>, &str), EndpointError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, tail) = rest.split_once(']').ok_or_else(|| EndpointError::Unclosed(text.to_owned()))?;
        let (address, zone) = match inside.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (inside, None),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| EndpointError::Bracketed(address.to_owned()))?;
        return Ok((address.into(), zone, tail));
    }
    let host = text.split('%').next().unwrap_or(text);
    if host.parse::<Ipv6Addr>().is_ok() || host.matches(':').count() > 1 {
        return Err(EndpointError::Unbracketed(text.to_owned()));
    }
    let (address, tail) = text.split_at(text.find(['%', ':']).unwrap_or(text.len()));
    let address: Ipv4Addr = address.parse().map_err(|_| EndpointError::Address(address.to_owned()))?;
    Ok((address.into(), None, tail))
}

/// Splits `[%INTERFACE][:PORT]`.
fn split_tail(tail: &str) -> Result<(Option<&str>, Option<&str>), EndpointError> {
    if let Some(rest) = tail.strip_prefix('%') {
        return Ok(match rest.split_once(':') {
            Some((interface, port)) => (Some(interface), Some(port)),
            None => (Some(rest), None),
        });
    }
    match tail.strip_prefix(':') {
        Some(port) => Ok((None, Some(port))),
        None if tail.is_empty() => Ok((None, None)),
        None => Err(EndpointError::Trailing(tail.to_owned())),
    }
}
