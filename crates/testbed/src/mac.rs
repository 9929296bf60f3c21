//! Ethernet addresses, and the ones that multicast groups map to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 48-bit Ethernet address in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address frames to `group` carry: RFC 1112 §6.4 for IPv4, RFC 2464 §7 for IPv6. `None` for a
    /// unicast address, whose MAC only its link knows.
    #[must_use]
    pub fn of_group(group: IpAddr) -> Option<Self> {
        match group {
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Self::BROADCAST),
            IpAddr::V4(address) if address.is_multicast() => {
                let [_, b, c, d] = address.octets();
                Some(Self([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V6(address) if address.is_multicast() => Some(Self::of_group_v6(address)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    fn of_group_v6(group: Ipv6Addr) -> Self {
        let octets = group.octets();
        Self([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_groups_keep_their_low_23_bits() {
        for (group, mac) in [
            ("239.1.1.1", "01:00:5e:01:01:01"),
            ("239.129.1.1", "01:00:5e:01:01:01"),
            ("224.255.255.255", "01:00:5e:7f:ff:ff"),
        ] {
            assert_eq!(Mac::of_group(group.parse().unwrap()).unwrap().to_string(), mac);
        }
    }

    #[test]
    fn ipv6_groups_keep_their_low_32_bits() {
        let mac = Mac::of_group("ff3e::1:8000:2".parse().unwrap()).unwrap();
        assert_eq!(mac.to_string(), "33:33:80:00:00:02");
    }

    #[test]
    fn unicast_has_no_group_address() {
        assert_eq!(Mac::of_group("10.0.0.1".parse().unwrap()), None);
        assert_eq!(Mac::of_group("fd00::1".parse().unwrap()), None);
    }
}
