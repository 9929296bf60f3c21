//! One UDP packet of any shape: from any address, MAC or VLAN, with any TTL, DSCP or options, whole or in
//! fragments, written down by `etherparse`.

use std::net::SocketAddr;
use std::ops::Range;

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header,
    SingleVlanHeader, VlanId, VlanPcp, ether_type, ip_number,
};

use crate::Mac;
use crate::seen::Vlan;

/// Which UDP checksum to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChecksumChoice {
    Right,
    Absent,
    Wrong,
}

/// One UDP packet to be injected. TTL 16, no DSCP, no VLAN and a right checksum unless said otherwise.
#[derive(Clone, Debug)]
pub struct Datagram {
    src: SocketAddr,
    dst: SocketAddr,
    payload: Vec<u8>,
    ttl: u8,
    dscp: u8,
    ecn: u8,
    id: u16,
    dont_fragment: bool,
    vlans: Vec<Vlan>,
    src_mac: Option<Mac>,
    dst_mac: Option<Mac>,
    ip_options: Vec<u8>,
    extensions: Vec<(IpNumber, Vec<u8>)>,
    checksum: ChecksumChoice,
    padding: usize,
}

impl Datagram {
    /// A packet with an empty payload.
    ///
    /// # Panics
    /// When the two addresses are of different families.
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "{src} and {dst} are of different families");
        Self {
            src,
            dst,
            payload: Vec::new(),
            ttl: 16,
            dscp: 0,
            ecn: 0,
            id: 0,
            dont_fragment: false,
            vlans: Vec::new(),
            src_mac: None,
            dst_mac: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            checksum: ChecksumChoice::Right,
            padding: 0,
        }
    }

    /// The same from text such as `10.1.1.1:5000` and `[ff3e::2]:6000`.
    ///
    /// # Panics
    /// When either is no address with a port.
    #[must_use]
    pub fn between(src: &str, dst: &str) -> Self {
        let parse = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        Self::new(parse(src), parse(dst))
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.dst.is_ipv4()
    }

    /// Sets the UDP payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Sets the TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the DSCP, 0-63.
    #[must_use]
    pub fn dscp(mut self, dscp: u8) -> Self {
        self.dscp = dscp;
        self
    }

    /// Sets the ECN field, 0-3.
    #[must_use]
    pub fn ecn(mut self, ecn: u8) -> Self {
        self.ecn = ecn;
        self
    }

    /// Sets the identification, in IPv6 that of fragments.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Sets the IPv4 flag.
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Adds an 802.1Q tag behind those added before; VID 0 is a priority tag.
    #[must_use]
    pub fn vlan(self, vid: u16, pcp: u8) -> Self {
        self.tag(Vlan { tpid: 0x8100, vid, pcp })
    }

    /// Adds any tag behind those added before.
    #[must_use]
    pub fn tag(mut self, vlan: Vlan) -> Self {
        self.vlans.push(vlan);
        self
    }

    /// Sets the source MAC instead of the interface's own.
    #[must_use]
    pub fn from_mac(mut self, mac: Mac) -> Self {
        self.src_mac = Some(mac);
        self
    }

    /// Sets the destination MAC; unicast needs it, for a group the mapped one is the default.
    #[must_use]
    pub fn to_mac(mut self, mac: Mac) -> Self {
        self.dst_mac = Some(mac);
        self
    }

    /// Sets the IPv4 options, as on the wire: a multiple of 4 bytes, at most 40.
    #[must_use]
    pub fn ip_options(mut self, options: impl Into<Vec<u8>>) -> Self {
        self.ip_options = options.into();
        self
    }

    /// Adds an IPv6 hop-by-hop header (RFC 8200 §4.3) of `blocks` times 8 bytes of padding options.
    #[must_use]
    pub fn hop_by_hop(self, blocks: u8) -> Self {
        self.padding_extension(ip_number::IPV6_HEADER_HOP_BY_HOP, blocks)
    }

    /// Adds an IPv6 destination options header (RFC 8200 §4.6) of `blocks` times 8 bytes of padding options.
    #[must_use]
    pub fn destination_options(self, blocks: u8) -> Self {
        self.padding_extension(ip_number::IPV6_DESTINATION_OPTIONS, blocks)
    }

    fn padding_extension(mut self, kind: IpNumber, blocks: u8) -> Self {
        assert!((1..=31).contains(&blocks), "{blocks} blocks do not fit one PadN option");
        // Next header and length go in front; one PadN option fills the rest.
        let fill = usize::from(blocks) * 8 - 4;
        let mut body = vec![0, blocks - 1, 1, u8::try_from(fill).unwrap_or(u8::MAX)];
        body.resize(4 + fill, 0);
        self.extensions.push((kind, body));
        self
    }

    /// Writes zero for the UDP checksum: "not computed".
    #[must_use]
    pub fn without_checksum(mut self) -> Self {
        self.checksum = ChecksumChoice::Absent;
        self
    }

    /// Writes a UDP checksum that does not agree.
    #[must_use]
    pub fn with_wrong_checksum(mut self) -> Self {
        self.checksum = ChecksumChoice::Wrong;
        self
    }

    /// Appends zero bytes behind the IP packet, as Ethernet hardware does to short frames.
    #[must_use]
    pub fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The whole frame; `own` is the source MAC unless one was set.
    ///
    /// # Panics
    /// When a field does not fit its header, or a unicast destination has no MAC.
    #[must_use]
    pub fn frame(&self, own: Mac) -> Vec<u8> {
        self.framed(own, &self.ip_packet())
    }

    /// Frames of the datagram cut into fragments of at most `size` bytes of IP payload.
    ///
    /// # Panics
    /// As [`Self::frame`]; and when `size` is no positive multiple of 8.
    #[must_use]
    pub fn fragments(&self, own: Mac, size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments of {size} bytes: a multiple of 8 is needed");
        let whole = self.udp().len();
        let end = |start: usize| whole.min(start + size);
        (0..whole).step_by(size).map(|start| self.piece(own, start..end(start), end(start) < whole)).collect()
    }

    /// The frame of one fragment with any part of the datagram's IP payload, its UDP header included, `more` or
    /// not.
    ///
    /// # Panics
    /// As [`Self::frame`]; and when the part begins at no multiple of 8, or ends beyond the payload.
    #[must_use]
    pub fn piece(&self, own: Mac, part: Range<usize>, more: bool) -> Vec<u8> {
        assert!(part.start.is_multiple_of(8), "a fragment at {}: a multiple of 8 is needed", part.start);
        let place = Place { offset: part.start, more };
        self.framed(own, &self.ip(&self.udp()[part], Some(place)))
    }

    /// The IP packet without a link header, as a tun device takes it.
    ///
    /// # Panics
    /// When a field does not fit its header.
    #[must_use]
    pub fn ip_packet(&self) -> Vec<u8> {
        self.ip(&self.udp(), None)
    }

    fn framed(&self, own: Mac, packet: &[u8]) -> Vec<u8> {
        let to = self.dst_mac.or_else(|| Mac::of_group(self.dst.ip()));
        let to = to.unwrap_or_else(|| panic!("unicast to {} needs to_mac()", self.dst));
        let inner = if self.dst.is_ipv4() { ether_type::IPV4 } else { ether_type::IPV6 };
        // Each header names what follows it.
        let mut types: Vec<EtherType> = self.vlans.iter().map(|tag| EtherType(tag.tpid)).collect();
        types.push(inner);
        let source = self.src_mac.unwrap_or(own).0;
        let ethernet = Ethernet2Header { source, destination: to.0, ether_type: types[0] };
        let mut frame = ethernet.to_bytes().to_vec();
        for (tag, following) in self.vlans.iter().zip(&types[1..]) {
            let header = SingleVlanHeader {
                pcp: VlanPcp::try_new(tag.pcp).expect("a priority of 3 bits"),
                drop_eligible_indicator: false,
                vlan_id: VlanId::try_new(tag.vid).expect("a VID of 12 bits"),
                ether_type: *following,
            };
            frame.extend_from_slice(&header.to_bytes());
        }
        frame.extend_from_slice(packet);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let (from, to) = (self.src.port(), self.dst.port());
        let header = match (self.src, self.dst) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                let ip = Ipv4Header {
                    source: src.ip().octets(),
                    destination: dst.ip().octets(),
                    ..Ipv4Header::default()
                };
                etherparse::UdpHeader::with_ipv4_checksum(from, to, &ip, &self.payload)
            }
            (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
                let ip = Ipv6Header {
                    source: src.ip().octets(),
                    destination: dst.ip().octets(),
                    ..Ipv6Header::default()
                };
                etherparse::UdpHeader::with_ipv6_checksum(from, to, &ip, &self.payload)
            }
            _ => unreachable!("one family, as new() made sure"),
        };
        let mut header = header.expect("a payload of less than 64 KiB");
        header.checksum = match self.checksum {
            ChecksumChoice::Right => header.checksum,
            ChecksumChoice::Absent => 0,
            // Neither zero nor an equivalent of the right one.
            ChecksumChoice::Wrong if header.checksum == 0x5555 => 0xaaaa,
            ChecksumChoice::Wrong => 0x5555,
        };
        [header.to_bytes().as_slice(), &self.payload].concat()
    }

    fn ip(&self, body: &[u8], place: Option<Place>) -> Vec<u8> {
        match (self.src, self.dst) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                self.ipv4(src.ip().octets(), dst.ip().octets(), body, place)
            }
            (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
                self.ipv6(src.ip().octets(), dst.ip().octets(), body, place)
            }
            _ => unreachable!("one family, as new() made sure"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4], body: &[u8], place: Option<Place>) -> Vec<u8> {
        assert!(self.extensions.is_empty(), "extension headers are IPv6's");
        let options = Ipv4Options::try_from(self.ip_options.as_slice());
        let mut header = Ipv4Header {
            dscp: self.dscp.try_into().expect("a DSCP of 6 bits"),
            ecn: self.ecn.try_into().expect("an ECN of 2 bits"),
            identification: self.id,
            dont_fragment: self.dont_fragment,
            more_fragments: place.is_some_and(|place| place.more),
            fragment_offset: Place::offset_field(place),
            time_to_live: self.ttl,
            protocol: ip_number::UDP,
            source,
            destination,
            options: options.expect("options of a multiple of 4 bytes, at most 40"),
            ..Ipv4Header::default()
        };
        header.set_payload_len(body.len()).expect("a packet of at most 64 KiB");
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().as_slice(), body].concat()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16], body: &[u8], place: Option<Place>) -> Vec<u8> {
        assert!(self.ip_options.is_empty(), "IP options are IPv4's");
        let mut chain = self.extensions.clone();
        if let Some(place) = place {
            chain.push((ip_number::IPV6_FRAGMENTATION_HEADER, place.ipv6_header(self.id)));
        }
        let mut next = ip_number::UDP;
        for (kind, bytes) in chain.iter_mut().rev() {
            bytes[0] = next.0;
            next = *kind;
        }
        let rest = [chain.into_iter().flat_map(|(_, bytes)| bytes).collect(), body.to_vec()].concat();
        let mut header = Ipv6Header {
            next_header: next,
            hop_limit: self.ttl,
            source,
            destination,
            ..Ipv6Header::default()
        };
        header.set_dscp(self.dscp.try_into().expect("a DSCP of 6 bits"));
        header.set_ecn(self.ecn.try_into().expect("an ECN of 2 bits"));
        header.set_payload_length(rest.len()).expect("a packet of at most 64 KiB");
        [header.to_bytes().as_slice(), &rest].concat()
    }
}

/// Where a fragment's bytes lie in the IP payload.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    more: bool,
}

impl Place {
    fn offset_field(place: Option<Self>) -> IpFragOffset {
        let units = place.map_or(0, |place| place.offset / 8);
        let units = u16::try_from(units).expect("an offset within 64 KiB");
        IpFragOffset::try_new(units).expect("an offset within 64 KiB")
    }

    fn ipv6_header(self, id: u16) -> Vec<u8> {
        let header = etherparse::Ipv6FragmentHeader {
            next_header: ip_number::UDP,
            fragment_offset: Self::offset_field(Some(self)),
            more_fragments: self.more,
            identification: u32::from(id),
        };
        header.to_bytes().to_vec()
    }
}
