//! What packets on the wire behind the relay must look like, in every field.

use std::net::{IpAddr, SocketAddr};

use testbed::{Mac, Port, Seen};

/// The headers and payloads a receiver's probe must see. TTL 64, no DSCP or ECN unless said otherwise.
pub(crate) struct Expected<'a> {
    egress: &'a Port,
    source: IpAddr,
    sport: Option<u16>,
    destination: SocketAddr,
    mac: Mac,
    ttl: u8,
    dscp: u8,
    ecn: u8,
}

impl<'a> Expected<'a> {
    /// What leaves by `egress` for `destination`, the address of `receiver` or a group, from the egress
    /// interface's own address.
    pub(crate) fn new(egress: &'a Port, receiver: &Port, destination: &str) -> Self {
        let destination: SocketAddr = destination.parse().unwrap();
        let mac = Mac::of_group(destination.ip()).unwrap_or_else(|| receiver.link.mac().unwrap());
        let source = if destination.is_ipv4() { egress.v4.into() } else { egress.v6.into() };
        Self { egress, source, sport: None, destination, mac, ttl: 64, dscp: 0, ecn: 0 }
    }

    /// Another source address.
    pub(crate) fn source(mut self, source: &str) -> Self {
        self.source = source.parse().unwrap();
        self
    }

    /// A certain source port.
    pub(crate) fn sport(mut self, sport: u16) -> Self {
        self.sport = Some(sport);
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn dscp(mut self, dscp: u8) -> Self {
        self.dscp = dscp;
        self
    }

    pub(crate) fn ecn(mut self, ecn: u8) -> Self {
        self.ecn = ecn;
        self
    }

    /// Takes the packets for the destination out of `seen` and proves them: the payloads in order, none twice,
    /// none missing, headers right. Hands back their one source port.
    pub(crate) fn assert(&self, seen: &mut Vec<Seen>, payloads: &[Vec<u8>]) -> u16 {
        let found: Vec<Seen> = seen
            .extract_if(.., |seen| {
                seen.dst == self.destination.ip() && seen.dport == Some(self.destination.port())
            })
            .collect();
        let lengths = |all: &mut dyn Iterator<Item = &Vec<u8>>| all.map(Vec::len).collect::<Vec<_>>();
        assert!(
            found.iter().map(|seen| &seen.payload).eq(payloads),
            "to {}: payloads of {:?} bytes instead of {:?}, or others, or in another order: {found:#?}",
            self.destination,
            lengths(&mut found.iter().map(|seen| &seen.payload)),
            lengths(&mut payloads.iter()),
        );
        let sport = self.sport.or_else(|| found.first()?.sport).unwrap();
        found.iter().for_each(|seen| self.assert_headers(seen, sport));
        sport
    }

    fn assert_headers(&self, seen: &Seen, sport: u16) {
        assert_eq!(seen.source(), SocketAddr::new(self.source, sport), "{seen:?}");
        assert_eq!(seen.destination(), self.destination, "{seen:?}");
        assert_eq!((seen.ttl, seen.dscp, seen.ecn), (self.ttl, self.dscp, self.ecn), "{seen:?}");
        assert_eq!(seen.dst_mac, Some(self.mac), "{seen:?}");
        assert_eq!(seen.src_mac, Some(self.egress.link.mac().unwrap()), "{seen:?}");
        assert!(seen.checksums_valid() && !seen.checksum_partial, "{seen:?}");
        assert!(!seen.malformed && !seen.super_frame, "{seen:?}");
        assert_eq!((seen.fragment, seen.options_len, seen.vlans.len()), (None, 0, 0), "{seen:?}");
    }
}

/// `count` payloads of `size` bytes, each different.
pub(crate) fn payloads(count: usize, size: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| payload(number, size)).collect()
}

/// The number of the packet that [`payload`] made this of.
pub(crate) fn number(payload: &[u8]) -> usize {
    u32::from_be_bytes(*payload.first_chunk().unwrap()).try_into().unwrap()
}

/// The payload of packet `number`: its number, then bytes that depend on it and on their place.
pub(crate) fn payload(number: usize, size: usize) -> Vec<u8> {
    let head = u32::try_from(number).unwrap().to_be_bytes();
    let body = (0..size).map(|at| (at * 7 + number * 13 + at / 251) as u8);
    head.into_iter().chain(body).take(size).collect()
}
