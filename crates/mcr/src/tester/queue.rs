//! Queueing disciplines of the sender's own interfaces: what one holds or drops, no device has lost, and what waits
//! there waits for no device.

use futures_util::{StreamExt as _, TryStreamExt as _};
use mcast::Endpoint;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2, TcStatsQueue};
use rtnetlink::Handle;
use tokio::runtime::{Builder, Runtime};

use super::error::TesterError;
use crate::generator::target::Interface;
use crate::route::way_to;

/// The root queueing disciplines of some interfaces. What waits or is dropped below one (tc(8), classes) is in its
/// figures.
#[derive(Debug)]
pub(super) struct Queues {
    runtime: Runtime,
    netlink: Handle,
    interfaces: Vec<Interface>,
}

/// How one stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// The interface's name.
    pub(super) interface: String,
    /// What it is, as tc(8) names it.
    pub(super) kind: String,
    /// Packets that wait in it; of a super-frame, one or all its segments.
    pub(super) waiting: u64,
    /// Packets it has dropped since it was made, refused ones among them.
    pub(super) dropped: u64,
    /// How often it, or one below it, had packets and let none leave: shapers count that, others do not.
    pub(super) throttled: u64,
}

impl Queues {
    /// Those of the interfaces by which packets to `endpoints` leave the calling thread's namespace.
    ///
    /// # Errors
    /// When netlink cannot be had.
    pub(super) fn open<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Result<Self, TesterError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| TesterError::Process("read queueing disciplines", error))?;
        let entered = runtime.enter();
        let (connection, netlink, _) = rtnetlink::new_connection()
            .map_err(|error| TesterError::Process("read queueing disciplines (netlink)", error))?;
        // It ends with the runtime.
        drop(runtime.spawn(connection));
        drop(entered);
        // One that cannot be had has no queue: who sends by it says why.
        let of = |endpoint| runtime.block_on(interface(&netlink, endpoint));
        let mut interfaces: Vec<_> = endpoints.filter_map(of).collect();
        interfaces.sort_by_key(|interface| interface.index);
        interfaces.dedup();
        Ok(Self { runtime, netlink, interfaces })
    }

    /// How each stands now.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn read(&self) -> Result<Vec<Standing>, TesterError> {
        if self.interfaces.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.runtime.block_on(self.netlink.qdisc().get().execute().boxed().try_collect::<Vec<_>>());
        let all = all.map_err(TesterError::Queues)?;
        Ok(self.interfaces.iter().filter_map(|interface| standing(interface, &all)).collect())
    }
}

/// By which packets to an endpoint leave: the one it names, or by the route.
async fn interface(netlink: &Handle, endpoint: &Endpoint) -> Option<Interface> {
    match &endpoint.interface {
        Some(name) => Interface::named(name.clone()).ok(),
        None => Interface::indexed(way_to(netlink, (endpoint.address, None)).await.ok()?.ifindex).ok(),
    }
}

/// How that of `interface` stands among `all` there are.
fn standing(interface: &Interface, all: &[TcMessage]) -> Option<Standing> {
    let of = |message: &&TcMessage| {
        i32::try_from(interface.index) == Ok(message.header.index)
            && message.header.parent != TcHandle::INGRESS
    };
    let root = all.iter().filter(of).find(|message| message.header.parent == TcHandle::ROOT)?;
    let kind = root.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    let queue = figures(root);
    Some(Standing {
        interface: interface.name.to_string(),
        kind: kind.unwrap_or_default(),
        waiting: queue.map_or(0, |queue| queue.qlen.into()),
        dropped: queue.map_or(0, |queue| queue.drops.into()),
        throttled: all.iter().filter(of).filter_map(figures).map(|queue| u64::from(queue.overlimits)).sum(),
    })
}

fn figures(message: &TcMessage) -> Option<&TcStatsQueue> {
    let stats = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Stats2(stats) => Some(stats),
        _ => None,
    });
    stats.flatten().find_map(|stats| match stats {
        TcStats2::Queue(queue) => Some(queue),
        _ => None,
    })
}

