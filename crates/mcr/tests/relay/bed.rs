//! One relay between a sender and receivers, and the account of everything that reached it.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde_json::Value;
use testbed::process::Signal;

use testbed::{Fan, Injector, Port, Probe, Programs, Relay, Stats, eventually};

/// A packet crosses the relay within this, also where many tests share few cores.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// What has not come by then, after all that was expected has, does not come.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

/// Counters that have not moved for so long count nothing that arrived before.
const SETTLE: Duration = Duration::from_millis(50);

pub(crate) const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

/// Bytes a real receiver's socket holds.
const RECEIVE_BUFFER: usize = 16 << 20;

const ETHER_TYPES: [u16; 2] = [0x0800, 0x86dd];
const ICMPV6: u8 = 58;

/// `s0` — relay `r-in`, `r-out1` … — `d0` of each receiver; the addresses are those of [`Fan`].
pub(crate) struct Bed {
    pub(crate) relay: Relay,
    /// Puts frames on the sender's end, `s0`.
    pub(crate) input: Injector,
    /// One on each receiver's `d0`.
    pub(crate) probes: Vec<Probe>,
    pub(crate) fan: Fan,
    arrivals: Arrivals,
    before: Counters,
}

/// What reached the relay, as the testbed counts it.
struct Arrivals {
    probe: Probe,
    datagrams: u64,
    others: u64,
    neighbour_discovery: u64,
    /// UDP payload bytes of each datagram in a super-frame.
    segment: usize,
}

/// What the relay counts.
#[derive(Clone, Debug, Default)]
struct Counters {
    totals: BTreeMap<String, u64>,
    relayed: u64,
    drops: BTreeMap<String, u64>,
}

/// What the relay has counted since the bed stood, proven to agree with itself and with the probe on its input.
#[derive(Debug)]
pub(crate) struct Account {
    counted: Counters,
    neighbour_discovery: u64,
}

impl Bed {
    /// A bed with a relay that runs `rules`, lines of a rule file.
    pub(crate) fn new(prefix: &str, receivers: u8, rules: &str) -> Self {
        let fan = Fan::new(prefix, receivers).unwrap();
        Self::on(fan, rules)
    }

    /// The same on links that were prepared.
    pub(crate) fn on(fan: Fan, rules: &str) -> Self {
        let probe = Probe::on(&fan.ingress.link).unwrap();
        let relay = Relay::start(PROGRAMS, fan.relay(), rules).unwrap();
        let input = Injector::on(&fan.sender.link).unwrap();
        let probes = fan.receivers.iter().map(|port| Probe::on(&port.link).unwrap()).collect();
        let mut arrivals = Arrivals { probe, datagrams: 0, others: 0, neighbour_discovery: 0, segment: 0 };
        // Neighbour discovery may still be about. Both sides count it, but not at the same moment.
        let mut before = Counters::of(&relay.stats());
        let mut changed = Instant::now();
        eventually(SOON, "a moment in which nothing arrives", || {
            let quiet = changed.elapsed();
            let last = mem::replace(&mut before, Counters::of(&relay.stats()));
            let still = last.totals == before.totals && arrivals.take() == 0;
            if !still {
                arrivals.forget();
                changed = Instant::now();
            }
            still && quiet >= SETTLE
        });
        Self { relay, input, probes, fan, arrivals, before }
    }

    /// Says how many payload bytes the datagrams in super-frames have, for the account.
    pub(crate) fn segments_of(&mut self, bytes: usize) {
        self.arrivals.segment = bytes;
    }

    /// Waits until the relay has counted each IP packet that the probe saw on its input, and proves its account:
    /// every packet once, each that was not relayed with one reason.
    pub(crate) fn account(&mut self) -> Account {
        let deadline = Instant::now() + SOON;
        let counted = loop {
            let stats = self.relay.stats();
            let (counted, arrived) = (Counters::of(&stats).since(&self.before), self.arrivals.take());
            if counted.total("recv") == arrived {
                break counted;
            }
            assert!(
                Instant::now() < deadline,
                "{arrived} packets arrived, the relay has counted {counted:#?}"
            );
        };
        let account = Account { counted, neighbour_discovery: self.arrivals.neighbour_discovery };
        account.prove();
        account
    }

    /// The account, and a clean end whose last STATS lines say the same.
    pub(crate) fn finish(mut self) -> Account {
        let account = self.account();
        let json = Counters::of(&self.relay.stats());
        let Stats { ingress, egress } = self.relay.stop();
        assert!(ingress.balances() && egress.balances(), "{ingress:?} {egress:?}");
        // Neighbour discovery may have added to recv and no_match meanwhile.
        let lines =
            [ingress.recv - ingress.no_match, ingress.matched, ingress.parse_err, ingress.buf_exhaust];
        let document = [json.total("recv") - json.total("no_match")]
            .into_iter()
            .chain(["matched", "parse_err", "buf_exhaust"].map(|name| json.total(name)));
        assert!(lines.into_iter().eq(document), "{ingress:?} {json:?}");
        let lines = [egress.sent, egress.submitted, egress.errors, egress.bytes];
        let document = ["sent", "submitted", "errors", "bytes"].map(|name| json.total(name));
        assert_eq!(lines, document, "{egress:?} {json:?}");
        account
    }

