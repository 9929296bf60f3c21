//! The usual topologies: a line, a fan and a chain.
//!
//! Segment N between two namespaces is a veth pair with 10.10.N.0/24 and fd00:N::/64; the end towards the
//! sender's side of it is host 100 or 1 as each topology says. Reverse-path filtering is strict everywhere, in
//! `all` and on each interface. Relays' egress ends have `tx` off, so that what a probe captures behind them has
//! its checksums filled in. Relays have no route but their links; senders and receivers route 224.0.0.0/4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::{Link, Netns, Veth};

const HOST: u8 = 100;
const ROUTER: u8 = 1;

/// One end of a segment.
#[derive(Clone, Debug)]
pub struct Port {
    /// The interface.
    pub link: Link,
    /// Its IPv4 address, /24.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, /64.
    pub v6: Ipv6Addr,
}

impl Port {
    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        self.link.netns()
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.link.name()
    }

    fn new(link: Link, segment: u8, host: u8) -> Result<Self> {
        let v4 = Ipv4Addr::new(10, 10, segment, host);
        // Written in hexadecimal as the decimal number reads: fd00:2::100.
        let digits = |n: u8| u16::from_str_radix(&n.to_string(), 16).unwrap_or_default();
        let v6 = Ipv6Addr::new(0xfd00, digits(segment), 0, 0, 0, 0, 0, digits(host));
        link.add_address(IpAddr::V4(v4), 24)?;
        link.add_address(IpAddr::V6(v6), 64)?;
        Ok(Self { link, v4, v6 })
    }
}

/// Connects two namespaces by segment `number`; each end is (namespace, interface name, host number).
///
/// # Errors
/// When a link or an address is refused.
pub fn segment(number: u8, a: (&Netns, &str, u8), b: (&Netns, &str, u8)) -> Result<(Port, Port)> {
    let veth = Veth::pair((a.0, a.1), (b.0, b.1))?;
    Ok((Port::new(veth.a, number, a.2)?, Port::new(veth.b, number, b.2)?))
}

fn relay_egress(number: u8, relay: (&Netns, &str), receiver: (&Netns, &str)) -> Result<(Port, Port)> {
    let (egress, far) = segment(number, (relay.0, relay.1, ROUTER), (receiver.0, receiver.1, HOST))?;
    egress.link.offload("tx", false)?;
    Ok((egress, far))
}

/// Sender — relay — receiver.
///
/// `s0` 10.10.1.100 — `r-in` 10.10.1.1, `r-out` 10.10.2.1 — `d0` 10.10.2.100; fd00:1:: and fd00:2:: alike.
#[derive(Clone, Debug)]
pub struct Line {
    /// `s0`.
    pub sender: Port,
    /// `r-in`, in the relay's namespace.
    pub ingress: Port,
    /// `r-out`, in the relay's namespace.
    pub egress: Port,
    /// `d0`.
    pub receiver: Port,
}

impl Line {
    /// Makes three namespaces and their links.
    ///
    /// # Errors
    /// When a namespace, link or setting is refused.
    pub fn new(prefix: &str) -> Result<Self> {
        let fan = Fan::with_names(prefix, &["r-out"])?;
        let Fan { sender, ingress, mut egress, mut receivers } = fan;
        Ok(Self { sender, ingress, egress: egress.remove(0), receiver: receivers.remove(0) })
    }

    /// The relay's namespace.
    #[must_use]
    pub fn relay(&self) -> &Netns {
        self.ingress.netns()
    }
}

/// One sender, one relay, many receivers: `r-out1` 10.10.2.1 — `d0` 10.10.2.100, `r-out2` 10.10.3.1 — and so on.
#[derive(Clone, Debug)]
pub struct Fan {
    /// `s0` 10.10.1.100.
    pub sender: Port,
    /// `r-in` 10.10.1.1, in the relay's namespace.
    pub ingress: Port,
    /// `r-out1`, `r-out2` …, in the relay's namespace.
    pub egress: Vec<Port>,
    /// `d0` of each receiver's own namespace, in the order of `egress`.
    pub receivers: Vec<Port>,
}

