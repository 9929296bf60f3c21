//! Frames as a test sees them, parsed by `etherparse`.
//!
//! Every IP packet whose protocol is UDP becomes a [`Seen`], malformed ones and fragments included, so that none
//! escapes an assertion; all else is an [`Other`]. Checksums are summed over the bytes as captured.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    Ethernet2HeaderSlice, Ipv6ExtensionSlice, Ipv6Header, LaxIpPayloadSlice, LaxIpSlice, LaxIpv4Slice,
    LaxIpv6Slice, SingleVlanHeaderSlice, UdpSlice, ether_type, ip_number,
};

use crate::Mac;
use crate::packet_socket::Frame;

/// An 802.1Q or 802.1ad tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Tag protocol identifier: 0x8100, or 0x88a8 for a service tag.
    pub tpid: u16,
    /// VLAN identifier; 0 is a priority tag.
    pub vid: u16,
    /// Priority code point.
    pub pcp: u8,
}

impl Vlan {
    pub(crate) fn from_tci(tpid: u16, tci: u16) -> Self {
        let [high, _] = tci.to_be_bytes();
        Self { tpid, vid: tci & 0x0fff, pcp: high >> 5 }
    }
}

/// Where a fragment lies in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in the IP payload, bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
}

/// What a UDP checksum turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Agrees with the bytes captured.
    Valid,
    /// Does not agree.
    Invalid,
    /// Zero: not computed by the sender. Legal in IPv4; in IPv6 only for tunnels (RFC 6935).
    Absent,
}

/// One UDP packet or fragment of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// Arrival at the probe by the kernel's clock, nanoseconds since 1970.
    pub at_ns: u64,
    /// Destination MAC; `None` on a link without Ethernet headers.
    pub dst_mac: Option<Mac>,
    /// Source MAC; `None` on a link without Ethernet headers.
    pub src_mac: Option<Mac>,
    /// VLAN tags, the outermost first.
    pub vlans: Vec<Vlan>,
    /// IP source.
    pub src: IpAddr,
    /// IP destination.
    pub dst: IpAddr,
    /// UDP source port; `None` in a fragment that is not the first.
    pub sport: Option<u16>,
    /// UDP destination port; `None` in a fragment that is not the first.
    pub dport: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Differentiated services code point, 0-63.
    pub dscp: u8,
    /// Explicit congestion notification, 0-3.
    pub ecn: u8,
    /// Identification; `None` in IPv6 without a fragment header.
    pub ip_id: Option<u32>,
    /// The IPv4 flag; true in IPv6, whose routers never fragment.
    pub dont_fragment: bool,
    /// Set when this is a fragment, the first included.
    pub fragment: Option<Fragment>,
    /// Bytes of IPv4 options, or of IPv6 extension headers other than the fragment header.
    pub options_len: usize,
    /// The UDP payload; in a fragment that part of it which the fragment holds.
    pub payload: Vec<u8>,
    /// Whether the IPv4 header checksum agrees; `None` in IPv6, which has none.
    pub ip_checksum_ok: Option<bool>,
    /// The UDP checksum; `None` in a fragment, where it cannot be told.
    pub udp_checksum: Option<Checksum>,
    /// The kernel says that the UDP checksum is left for a device to fill in.
    pub checksum_partial: bool,
    /// Bytes from the link header on, tags included, without preamble and FCS.
    pub frame_len: usize,
    /// Bytes behind the IP packet: Ethernet padding.
    pub padding_len: usize,
    /// Longer than the link's MTU and headers: segmentation offload left it whole.
    pub super_frame: bool,
    /// Length fields that contradict the frame.
    pub malformed: bool,
}

impl Seen {
    /// IP source and UDP source port.
    ///
    /// # Panics
    /// On a fragment that is not the first.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.src, self.sport.unwrap_or_else(|| panic!("no ports in {self:?}")))
    }

    /// IP destination and UDP destination port.
    ///
    /// # Panics
    /// On a fragment that is not the first.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.dst, self.dport.unwrap_or_else(|| panic!("no ports in {self:?}")))
    }

    /// Whether the IP header checksum agrees, where there is one, and the UDP checksum is present and agrees.
    #[must_use]
    pub fn checksums_valid(&self) -> bool {
        self.ip_checksum_ok != Some(false) && self.udp_checksum == Some(Checksum::Valid)
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = |port: Option<u16>| port.map_or_else(|| "?".to_owned(), |port| port.to_string());
        write!(f, "{}:{} > {}:{}", self.src, port(self.sport), self.dst, port(self.dport))?;
        write!(f, " ttl={} dscp={} ecn={} id={:?}", self.ttl, self.dscp, self.ecn, self.ip_id)?;
        write!(f, " mac={:?}>{:?} vlans={:?}", self.src_mac, self.dst_mac, self.vlans)?;
        write!(f, " fragment={:?} options={}", self.fragment, self.options_len)?;
        write!(f, " ip_checksum_ok={:?} udp_checksum={:?}", self.ip_checksum_ok, self.udp_checksum)?;
        write!(f, " partial={} frame={}", self.checksum_partial, self.frame_len)?;
        write!(f, " super={} malformed={}", self.super_frame, self.malformed)?;
        let shown = &self.payload[..self.payload.len().min(24)];
        write!(f, " at={} payload[{}]={}", self.at_ns, self.payload.len(), shown.escape_ascii())
    }
}

