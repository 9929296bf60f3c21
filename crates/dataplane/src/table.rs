//! The forwarding table: what the supervisor compiles and a worker follows.
//!
//! Immutable and numbered by generation; a worker swaps the whole of it between batches. Names are
//! resolved: interfaces are indexes, sockets numbers the supervisor gave them.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

/// One generation's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its number, growing by one with each change.
    pub generation: u64,
    /// One entry a rule.
    pub flows: Vec<FlowEntry>,
    /// Addresses and ports the daemon itself sends from: frames with them are its own.
    pub own: Vec<SocketAddr>,
}

impl Table {
    /// All legs, in order.
    pub fn legs(&self) -> impl Iterator<Item = &LegEntry> {
        self.flows.iter().flat_map(|flow| &flow.legs)
    }

    /// Writes the table into memory of its own, to be handed to workers; answers it with its length.
    pub fn write(&self) -> io::Result<(OwnedFd, u32)> {
        let encoded = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
        let mut memory = File::from(memfd_create("mcr-table", MemfdFlags::CLOEXEC)?);
        memory.write_all(&encoded)?;
        Ok((memory.into(), length))
    }

    /// Reads what [`Table::write`] wrote.
    ///
    /// # Errors
    /// Those of pread(2); `InvalidData` where it is no table.
    pub fn read(memory: OwnedFd, bytes: u32) -> io::Result<Self> {
        let mut encoded = vec![0; bytes as usize];
        File::from(memory).read_exact_at(&mut encoded, 0)?;
        postcard::from_bytes(&encoded).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// One rule: its key and its legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowEntry {
    /// What it takes.
    pub key: FlowKey,
    /// Its slot among the counters.
    pub slot: u32,
    /// What it sends; legs that are pending are left out.
    pub legs: Vec<LegEntry>,
    /// The slots of those: what would leave by them is counted there.
    pub pending: Vec<u32>,
}

/// What a rule matches. The most specific of several that fit is taken: source before port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// Ingress interface.
    pub ifindex: u32,
    /// Destination address.
    pub address: IpAddr,
    /// Source address; absent: any.
    pub source: Option<IpAddr>,
    /// Destination port; absent: any.
    pub port: Option<u16>,
}

/// One leg, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegEntry {
    /// Its slot among the counters.
    pub slot: u32,
    /// Number of the socket it leaves by.
    pub socket: u32,
    /// Destination address.
    pub address: IpAddr,
    /// Destination port; absent: the packet's.
    pub port: Option<u16>,
    /// Egress interface; absent: the kernel routes.
    pub ifindex: Option<u32>,
    /// Source address.
    pub source: SourceChoice,
    /// The address its datagrams leave from, also where the kernel picks it; absent where that is the packet's.
    pub from: Option<IpAddr>,
    /// Source port, that of its socket; absent: the packet's. Its socket is a raw one then, and its source is not the
    /// kernel's to pick.
    pub sport: Option<u16>,
    /// TTL or hop limit; absent: the packet's less one.
    pub ttl: Option<u8>,
    /// DSCP; absent: the packet's.
    pub dscp: Option<u8>,
    /// Most datagrams in one burst; absent: as many as the kernel takes.
    pub batch: Option<u8>,
    /// MTU of the way out, bytes from the IP header on: longer datagrams are fragmented by the kernel.
    pub mtu: u32,
    /// How its datagrams leave as whole frames; absent: they do not.
    pub frames: Option<FramesEntry>,
}

/// Whole Ethernet frames to a group. The source address of such a leg is not the kernel's to pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramesEntry {
    /// Number of the packet socket they leave by, bound to the leg's interface.
    pub socket: u32,
    /// That interface's own hardware address.
    pub link: [u8; 6],
}

impl LegEntry {
    /// Numbers of the sockets it needs.
    pub fn sockets(&self) -> impl Iterator<Item = u32> {
        [Some(self.socket), self.frames.map(|frames| frames.socket)].into_iter().flatten()
    }

    /// Whether its datagrams keep the packet's source port, and leave by a raw socket.
    pub fn keeps_port(&self) -> bool {
        self.sport.is_none()
    }
}

/// The source address a leg sends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceChoice {
    /// The kernel picks it for the route.
    Kernel,
    /// The packet's.
    Keep,
    /// This one.
    Address(IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let leg = LegEntry {
            slot: 1,
            socket: 2,
            address: "ff3e::2".parse().unwrap(),
            port: None,
            ifindex: Some(3),
            source: SourceChoice::Address("2001:db8::1".parse().unwrap()),
            from: Some("2001:db8::1".parse().unwrap()),
            sport: None,
            ttl: None,
            dscp: Some(34),
            batch: Some(1),
            mtu: 1500,
            frames: Some(FramesEntry { socket: 5, link: [2, 0, 0, 0, 0, 1] }),
        };
        let key = FlowKey { ifindex: 4, address: "239.1.1.1".parse().unwrap(), source: None, port: Some(5) };
        let own = vec!["10.0.0.1:4000".parse().unwrap()];
        Table {
            generation: 7,
            flows: vec![FlowEntry { key, slot: 0, legs: vec![leg], pending: vec![6] }],
            own,
        }
    }

    #[test]
    fn a_table_arrives_as_it_was_written() {
        let (memory, bytes) = table().write().unwrap();
        assert_eq!(Table::read(memory, bytes).unwrap(), table());
    }

    #[test]
    fn a_table_cut_short_is_refused() {
        let (memory, bytes) = table().write().unwrap();
        assert!(Table::read(memory, bytes - 1).is_err());
    }
}
