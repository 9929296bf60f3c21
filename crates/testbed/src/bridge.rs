//! A Linux bridge as the switch between namespaces, with IGMP and MLD snooping where a test wants it.

use anyhow::{Context as _, Result};

use crate::{Link, Netns, Veth};

/// A bridge in a namespace of its choice. Snooping is off until switched on: it floods multicast.
#[derive(Clone, Debug)]
pub struct Bridge {
    link: Link,
}

impl Bridge {
    /// Makes a bridge that forwards at once, and brings it up.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn new(netns: &Netns, name: &str) -> Result<Self> {
        netns.ip(&format!("link add {name} type bridge mcast_snooping 0 stp_state 0 forward_delay 0"))?;
        let link = Link::existing(netns, name);
        link.up()?;
        Ok(Self { link })
    }

    /// The bridge as an interface of its own host.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Makes a link a port of the bridge.
    ///
    /// # Errors
    /// When `ip` refuses, for instance a link of another namespace.
    pub fn attach(&self, link: &Link) -> Result<()> {
        link.set(&format!("master {}", self.link.name()))
    }

    /// Runs a cable from a new port of the bridge, named `port`, to another namespace; hands back the far end.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn connect(&self, port: &str, far: (&Netns, &str)) -> Result<Link> {
        let veth = Veth::pair((self.link.netns(), port), far)?;
        self.attach(&veth.a)?;
        Ok(veth.b)
    }

    /// Switches snooping; with it the bridge also sends queries (IGMPv3, MLDv2), without which it would flood
    /// all the same.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn snooping(&self, on: bool) -> Result<()> {
        let on = u8::from(on);
        // Version 2 queries, the default, would make hosts forget sources; and for the response time, 10 s by
        // default and 1 s here, reports may be missing and a new querier floods.
        self.link
            .set("type bridge mcast_igmp_version 3 mcast_mld_version 2 mcast_query_response_interval 100")?;
        self.link.set(&format!("type bridge mcast_snooping {on} mcast_querier {on}"))
    }

    /// The multicast forwarding entries as `bridge -j mdb` prints them.
    ///
    /// # Errors
    /// When `bridge` fails.
    pub fn groups(&self) -> Result<serde_json::Value> {
        let line = format!("bridge -j mdb show dev {}", self.link.name());
        serde_json::from_str(&self.link.netns().tool(&line)?).context("JSON of bridge mdb")
    }
}
