//! `struct virtio_net_hdr` (linux/virtio_net.h), which stands before each frame of a packet socket with `PACKET_VNET_HDR`
//! (packet(7)): what of a frame is left to the kernel or the device. In the host's byte order: flags, gso_type, hdr_len,
//! gso_size, csum_start, csum_offset.

use std::num::NonZeroU16;

use mcast::wire::udp;

/// Its length in bytes.
pub const LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the pseudo-header's sum only.
const NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_UDP`: one datagram, to be fragmented.
const GSO_UDP_FRAGMENTED: u8 = 3;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: UDP datagrams of `gso_size` bytes of payload.
const GSO_UDP_SEGMENTS: u8 = 5;

/// Where the checksum stands in the UDP header.
const UDP_CHECKSUM_OFFSET: u16 = 6;

/// That of UDP datagrams, one or many of `segment` bytes of payload each, whose checksums are to be filled in: the headers
/// before the payload, from the link's on, have so many bytes.
pub fn of_udp(headers: usize, segment: Option<u16>) -> [u8; LEN] {
    let checksum_start = headers.saturating_sub(udp::HEADER_LEN);
    let (kind, linear) = if segment.is_some() { (GSO_UDP_SEGMENTS, headers) } else { (GSO_NONE, 0) };
    let words = [linear as u16, segment.unwrap_or_default(), checksum_start as u16, UDP_CHECKSUM_OFFSET];
    let mut header = [NEEDS_CSUM, kind, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, word) in header[2..].chunks_exact_mut(2).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    header
}

/// Names so many bytes to be copied at once, link header included, instead of being referred to (`hdr_len`).
pub fn set_copied(header: &mut [u8], bytes: u16) {
    header[2..4].copy_from_slice(&bytes.to_ne_bytes());
}

/// Payload bytes of each datagram, where it stands before several.
pub fn segment(header: &[u8]) -> Option<NonZeroU16> {
    let size = || NonZeroU16::new(u16::from_ne_bytes([header[4], header[5]]));
    if header[1] == GSO_UDP_SEGMENTS { size() } else { None }
}

/// Whether it can stand before a UDP packet: it names no segmentation, or one of UDP.
pub fn is_udp_or_plain(header: &[u8]) -> bool {
    matches!(header[1], GSO_NONE | GSO_UDP_FRAGMENTED | GSO_UDP_SEGMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_kernels_structure() {
        let words =
            |header: [u8; LEN]| [2, 4, 6, 8].map(|at| u16::from_ne_bytes([header[at], header[at + 1]]));
        let (one, many) = (of_udp(42, None), of_udp(62, Some(1400)));
        assert_eq!((&one[..2], words(one)), (&[1, 0][..], [0, 0, 34, 6]));
        assert_eq!((&many[..2], words(many)), (&[1, 5][..], [62, 1400, 54, 6]));
        assert_eq!((segment(&one), segment(&many).map(NonZeroU16::get)), (None, Some(1400)));
        let mut copied = one;
        set_copied(&mut copied, 1442);
        assert_eq!(words(copied), [1442, 0, 34, 6]);
    }
}
