//! What a rule takes in.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::{Endpoint, EndpointError, InterfaceName};

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

impl FromStr for Flow {
    type Err = EndpointError;

    /// Reads `[SOURCE@]ADDRESS%INTERFACE[:PORT]`; judges form only.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        text.parse::<Endpoint>()?.try_into()
    }
}

impl TryFrom<Endpoint> for Flow {
    type Error = EndpointError;

    /// Refuses an endpoint without an interface.
    fn try_from(endpoint: Endpoint) -> Result<Self, EndpointError> {
        let Endpoint { source, address, interface, port } = endpoint;
        match interface {
            Some(interface) => Ok(Self { source, address, interface, port }),
            None => {
                let endpoint = Endpoint { source, address, interface, port };
                let remedy = endpoint.with_interface_marked();
                Err(EndpointError::InterfaceMissing(Box::new(endpoint), remedy))
            }
        }
    }
}

impl From<Flow> for Endpoint {
    fn from(flow: Flow) -> Self {
        let Flow { source, address, interface, port } = flow;
        Self { source, address, interface: Some(interface), port }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Endpoint::from(self.clone()).fmt(f)
    }
}