    /// One leg's document of `stats --json`.
    pub(crate) fn leg(&self, rule: &str, leg: usize) -> Value {
        self.rule(rule)["legs"][leg].clone()
    }

    /// One rule's document of `stats --json`.
    pub(crate) fn rule(&self, rule: &str) -> Value {
        let stats = self.relay.stats();
        let rules = stats["rules"].as_array().unwrap();
        rules
            .iter()
            .find(|found| found["name"] == rule)
            .unwrap_or_else(|| panic!("{rule} in {stats}"))
            .clone()
    }

    /// A real socket at a receiver, so that its kernel does not answer with port unreachable; a group is joined.
    pub(crate) fn listen(&self, receiver: usize, to: &str) -> UdpSocket {
        listen(&self.fan.receivers[receiver], to)
    }

    /// Applies the rule file anew after it was overwritten.
    pub(crate) fn reload(&mut self, rules: &str) {
        std::fs::write(self.relay.config(), rules).unwrap();
        self.relay.daemon().signal(Signal::HUP);
    }
}

/// A socket bound to `to` at `port`, its group joined where it is one. Reading gives up after a while.
pub(crate) fn listen(port: &Port, to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    let socket = port.netns().enter(|| UdpSocket::bind(to)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    // It is read only after all was sent.
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).unwrap();
    match to.ip() {
        IpAddr::V4(group) if group.is_multicast() => socket.join_multicast_v4(&group, &port.v4).unwrap(),
        IpAddr::V6(group) if group.is_multicast() => {
            socket.join_multicast_v6(&group, port.link.index().unwrap()).unwrap();
        }
        _ => {}
    }
    socket
}

impl Arrivals {
    fn forget(&mut self) {
        self.take();
        (self.datagrams, self.others, self.neighbour_discovery) = (0, 0, 0);
    }

    /// IP packets up to now, a super-frame as its datagrams.
    fn take(&mut self) -> u64 {
        for seen in self.probe.drain() {
            let segments = match (seen.super_frame, self.segment) {
                (true, segment @ 1..) => seen.payload.len().div_ceil(segment),
                _ => 1,
            };
            self.datagrams += segments as u64;
        }
        for other in self.probe.others() {
            if ETHER_TYPES.contains(&other.ether_type) {
                self.others += 1;
                self.neighbour_discovery +=
                    u64::from(other.ip.is_some_and(|(_, _, protocol)| protocol == ICMPV6));
            }
        }
        self.datagrams + self.others
    }
}

impl Counters {
    fn of(stats: &Value) -> Self {
        let map = |value: &Value| -> BTreeMap<String, u64> {
            let pairs = value.as_object().unwrap().iter();
            pairs.map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect()
        };
        let mut drops = BTreeMap::new();
        for worker in stats["workers"].as_array().unwrap() {
            for (reason, count) in map(&worker["drops"]) {
                *drops.entry(reason).or_default() += count;
            }
        }
        Self { totals: map(&stats["totals"]), relayed: Relay::workers_sum(stats, "relayed"), drops }
    }

    fn total(&self, name: &str) -> u64 {
        *self.totals.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.totals))
    }

    fn since(self, before: &Self) -> Self {
        let minus = |now: BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            now.into_iter().map(|(name, count)| (name.clone(), count - then[&name])).collect()
        };
        Self {
            totals: minus(self.totals, &before.totals),
            relayed: self.relayed - before.relayed,
            drops: minus(self.drops, &before.drops),
        }
    }
}

impl Account {
    /// A total of `stats --json`: `recv`, `matched`, `sent` and so on.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.counted.total(name)
    }

    /// Packets that at least one leg took.
    pub(crate) fn relayed(&self) -> u64 {
        self.counted.relayed
    }

    /// Says which reasons packets were dropped for and how often, and that there were no others. The neighbour
    /// discovery of the sender's own host is not counted.
    pub(crate) fn assert_drops(&self, expected: &[(&str, u64)]) {
        let mut drops = self.counted.drops.clone();
        *drops.entry("not_udp".to_owned()).or_default() -= self.neighbour_discovery;
        drops.retain(|_, count| *count > 0);
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        assert_eq!(drops, expected, "{self:#?}");
    }

    /// Says that `packets` matched, all were relayed, each on `legs` legs, none refused or dropped.
    pub(crate) fn assert_all_relayed(&self, packets: u64, legs: u64) {
        self.assert_drops(&[]);
        let names = ["matched", "submitted", "sent", "errors", "parse_err", "buf_exhaust"];
        let expected = [packets, packets * legs, packets * legs, 0, 0, 0];
        assert_eq!(names.map(|name| self.total(name)), expected, "{self:#?}");
        assert_eq!(self.relayed(), packets, "{self:#?}");
    }

    fn prove(&self) {
        let of = |name| self.total(name);
        let ledger = of("matched") + of("parse_err") + of("no_match") + of("buf_exhaust");
        assert_eq!(of("recv"), ledger, "{self:#?}");
        assert_eq!(of("submitted"), of("sent") + of("errors"), "{self:#?}");
        let dropped: u64 = self.counted.drops.values().sum();
        assert_eq!(of("recv"), self.relayed() + dropped, "one reason for each packet not relayed: {self:#?}");
    }
}