/// What was kept back since they stood as `before`, in words; absent if nothing was. The kernel told the sender of
/// `refused` packets itself, by whichever interface they were to leave.
pub(super) fn kept_back(before: &[Standing], now: &[Standing], refused: u64) -> Option<String> {
    let drops = |now: &Standing| more(of(before, now).map(|before| before.dropped), now.dropped);
    let silent = now.iter().map(drops).sum::<u64>().saturating_sub(refused);
    first_said(now, |now| {
        let dropped = drops(now).min(silent);
        match (now.waiting, dropped) {
            (0, 0) => None,
            (waiting, 0) => Some(format!("still held {waiting} of its packets when all were to have left")),
            (0, dropped) => Some(format!("dropped {dropped} of its packets")),
            (waiting, dropped) => Some(format!("dropped {dropped} of its packets and still held {waiting}")),
        }
    })
}

/// Whether one made packets wait since they stood as `before`, in words.
pub(super) fn held_up(before: &[Standing], now: &[Standing]) -> Option<String> {
    first_said(now, |now| {
        let throttled = more(of(before, now).map(|before| before.throttled), now.throttled);
        (throttled > 0).then(|| "made packets wait, which is not the device's latency".to_owned())
    })
}

/// As the same one stood before; absent where it is new.
fn of<'a>(before: &'a [Standing], now: &Standing) -> Option<&'a Standing> {
    before.iter().find(|before| (&before.interface, &before.kind) == (&now.interface, &now.kind))
}

/// The first of what `says` has to say of them.
fn first_said(now: &[Standing], says: impl Fn(&Standing) -> Option<String>) -> Option<String> {
    now.iter().find_map(|now| {
        let said = says(now)?;
        let (kind, interface) = (&now.kind, &now.interface);
        Some(format!(
            "limited by the tester, whose queueing discipline {kind} on {interface} {said} (see `tc -s qdisc show`)"
        ))
    })
}

/// How far a count has come. One that is below what it was counts from nothing: the discipline was made anew, or it
/// passed 32 bits.
fn more(before: Option<u64>, now: u64) -> u64 {
    now.checked_sub(before.unwrap_or_default()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(waiting: u64, dropped: u64) -> Standing {
        Standing { interface: "s0".into(), kind: "tbf".into(), waiting, dropped, throttled: 0 }
    }

    #[test]
    fn what_was_refused_is_known_and_not_kept_back() {
        let kept = |now, refused| kept_back(&[standing(0, 5)], &[now], refused);
        assert_eq!(kept(standing(0, 5), 0), None);
        assert_eq!(kept(standing(0, 9), 4), None);
        assert!(kept(standing(0, 9), 3).unwrap().contains("tbf on s0 dropped 1 of its packets"));
        assert!(kept(standing(7, 9), 4).unwrap().contains("tbf on s0 still held 7 of its packets"));
        assert!(kept(standing(7, 9), 0).unwrap().contains("dropped 4 of its packets and still held 7"));
        // Those refused at one interface hide none that another dropped.
        let two =
            |dropped| ["s0", "s1"].map(|name| Standing { interface: name.into(), ..standing(0, dropped) });
        assert_eq!(kept_back(&two(0), &two(5), 10), None);
        assert!(kept_back(&two(0), &two(5), 5).is_some());
    }

    #[test]
    fn counts_that_begin_again_are_followed() {
        for (kind, before) in [("tbf", 7), ("tbf", u32::MAX.into()), ("fq", 100)] {
            let before = Standing { kind: kind.into(), ..standing(0, before) };
            let kept = kept_back(&[before], &[standing(0, 1)], 0).unwrap();
            assert!(kept.contains("dropped 1 of its packets"), "{kept}");
        }
    }

    #[test]
    fn what_had_to_wait_is_told() {
        let throttled = |throttled| Standing { throttled, ..standing(0, 0) };
        assert_eq!(held_up(&[throttled(9)], &[throttled(9)]), None);
        let held = held_up(&[throttled(9)], &[throttled(10)]).unwrap();
        assert!(held.contains("tbf on s0 made packets wait"), "{held}");
    }
}
