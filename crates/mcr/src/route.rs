//! Which way the kernel sends to an address, by netlink.

use std::net::IpAddr;

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::Handle;

/// A destination, and the interface it is to be reached by where one is named.
pub(crate) type Destination = (IpAddr, Option<u32>);

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Index of the interface it leaves by.
    pub(crate) ifindex: u32,
    /// Who is next: a router, or the destination itself.
    pub(crate) next_hop: IpAddr,
    /// Whether it ends on this host.
    pub(crate) local: bool,
}

/// The way to a destination.
///
/// # Errors
/// Why there is none.
pub(crate) async fn way_to(handle: &Handle, (address, ifindex): Destination) -> Result<Way, String> {
    let mut question = RouteMessage::default();
    question.header.address_family =
        if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    question.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    question.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    question.attributes.extend(ifindex.map(RouteAttribute::Oif));
    let answer = handle.route().get(question).execute().boxed().try_next().await;
    match answer {
        Ok(Some(answer)) => way(&answer, address).ok_or_else(|| "its answer names no interface".to_owned()),
        Ok(None) => Err("it gives no answer".to_owned()),
        Err(rtnetlink::Error::NetlinkError(refused)) => Err(refused.to_io().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn way(answer: &RouteMessage, address: IpAddr) -> Option<Way> {
    let attributes = || answer.attributes.iter();
    let ifindex = attributes().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    let router = attributes().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(hop)) | RouteAttribute::Via(RouteVia::Inet(hop)) => {
            Some(IpAddr::from(*hop))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(hop)) | RouteAttribute::Via(RouteVia::Inet6(hop)) => {
            Some(IpAddr::from(*hop))
        }
        _ => None,
    });
    let local = answer.header.kind == RouteType::Local;
    Some(Way { ifindex, next_hop: router.unwrap_or(address), local })
}
