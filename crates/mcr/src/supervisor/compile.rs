//! Rules to a forwarding table: names become indexes, legs get their sockets, and what cannot run now is
//! left out with the reason.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};

use dataplane::table::{FlowEntry, FlowKey, FramesEntry, LegEntry, SourceChoice, Table};
use mcast::{Flow, InterfaceName, Leg, LegSource, Rule, RuleName, SendAs, SourcePort, Ttl};

use super::egress::{EgressKey, EgressSockets, Kind};
use super::links::Interfaces;
use super::membership::Join;
use super::slots::{RuleSlots, Slots};
use super::sources::{Picked, Scratch};

/// A local unicast address and port that a rule takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPort {
    /// The address.
    pub address: IpAddr,
    /// Interface it belongs to.
    pub ifindex: u32,
    /// The port.
    pub port: NonZeroU16,
}

/// Where a rule stands, as compiled.
#[derive(Debug)]
pub struct RuleView {
    /// Its name.
    pub name: RuleName,
    /// Its slots among the counters.
    pub slots: RuleSlots,
    /// Why it waits, if it does.
    pub pending: Option<String>,
    /// Why each leg waits, if it does.
    pub legs_pending: Vec<Option<String>>,
    /// What it joins while it runs.
    pub join: Option<Join>,
}

/// What follows from the rules as things are.
#[derive(Debug, Default)]
pub struct Compiled {
    /// What workers follow; its generation is left to the caller.
    pub table: Table,
    /// One entry a rule, in order.
    pub views: Vec<RuleView>,
    /// Groups to be joined.
    pub joins: BTreeSet<Join>,
    /// Local ports to be held.
    pub ports: BTreeSet<LocalPort>,
    /// Interfaces frames are taken from.
    pub ifindexes: BTreeSet<u32>,
    /// Whether a leg waits for a socket, as where its source port is taken: nothing tells when that is over.
    pub wants_sockets: bool,
}

/// What the kernel picked for destinations already asked about, until links, addresses or routes change.
#[derive(Debug, Default)]
pub struct Routes {
    known: HashMap<(IpAddr, Option<u32>), Result<Picked, String>>,
    scratch: Scratch,
}

impl Routes {
    /// Source and MTU for a destination, or why there is no way to it.
    fn pick(&mut self, destination: IpAddr, ifindex: Option<u32>) -> Result<Picked, String> {
        let ask = || self.scratch.pick(destination, ifindex).map_err(|error| error.to_string());
        self.known.entry((destination, ifindex)).or_insert_with(ask).clone()
    }

    /// Forgets all answers.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

/// What rules are compiled against.
pub struct Surroundings<'a> {
    /// Interfaces as they are.
    pub interfaces: &'a Interfaces,
    /// Ways to destinations.
    pub routes: &'a mut Routes,
    /// Egress sockets, opened as needed.
    pub sockets: &'a mut EgressSockets,
    /// Slots, assigned to these rules.
    pub slots: &'a Slots,
    /// The host's own addresses.
    pub local: HashSet<IpAddr>,
    /// Whether a socket was refused so far.
    pub refused: bool,
}

