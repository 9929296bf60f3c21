//! A socket filter that takes frames to some addresses on some interfaces.

use std::net::IpAddr;

use nix::libc;
use socket2::SockFilter;

const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL).cast_unsigned();
const INTERFACE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX).cast_unsigned();

/// Offset of the last 32 bits of the destination: they tell an IPv6 address well enough for a filter.
const DESTINATION4: u32 = libc::SKF_NET_OFF.cast_unsigned() + 16;
const DESTINATION6: u32 = libc::SKF_NET_OFF.cast_unsigned() + 36;

const TAKE: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);
const LEAVE: SockFilter = SockFilter::new(RETURN, 0, 0, 0);

/// Takes IP packets to `addresses`, and on `ifindexes` alone. The kernel has taken off the outermost VLAN tag; what has a
/// second one is taken whatever its address.
pub(super) fn frames_to(ifindexes: &[u32], addresses: &[IpAddr]) -> Vec<SockFilter> {
    let mut program = vec![SockFilter::new(LOAD_WORD, 0, 0, INTERFACE)];
    // A conditional jump reaches no farther than 255 instructions.
    for (left, ifindex) in (0..ifindexes.len()).rev().zip(ifindexes) {
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, *ifindex));
        program.push(SockFilter::new(JUMP, 0, 0, 2 * left as u32 + 1));
    }
    program.push(LEAVE);
    program.push(SockFilter::new(LOAD_HALF, 0, 0, PROTOCOL));
    for tag in [libc::ETH_P_8021Q, libc::ETH_P_8021AD] {
        program.extend([SockFilter::new(JUMP_IF_EQUAL, 0, 1, tag.cast_unsigned()), TAKE]);
    }
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some((address.to_bits() & u128::from(u32::MAX)) as u32),
        IpAddr::V4(_) => None,
    });
    program.extend(family(libc::ETH_P_IP, DESTINATION4, v4));
    program.extend(family(libc::ETH_P_IPV6, DESTINATION6, v6));
    program.push(LEAVE);
    program
}

/// One family's part: skipped where the protocol, which is loaded, is another; never left but by a verdict otherwise.
fn family(protocol: i32, at: u32, words: impl Iterator<Item = u32>) -> Vec<SockFilter> {
    let mut body = vec![SockFilter::new(LOAD_WORD, 0, 0, at)];
    body.extend(words.flat_map(|word| [SockFilter::new(JUMP_IF_EQUAL, 0, 1, word), TAKE]));
    body.push(LEAVE);
    let past = SockFilter::new(JUMP, 0, 0, body.len() as u32);
    let mut part = vec![SockFilter::new(JUMP_IF_EQUAL, 1, 0, protocol.cast_unsigned()), past];
    part.append(&mut body);
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::case::RULES_MAX;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn the_longest_fits_the_memory_of_older_kernels() {
        testbed::skip_unless_available!();
        let netns = testbed::Netns::new("mcr-bpf").unwrap();
        if netns.sysctl("net.core.optmem_max", "20480").is_err() {
            // Before 6.8 it is the whole system's and not to be touched; there it is as low by itself.
            assert!(std::fs::read_to_string("/proc/sys/net/core/optmem_max").is_ok());
        }
        let places = 0..RULES_MAX as u32;
        let ifindexes: Vec<u32> = places.clone().collect();
        // Of the kind that takes more: a word with its highest bit set.
        let addresses: Vec<IpAddr> = places.map(|n| IpAddr::from((0xef00_0000 + n).to_be_bytes())).collect();
        netns.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.attach_filter(&frames_to(&ifindexes, &addresses)).unwrap();
        });
    }
}