/// A frame that is not UDP: ARP, IGMP, ICMPv6 and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Arrival at the probe, nanoseconds since 1970.
    pub at_ns: u64,
    /// Destination MAC; `None` on a link without Ethernet headers.
    pub dst_mac: Option<Mac>,
    /// EtherType behind any tags.
    pub ether_type: u16,
    /// Source, destination and protocol number, where it is an IP packet.
    pub ip: Option<(IpAddr, IpAddr, u8)>,
    /// What follows the innermost header parsed: the IGMP or ICMPv6 message, the ARP packet.
    pub payload: Vec<u8>,
}

pub(crate) enum Parsed {
    Udp(Box<Seen>),
    Other(Other),
}

/// What the probe knows of its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkKind {
    pub(crate) ethernet: bool,
    /// Bytes.
    pub(crate) mtu: usize,
}

#[derive(Default)]
struct LinkHeader {
    macs: Option<(Mac, Mac)>,
    vlans: Vec<Vlan>,
    ether_type: u16,
}

pub(crate) fn parse(frame: &Frame, link: LinkKind) -> Parsed {
    let (header, rest) = link_header(frame, link);
    let other = |ip: Option<(IpAddr, IpAddr, u8)>, payload: &[u8]| {
        Parsed::Other(Other {
            at_ns: frame.at_ns,
            dst_mac: header.macs.map(|(to, _)| to),
            ether_type: header.ether_type,
            ip,
            payload: payload.to_vec(),
        })
    };
    let Some(ip) = ip_slice(header.ether_type, rest) else { return other(None, rest) };
    let payload = ip.payload();
    if payload.ip_number != ip_number::UDP {
        let ends = (ip.source_addr(), ip.destination_addr(), payload.ip_number.0);
        return other(Some(ends), payload.payload);
    }
    let mut seen = match &ip {
        LaxIpSlice::Ipv4(v4) => ipv4(v4),
        LaxIpSlice::Ipv6(v6) => ipv6(v6),
    };
    seen.read_udp(payload);
    seen.at_ns = frame.at_ns;
    seen.dst_mac = header.macs.map(|(to, _)| to);
    seen.src_mac = header.macs.map(|(_, from)| from);
    seen.checksum_partial = frame.partial;
    let stripped = if frame.vlan.is_some() { 4 } else { 0 };
    seen.frame_len = frame.bytes.len() + stripped;
    let ip_len = ip_length(&ip, rest.len());
    seen.padding_len = rest.len() - ip_len;
    seen.super_frame = ip_len > link.mtu;
    seen.vlans = header.vlans;
    Parsed::Udp(Box::new(seen))
}

/// Bytes of the IP packet by its own header, at most what was captured.
fn ip_length(ip: &LaxIpSlice<'_>, captured: usize) -> usize {
    let stated = match ip {
        LaxIpSlice::Ipv4(v4) => usize::from(v4.header().total_len()),
        LaxIpSlice::Ipv6(v6) => Ipv6Header::LEN + usize::from(v6.header().payload_length()),
    };
    stated.min(captured)
}

fn link_header(frame: &Frame, link: LinkKind) -> (LinkHeader, &[u8]) {
    let bytes = frame.bytes.as_slice();
    if !link.ethernet {
        let version = bytes.first().map_or(0, |first| first >> 4);
        let ether_type = if version == 6 { ether_type::IPV6 } else { ether_type::IPV4 };
        return (LinkHeader { ether_type: ether_type.0, ..LinkHeader::default() }, bytes);
    }
    let Ok(ethernet) = Ethernet2HeaderSlice::from_slice(bytes) else {
        return (LinkHeader::default(), bytes);
    };
    let mut header = LinkHeader {
        macs: Some((Mac(ethernet.destination()), Mac(ethernet.source()))),
        vlans: frame.vlan.into_iter().collect(),
        ether_type: ethernet.ether_type().0,
    };
    let mut rest = bytes.get(ethernet.slice().len()..).unwrap_or_default();
    while [0x8100, 0x88a8, 0x9100].contains(&header.ether_type) {
        let Ok(tag) = SingleVlanHeaderSlice::from_slice(rest) else { break };
        let (vid, pcp) = (tag.vlan_identifier().value(), tag.priority_code_point().value());
        header.vlans.push(Vlan { tpid: header.ether_type, vid, pcp });
        header.ether_type = tag.ether_type().0;
        rest = rest.get(tag.slice().len()..).unwrap_or_default();
    }
    (header, rest)
}

