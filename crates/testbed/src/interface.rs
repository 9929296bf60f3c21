//! What the kernel knows of an interface, asked inside its namespace.

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, LinkAddr, SockaddrLike as _};

use crate::Netns;

/// The link-layer address of `name`: interface index, hardware type and MAC. `None` when the link has no MAC.
pub(crate) fn link_address(netns: &Netns, name: &str) -> Result<Option<LinkAddr>> {
    netns.enter(|| {
        let mut all = nix::ifaddrs::getifaddrs()?;
        Ok(all.find_map(|entry| {
            let address = entry.address.filter(|a| a.family() == Some(AddressFamily::Packet))?;
            (entry.interface_name == name).then(|| address.as_link_addr().copied())?
        }))
    })
}

/// The interface index.
pub(crate) fn index(netns: &Netns, name: &str) -> Result<u32> {
    let found = netns.enter(|| nix::net::if_::if_nametoindex(name));
    found.with_context(|| format!("interface {name} in {}", netns.name()))
}

/// One field of `ip -j -d link show`.
pub(crate) fn link_field(netns: &Netns, name: &str, field: &str) -> Result<serde_json::Value> {
    let text = netns.ip(&format!("-j -d link show dev {name}"))?;
    let parsed: serde_json::Value = serde_json::from_str(&text).context("JSON of ip link")?;
    let value = parsed.get(0).and_then(|link| link.get(field));
    value.cloned().with_context(|| format!("ip link has no field {field} for {name}"))
}

/// The MTU in bytes.
pub(crate) fn mtu(netns: &Netns, name: &str) -> Result<usize> {
    let value = link_field(netns, name, "mtu")?;
    let mtu = value.as_u64().context("an MTU that is a number")?;
    usize::try_from(mtu).context("an MTU that fits")
}
