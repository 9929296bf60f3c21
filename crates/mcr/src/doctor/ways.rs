//! Which way the kernel sends to an address, and whether who is next on that way answers: by netlink.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::Handle;

use super::case::Case;
use super::heard::Heard;
use super::traffic::sources;
use crate::route::{Destination, Way, way_to};

/// Sources asked about for one rule.
const SOURCES_MAX: usize = 4;

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
        routes.insert(destination, way_to(&handle, destination).await);
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