impl Surroundings<'_> {
    /// Compiles rules in their order.
    pub fn compile<'r>(&mut self, rules: impl Iterator<Item = &'r Rule>) -> Compiled {
        let mut compiled = Compiled::default();
        for rule in rules {
            let Some(slots) = self.slots.of(&rule.name) else { continue };
            let view = self.rule(rule, slots, &mut compiled);
            compiled.views.push(view);
        }
        compiled.wants_sockets = self.refused;
        let ports: BTreeSet<u16> = self.sockets.ports().map(NonZeroU16::get).collect();
        let local = self.local.iter().flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port)));
        compiled.table.own.extend(local);
        // In an order of its own, or equal tables would differ.
        compiled.table.own.sort_unstable();
        compiled.table.own.dedup();
        compiled
    }

    fn rule(&mut self, rule: &Rule, slots: RuleSlots, compiled: &mut Compiled) -> RuleView {
        let mut view =
            RuleView { name: rule.name.clone(), pending: None, legs_pending: Vec::new(), join: None, slots };
        let (legs, pending) = self.legs(rule, &mut view);
        let ifindex = match self.input_ifindex(&rule.input.interface) {
            Ok(ifindex) => ifindex,
            Err(why) => {
                view.pending = Some(why);
                return view;
            }
        };
        // Down, it is joined on and its frames are taken all the same: of those that came before some are in the ring
        // still, and after its return the first are there up to a second before word of it is. And for a flap of an
        // output upstream would prune the group, and take time to graft it.
        let down = self.interfaces.why_not(rule.input.interface.as_str());
        let mute = || view.legs_pending.iter().flatten().next().filter(|_| legs.is_empty()).cloned();
        view.pending = down.or_else(mute);
        let Flow { source, address, port, .. } = rule.input;
        if address.is_multicast() {
            let join = Join { interface: ifindex, group: address, source };
            view.join = Some(join);
            compiled.joins.insert(join);
        } else if let Some(port) = port {
            if !self.local.contains(&address) {
                view.pending =
                    Some(format!("{address} is no address of this host: add it to {}", rule.input.interface));
                return view;
            }
            compiled.ports.insert(LocalPort { address, ifindex, port });
        }
        compiled.table.own.extend(self.foreign_sources(rule));
        compiled.ifindexes.insert(ifindex);
        let key = FlowKey { ifindex, address, source, port: port.map(NonZeroU16::get) };
        compiled.table.flows.push(FlowEntry { key, slot: view.slots.rule, legs, pending });
        view
    }

    /// A rule's legs as they can be now, and the slots of those that cannot; the view learns why.
    fn legs(&mut self, rule: &Rule, view: &mut RuleView) -> (Vec<LegEntry>, Vec<u32>) {
        let (mut legs, mut pending) = (Vec::new(), Vec::new());
        for (leg, slot) in rule.outputs.iter().zip(&view.slots.legs) {
            let resolved = self.leg(leg, *slot);
            view.legs_pending.push(resolved.as_ref().err().cloned());
            match resolved {
                Ok(leg) => legs.push(leg),
                Err(_) => pending.push(*slot),
            }
        }
        (legs, pending)
    }

    /// Addresses of others that a rule sends from, with the ports: its frames are known by them as by the host's
    /// own. A rule that takes in just that source speaks in its name, and must go on hearing it.
    fn foreign_sources(&self, rule: &Rule) -> Vec<SocketAddr> {
        let foreign = |leg: &Leg| match (leg.source, leg.sport) {
            (LegSource::Address(address), _) if rule.input.source == Some(address) => None,
            // Under the packet's port it looks like any frame of that host.
            _ if leg.keeps_port() => None,
            (LegSource::Address(address), SourcePort::Port(port)) => {
                Some(SocketAddr::new(address, port.get()))
            }
            (LegSource::Address(address), _) => Some(SocketAddr::new(address, self.sockets.port().get())),
            (LegSource::Interface | LegSource::Keep, _) => None,
        };
        rule.outputs.iter().filter_map(foreign).collect()
    }

    fn leg(&mut self, leg: &Leg, slot: u32) -> Result<LegEntry, String> {
        let ifindex = leg.interface.as_ref().map(|name| self.ifindex(name)).transpose()?;
        let (picked, mtu) = match (self.routes.pick(leg.address, ifindex), leg.source, &leg.interface) {
            (Ok(picked), ..) => (Some(picked.source), picked.mtu),
            // A leg that brings its own source address needs none of the interface's.
            (Err(_), LegSource::Keep | LegSource::Address(_), Some(name)) => {
                (None, self.interfaces.by_name(name.as_str()).map_or(1500, |interface| interface.mtu))
            }
            (Err(why), ..) => return Err(why),
        };
        let sport = match leg.sport {
            SourcePort::Port(port) => Some(port),
            SourcePort::Default | SourcePort::Keep => None,
        };
        let raw = leg.keeps_port();
        let transparent = leg.source != LegSource::Interface && !raw;
        let kind = if raw { Kind::Ip } else { Kind::Udp };
        let socket =
            self.socket(EgressKey { ipv6: leg.address.is_ipv6(), ifindex, sport, transparent, kind })?;
        let frames = self.frames(leg)?;
        Ok(LegEntry {
            slot,
            socket,
            address: leg.address,
            port: leg.port.map(NonZeroU16::get),
            ifindex,
            source: match leg.source {
                // What makes its own headers knows no port but the packet's, and no address but this.
                LegSource::Interface if raw || frames.is_some() => {
                    picked.map_or(SourceChoice::Kernel, SourceChoice::Address)
                }
                LegSource::Interface => SourceChoice::Kernel,
                LegSource::Keep => SourceChoice::Keep,
                LegSource::Address(address) => SourceChoice::Address(address),
            },
            from: match leg.source {
                LegSource::Interface => picked,
                LegSource::Keep => None,
                LegSource::Address(address) => Some(address),
            },
            sport: (!raw).then(|| sport.unwrap_or(self.sockets.port()).get()),
            ttl: match leg.ttl {
                Ttl::Set(ttl) => Some(ttl.get()),
                Ttl::Decrement => None,
            },
            dscp: leg.dscp.map(mcast::Dscp::value),
            batch: leg.batch.map(NonZeroU8::get),
            mtu,
            frames,
        })
    }

    /// How a leg's datagrams leave as frames, where it asks for that.
    fn frames(&mut self, leg: &Leg) -> Result<Option<FramesEntry>, String> {
        let (SendAs::Frames, Some(name)) = (leg.send, &leg.interface) else { return Ok(None) };
        let interface = self.interfaces.by_name(name.as_str()).ok_or_else(|| absent(name))?;
        let not_ethernet =
            || format!("interface {name} is not Ethernet and takes no such frames: leave send=frames out");
        let link = interface.ethernet.ok_or_else(not_ethernet)?;
        let socket = self.socket(EgressKey {
            ipv6: false,
            ifindex: Some(interface.index),
            sport: None,
            transparent: false,
            kind: Kind::Frames,
        })?;
        Ok(Some(FramesEntry { socket, link }))
    }

    fn socket(&mut self, key: EgressKey) -> Result<u32, String> {
        let socket = self.sockets.number(key);
        self.refused |= socket.is_err();
        socket.map_err(|error| error.to_string())
    }

    fn input_ifindex(&self, name: &InterfaceName) -> Result<u32, String> {
        // Enslaved since the rule was accepted: nothing would arrive, and nobody would know why.
        match self.interfaces.why_not_input(name.as_str()) {
            Some(why) => Err(why),
            None => self
                .interfaces
                .by_name(name.as_str())
                .map(|interface| interface.index)
                .ok_or_else(|| absent(name)),
        }
    }

    fn ifindex(&self, name: &InterfaceName) -> Result<u32, String> {
        match (self.interfaces.by_name(name.as_str()), self.interfaces.why_not(name.as_str())) {
            (Some(interface), None) => Ok(interface.index),
            (_, Some(why)) => Err(why),
            (None, None) => Err(absent(name)),
        }
    }
}

fn absent(name: &InterfaceName) -> String {
    format!("interface {name} does not exist")
}