impl Fan {
    /// Makes the namespaces and links for `receivers` receivers, at most 200.
    ///
    /// # Errors
    /// When a namespace, link or setting is refused.
    pub fn new(prefix: &str, receivers: u8) -> Result<Self> {
        let names: Vec<String> = (1..=receivers).map(|number| format!("r-out{number}")).collect();
        Self::with_names(prefix, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The relay's namespace.
    #[must_use]
    pub fn relay(&self) -> &Netns {
        self.ingress.netns()
    }

    fn with_names(prefix: &str, names: &[&str]) -> Result<Self> {
        let (source, relay) = (Netns::new(&format!("{prefix}-s"))?, Netns::new(&format!("{prefix}-r"))?);
        let (sender, ingress) = segment(1, (&source, "s0", HOST), (&relay, "r-in", ROUTER))?;
        sender.link.route_multicast()?;
        let (mut egress, mut receivers) = (Vec::new(), Vec::new());
        for (number, name) in (2..).zip(names) {
            let sink = Netns::new(&format!("{prefix}-d"))?;
            let (near, far) = relay_egress(number, (&relay, name), (&sink, "d0"))?;
            far.link.route_multicast()?;
            sink.strict_rp_filter()?;
            egress.push(near);
            receivers.push(far);
        }
        source.strict_rp_filter()?;
        relay.strict_rp_filter()?;
        Ok(Self { sender, ingress, egress, receivers })
    }
}

/// One relay of a [`Chain`].
#[derive(Clone, Debug)]
pub struct Relay {
    /// `r-in`.
    pub ingress: Port,
    /// `r-out`.
    pub egress: Port,
}

impl Relay {
    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        self.ingress.netns()
    }
}

/// Generator → relay 1 … n → receiver. Relay I has `r-in` 10.10.I.1 — host 100 is upstream — and `r-out`
/// 10.10.(I+1).100 towards the next relay, or 10.10.(I+1).1 towards the receiver `d0`, host 100.
#[derive(Clone, Debug)]
pub struct Chain {
    /// `s0` 10.10.1.100.
    pub sender: Port,
    /// The relays, the sender's neighbour first.
    pub relays: Vec<Relay>,
    /// `d0`.
    pub receiver: Port,
}

impl Chain {
    /// Makes the namespaces and links for `relays` relays, 1 to 200.
    ///
    /// # Errors
    /// When a namespace, link or setting is refused, or no relay is asked for.
    pub fn new(prefix: &str, relays: u8) -> Result<Self> {
        anyhow::ensure!((1..=200).contains(&relays), "a chain of {relays} relays");
        let source = Netns::new(&format!("{prefix}-s"))?;
        let first = Netns::new(&format!("{prefix}-r1"))?;
        let (sender, mut ingress) = segment(1, (&source, "s0", HOST), (&first, "r-in", ROUTER))?;
        sender.link.route_multicast()?;
        source.strict_rp_filter()?;
        let mut chain = Vec::new();
        for number in 2..=relays {
            let next = Netns::new(&format!("{prefix}-r{number}"))?;
            let here = ingress.netns().clone();
            let (egress, far) = segment(number, (&here, "r-out", HOST), (&next, "r-in", ROUTER))?;
            egress.link.offload("tx", false)?;
            here.strict_rp_filter()?;
            chain.push(Relay { ingress, egress });
            ingress = far;
        }
        let (last, sink) = (ingress.netns().clone(), Netns::new(&format!("{prefix}-d"))?);
        let (egress, receiver) = relay_egress(relays + 1, (&last, "r-out"), (&sink, "d0"))?;
        receiver.link.route_multicast()?;
        last.strict_rp_filter()?;
        sink.strict_rp_filter()?;
        chain.push(Relay { ingress, egress });
        Ok(Self { sender, relays: chain, receiver })
    }
}
