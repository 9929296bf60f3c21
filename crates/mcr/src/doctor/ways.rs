//! Which way the kernel sends to an address, and whether who is next on that way answers: by netlink.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::Handle;

use super::case::Case;
use super::heard::Heard;
use super::traffic::sources;

/// Sources asked about for one rule.
const SOURCES_MAX: usize = 4;

/// A destination, and the interface it is to be reached by where one is named.
type Destination = (IpAddr, Option<u32>);

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Index of the interface it leaves by.
    pub(super) ifindex: u32,
    /// Who is next: a router, or the destination itself.
    pub(super) next_hop: IpAddr,
    /// Whether it ends on this host.
    pub(super) local: bool,
}

/// What the neighbour table says of who is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// The table cannot be read.
    Unknown(String),
    /// There is no entry.
    Absent,
    /// It has answered, or needs not.
    Answers(String),
    /// It does not answer.
    Silent(String),
}

/// What the kernel has said.
#[derive(Debug)]
pub(super) struct Ways {
    routes: HashMap<Destination, Result<Way, String>>,
    neighbours: Result<HashMap<(u32, IpAddr), NeighbourState>, String>,
}

impl Ways {
    /// The way to a destination, or why there is none; absent where it was not asked for.
    pub(super) fn to(&self, address: IpAddr, ifindex: Option<u32>) -> Option<&Result<Way, String>> {
        self.routes.get(&(address, ifindex))
    }

    /// What is known of who is next.
    pub(super) fn neighbour(&self, way: &Way) -> Neighbour {
        let state = match &self.neighbours {
            Ok(neighbours) => neighbours.get(&(way.ifindex, way.next_hop)),
            Err(why) => return Neighbour::Unknown(why.clone()),
        };
        match state {
            None | Some(NeighbourState::None) => Neighbour::Absent,
            Some(state @ (NeighbourState::Failed | NeighbourState::Incomplete)) => {
                Neighbour::Silent(state.to_string().to_uppercase())
            }
            Some(state) => Neighbour::Answers(state.to_string().to_uppercase()),
        }
    }
}

/// Asks for the way to each unicast output, and back to each source that was heard.
pub(super) async fn look(case: &Case, heard: &Heard) -> Ways {
    let (connection, handle, _) = match rtnetlink::new_connection() {
        Ok(opened) => opened,
        Err(error) => {
            let why = format!("the neighbour table cannot be read (netlink): {error}");
            return Ways { routes: HashMap::new(), neighbours: Err(why) };
        }
    };
    let connection = tokio::spawn(connection);
    let mut routes = HashMap::new();
    for destination in destinations(case, heard) {
        routes.insert(destination, route(&handle, destination).await);
    }
    let neighbours = neighbours(&handle)
        .await
        .map_err(|error| format!("the neighbour table cannot be read (netlink): {error}"));
    connection.abort();
    Ways { routes, neighbours }
}

fn destinations(case: &Case, heard: &Heard) -> HashSet<Destination> {
    let legs = case.rules.iter().flat_map(|rule| &rule.legs);
    let hosts = legs.filter(|leg| !leg.leg.address.is_multicast()).map(|leg| (leg.leg.address, leg.ifindex));
    let back = case.rules.iter().filter_map(|rule| {
        let arrivals = heard.arrivals.get(&rule.arrival()?)?;
        Some(sources(arrivals, rule).into_iter().take(SOURCES_MAX).map(|source| (source, None)))
    });
    hosts.chain(back.flatten()).collect()
}

async fn route(handle: &Handle, (address, ifindex): Destination) -> Result<Way, String> {
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

async fn neighbours(handle: &Handle) -> Result<HashMap<(u32, IpAddr), NeighbourState>, rtnetlink::Error> {
    let messages: Vec<NeighbourMessage> = handle.neighbours().get().execute().try_collect().await?;
    Ok(messages.iter().filter_map(entry).collect())
}

fn entry(message: &NeighbourMessage) -> Option<((u32, IpAddr), NeighbourState)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::from(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    })?;
    Some(((message.header.ifindex, address), message.header.state))
}
