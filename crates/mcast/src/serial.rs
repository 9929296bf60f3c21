//! Serde for the nouns: written as strings in their notation, read from strings or, where the file has one,
//! from a table.
//!
//! The same code reads TOML and JSON. Formats that do not describe themselves get the string alone.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::endpoint::{parse_address, parse_port};
use crate::leg::parse_batch;
use crate::{
    CoreList, Dscp, Endpoint, EndpointError, Engine, Flow, InterfaceName, Leg, LegSource, RuleName, SendAs,
    SourcePort, Ttl,
};

/// Reads a value from its notation only.
struct Notation<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Notation<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Implements serde by `Display` and `FromStr`.
macro_rules! serde_by_notation {
    ($($noun:ty: $expecting:literal),* $(,)?) => {$(
        impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $noun {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Notation($expecting, PhantomData))
            }
        }
    )*};
}

serde_by_notation! {
    RuleName: "a rule name as a string",
    InterfaceName: "an interface name as a string",
    Endpoint: "an endpoint as a string, such as \"239.1.1.1%eth0:5000\"",
    Engine: "an engine as a string: auto, userspace or tc",
    CoreList: "a list of cores as a string, such as \"0,2-3\"",
}

/// Reads a value from its notation or from its table.
struct NotationOrTable<T, Table>(&'static str, PhantomData<(T, Table)>);

impl<'de, T, Table> Visitor<'de> for NotationOrTable<T, Table>
where
    T: FromStr<Err: fmt::Display> + TryFrom<Table, Error: fmt::Display>,
    Table: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        table.try_into().map_err(A::Error::custom)
    }
}

/// Implements serde by `Display`, `FromStr` and a table.
macro_rules! serde_by_notation_or_table {
    ($($noun:ty, $table:ty: $expecting:literal),* $(,)?) => {$(
        impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $noun {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = NotationOrTable::<Self, $table>($expecting, PhantomData);
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(visitor)
                } else {
                    deserializer.deserialize_str(visitor)
                }
            }
        }
    )*};
}

serde_by_notation_or_table! {
    Flow, FlowTable: "an input: a string such as \"239.1.1.1%eth0:5000\", or a table of interface, group or \
        address, port, source",
    Leg, LegTable: "an output: a string such as \"239.2.2.2%eth1:6000,ttl=16\", or a table of group or address, \
        interface, port, source, sport, ttl, dscp, batch, send",
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowTable {
    interface: Option<InterfaceName>,
    group: Option<Scalar<GroupAddress>>,
    address: Option<Scalar<HostAddress>>,
    port: Option<Scalar<Port>>,
    source: Option<Scalar<SourceAddress>>,
}

impl TryFrom<FlowTable> for Flow {
    type Error = EndpointError;

    fn try_from(table: FlowTable) -> Result<Self, EndpointError> {
        let endpoint = Endpoint {
            source: table.source.map(|Scalar(SourceAddress(source))| source),
            address: group_or_address(table.group, table.address)?,
            interface: table.interface,
            port: table.port.map(|Scalar(Port(port))| port),
        };
        endpoint.try_into()
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LegTable {
    group: Option<Scalar<GroupAddress>>,
    address: Option<Scalar<HostAddress>>,
    interface: Option<InterfaceName>,
    port: Option<Scalar<Port>>,
    source: Option<Scalar<LegSource>>,
    sport: Option<Scalar<SourcePort>>,
    ttl: Option<Scalar<Ttl>>,
    dscp: Option<Scalar<Dscp>>,
    batch: Option<Scalar<Batch>>,
    send: Option<Scalar<SendAs>>,
}

impl TryFrom<LegTable> for Leg {
    type Error = EndpointError;

    fn try_from(table: LegTable) -> Result<Self, EndpointError> {
        let address = group_or_address(table.group, table.address)?;
        let port = table.port.map(|Scalar(Port(port))| port);
        Ok(Self {
            source: table.source.map(|source| source.0).unwrap_or_default(),
            sport: table.sport.map(|sport| sport.0).unwrap_or_default(),
            ttl: table.ttl.map(|ttl| ttl.0).unwrap_or_default(),
            dscp: table.dscp.map(|dscp| dscp.0),
            batch: table.batch.map(|Scalar(Batch(batch))| batch),
            send: table.send.map(|send| send.0).unwrap_or_default(),
            ..Self::new(address, table.interface, port)
        })
    }
}

fn group_or_address(
    group: Option<Scalar<GroupAddress>>,
    address: Option<Scalar<HostAddress>>,
) -> Result<IpAddr, EndpointError> {
    match (group, address) {
        (Some(Scalar(GroupAddress(address))), None) | (None, Some(Scalar(HostAddress(address)))) => {
            Ok(address)
        }
        _ => Err(EndpointError::GroupOrAddress),
    }
}

/// A table's value, a string or a whole number, read like the notation's so that both say the same.
struct Scalar<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData)).map(Self)
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

struct GroupAddress(IpAddr);

impl FromStr for GroupAddress {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let address = parse_address(text)?;
        if address.is_multicast() { Ok(Self(address)) } else { Err(EndpointError::NotGroup(address)) }
    }
}

struct HostAddress(IpAddr);

impl FromStr for HostAddress {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let address = parse_address(text)?;
        if address.is_multicast() { Err(EndpointError::NotHost(address)) } else { Ok(Self(address)) }
    }
}

struct SourceAddress(IpAddr);

impl FromStr for SourceAddress {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse_address(text).map(Self)
    }
}

struct Port(NonZeroU16);

impl FromStr for Port {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse_port(text).map(Self)
    }
}

struct Batch(NonZeroU8);

impl FromStr for Batch {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse_batch(text).map(Self)
    }
}
