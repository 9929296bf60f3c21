//! Links and what may be set on them; veth pairs between namespaces and macvlan on top of a link.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use crate::interface::{index, link_address, link_field, mtu};
use crate::{Mac, Netns};

/// One interface in one namespace.
#[derive(Clone, Debug)]
pub struct Link {
    netns: Netns,
    name: String,
}

impl Link {
    /// An interface that exists already.
    #[must_use]
    pub fn existing(netns: &Netns, name: &str) -> Self {
        Self { netns: netns.clone(), name: name.to_owned() }
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds `address` with a prefix length; an IPv6 address is usable at once (`nodad`).
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn add_address(&self, address: IpAddr, prefix_len: u8) -> Result<()> {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        self.netns.ip(&format!("address add {address}/{prefix_len} dev {}{nodad}", self.name)).map(drop)
    }

    /// Removes an address added before.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn remove_address(&self, address: IpAddr, prefix_len: u8) -> Result<()> {
        self.netns.ip(&format!("address del {address}/{prefix_len} dev {}", self.name)).map(drop)
    }

    /// Brings it up.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn up(&self) -> Result<()> {
        self.set("up")
    }

    /// Brings it down.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn down(&self) -> Result<()> {
        self.set("down")
    }

    /// Sets the MTU in bytes.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn set_mtu(&self, bytes: usize) -> Result<()> {
        self.set(&format!("mtu {bytes}"))
    }

    /// Sets any attribute `ip link set` knows, such as `master br0` or `txqueuelen 10`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn set(&self, attributes: &str) -> Result<()> {
        self.netns.ip(&format!("link set dev {} {attributes}", self.name)).map(drop)
    }

    /// Removes the interface, and a veth's other end with it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn delete(&self) -> Result<()> {
        self.netns.ip(&format!("link del dev {}", self.name)).map(drop)
    }

    /// Switches an offload by its `ethtool -K` name. `tx` off makes the kernel fill in transport checksums;
    /// `tx-udp-segmentation` off makes it cut UDP super-frames before they leave.
    ///
    /// # Errors
    /// When `ethtool` refuses.
    pub fn offload(&self, feature: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        self.netns.tool(&format!("ethtool -K {} {feature} {state}", self.name)).map(drop)
    }

    /// Lets every UDP frame leave as the wire would carry it, never as a super-frame; its checksum is still the device's.
    ///
    /// # Errors
    /// When `ethtool` refuses.
    pub fn wire_size(&self) -> Result<()> {
        self.offload("tx", true)?;
        self.offload("tx-udp-segmentation", false)
    }

    /// Routes all IPv4 multicast of senders and receivers that name no interface this way.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn route_multicast(&self) -> Result<()> {
        self.netns.ip(&format!("route replace 224.0.0.0/4 dev {}", self.name)).map(drop)
    }

    /// A counter of `ip -s link`, such as `rx`, `packets`.
    ///
    /// # Errors
    /// When the interface or the counter does not exist.
    pub fn counter(&self, direction: &str, what: &str) -> Result<u64> {
        let text = self.netns.ip(&format!("-j -s link show dev {}", self.name))?;
        let parsed: serde_json::Value = serde_json::from_str(&text).context("JSON of ip link")?;
        let value = &parsed[0]["stats64"][direction][what];
        value.as_u64().with_context(|| format!("no counter {direction} {what} on {}", self.name))
    }

    /// Puts a macvlan on top of it, in any namespace, and brings it up; `mode` is `bridge`, `private`, `vepa`
    /// or `passthru`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn macvlan(&self, netns: &Netns, name: &str, mode: &str) -> Result<Self> {
        let (parent, place) = (&self.name, netns.name());
        self.netns
            .ip(&format!("link add link {parent} name {name} netns {place} type macvlan mode {mode}"))?;
        let link = Self::existing(netns, name);
        link.up()?;
        Ok(link)
    }

    /// Its MAC address.
    ///
    /// # Errors
    /// When the interface does not exist or has none.
    pub fn mac(&self) -> Result<Mac> {
        let address = link_address(&self.netns, &self.name)?;
        address
            .and_then(|address| address.addr())
            .map(Mac)
            .with_context(|| format!("{} has no MAC", self.name))
    }

    /// Its index in its namespace.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn index(&self) -> Result<u32> {
        index(&self.netns, &self.name)
    }

    /// Its MTU in bytes.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn mtu(&self) -> Result<usize> {
        mtu(&self.netns, &self.name)
    }

    /// Whether it is up and its other end is too.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn carrier(&self) -> Result<bool> {
        let flags = link_field(&self.netns, &self.name, "flags")?;
        Ok(flags.as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "LOWER_UP")))
    }
}

/// A cable between two namespaces.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The end named first.
    pub a: Link,
    /// The end named second.
    pub b: Link,
}

impl Veth {
    /// Makes a pair, both ends up. The namespaces may be the same.
    ///
    /// # Errors
    /// When `ip` refuses, for instance a name of more than 15 bytes.
    pub fn pair(a: (&Netns, &str), b: (&Netns, &str)) -> Result<Self> {
        let ((near, near_name), (far, far_name)) = (a, b);
        let far_netns = far.name();
        near.ip(&format!("link add {near_name} type veth peer name {far_name} netns {far_netns}"))?;
        let pair = Self { a: Link::existing(near, near_name), b: Link::existing(far, far_name) };
        pair.a.up()?;
        pair.b.up()?;
        Ok(pair)
    }
}