fn ip_slice(ether_type: u16, bytes: &[u8]) -> Option<LaxIpSlice<'_>> {
    if ether_type == ether_type::IPV4.0 {
        Some(LaxIpSlice::Ipv4(LaxIpv4Slice::from_slice(bytes).ok()?.0))
    } else if ether_type == ether_type::IPV6.0 {
        Some(LaxIpSlice::Ipv6(LaxIpv6Slice::from_slice(bytes).ok()?.0))
    } else {
        None
    }
}

fn ipv4(slice: &LaxIpv4Slice<'_>) -> Seen {
    let header = slice.header();
    let offset = usize::from(header.fragments_offset().byte_offset());
    let fragment = Fragment { offset, more: header.more_fragments() };
    let sum = Sum16BitWords::new().add_slice(header.slice()).ones_complement();
    Seen {
        ttl: header.ttl(),
        dscp: header.dcp().value(),
        ecn: header.ecn().value(),
        ip_id: Some(u32::from(header.identification())),
        dont_fragment: header.dont_fragment(),
        fragment: (offset != 0 || fragment.more).then_some(fragment),
        options_len: header.options().len(),
        ip_checksum_ok: Some(sum == 0),
        ..blank(header.source_addr().into(), header.destination_addr().into())
    }
}

fn ipv6(slice: &LaxIpv6Slice<'_>) -> Seen {
    let header = slice.header();
    let mut seen = Seen {
        ttl: header.hop_limit(),
        dscp: header.dscp().value(),
        ecn: header.ecn().value(),
        dont_fragment: true,
        options_len: slice.extensions().slice().len(),
        ..blank(header.source_addr().into(), header.destination_addr().into())
    };
    for extension in slice.extensions().clone() {
        if let Ipv6ExtensionSlice::Fragment(fragment) = extension {
            let offset = usize::from(fragment.fragment_offset().byte_offset());
            seen.fragment = Some(Fragment { offset, more: fragment.more_fragments() });
            seen.ip_id = Some(fragment.identification());
            seen.options_len -= fragment.slice().len();
        }
    }
    seen
}

fn blank(src: IpAddr, dst: IpAddr) -> Seen {
    Seen {
        at_ns: 0,
        dst_mac: None,
        src_mac: None,
        vlans: Vec::new(),
        src,
        dst,
        sport: None,
        dport: None,
        ttl: 0,
        dscp: 0,
        ecn: 0,
        ip_id: None,
        dont_fragment: false,
        fragment: None,
        options_len: 0,
        payload: Vec::new(),
        ip_checksum_ok: None,
        udp_checksum: None,
        checksum_partial: false,
        frame_len: 0,
        padding_len: 0,
        super_frame: false,
        malformed: false,
    }
}

impl Seen {
    fn read_udp(&mut self, ip: &LaxIpPayloadSlice<'_>) {
        self.malformed = ip.incomplete;
        if self.fragment.is_some_and(|fragment| fragment.offset != 0) {
            self.payload = ip.payload.to_vec();
            return;
        }
        let Ok(udp) = UdpSlice::from_slice_lax(ip.payload) else {
            self.malformed = true;
            self.payload = ip.payload.to_vec();
            return;
        };
        self.sport = Some(udp.source_port());
        self.dport = Some(udp.destination_port());
        self.payload = udp.payload().to_vec();
        // The kernel sends no UDP datagram shorter than its IP payload; a relay must not either.
        let lengths_agree = usize::from(udp.length()) == ip.payload.len();
        if self.fragment.is_none() {
            self.malformed |= !lengths_agree;
            self.udp_checksum = Some(self.verify(udp.slice(), udp.length(), udp.checksum()));
        }
    }

    /// Sums the pseudo-header (RFC 768, RFC 8200 §8.1) and the UDP bytes; with the checksum itself included
    /// the complement of a right sum is zero.
    fn verify(&self, udp: &[u8], length: u16, checksum: u16) -> Checksum {
        if checksum == 0 {
            return Checksum::Absent;
        }
        let mut sum = Sum16BitWords::new();
        for address in [self.src, self.dst] {
            sum = match address {
                IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                IpAddr::V6(address) => sum.add_16bytes(address.octets()),
            };
        }
        let sum = sum.add_2bytes([0, ip_number::UDP.0]).add_2bytes(length.to_be_bytes()).add_slice(udp);
        if sum.ones_complement() == 0 { Checksum::Valid } else { Checksum::Invalid }
    }
}
