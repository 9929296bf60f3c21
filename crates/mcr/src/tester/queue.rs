//! Queueing disciplines of the sender's own interfaces: what one holds or drops, no device has lost.

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};
use rtnetlink::Handle;
use tokio::runtime::{Builder, Runtime};

use super::error::TesterError;
use crate::generator::target::Interface;

/// The root queueing disciplines of some interfaces. What is below one (tc(8), classes) is in its figures.
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
}

impl Queues {
    /// Those of `interfaces`, in the calling thread's namespace.
    ///
    /// # Errors
    /// When netlink cannot be had.
    pub(super) fn open(mut interfaces: Vec<Interface>) -> Result<Self, TesterError> {
        interfaces.sort_by_key(|interface| interface.index);
        interfaces.dedup();
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
        Ok(all.iter().filter_map(|message| self.standing(message)).collect())
    }

    fn standing(&self, message: &TcMessage) -> Option<Standing> {
        let of = |interface: &&Interface| i32::try_from(interface.index) == Ok(message.header.index);
        let interface = self.interfaces.iter().find(of)?;
        if message.header.parent != TcHandle::ROOT {
            return None;
        }
        let (mut kind, mut waiting, mut dropped) = (String::new(), 0, 0);
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(name) => kind.clone_from(name),
                TcAttribute::Stats2(stats) => {
                    for stats in stats {
                        if let TcStats2::Queue(queue) = stats {
                            (waiting, dropped) = (queue.qlen.into(), queue.drops.into());
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Standing { interface: interface.name.to_string(), kind, waiting, dropped })
    }
}

/// What was kept back since they stood as `before`, in words; absent if nothing was. The kernel told the sender of
/// `refused` packets itself.
pub(super) fn kept_back(before: &[Standing], now: &[Standing], refused: u64) -> Option<String> {
    let kept = now.iter().find_map(|now| {
        let before =
            before.iter().find(|before| (&before.interface, &before.kind) == (&now.interface, &now.kind));
        // The kernel counts in 32 bits, and from nothing where it was made anew.
        let dropped =
            now.dropped.wrapping_sub(before.map_or(0, |before| before.dropped)) & u64::from(u32::MAX);
        let dropped = dropped.saturating_sub(refused);
        let what = match (now.waiting, dropped) {
            (0, 0) => return None,
            (waiting, 0) => format!("still held {waiting} of its packets when all were to have left"),
            (0, dropped) => format!("dropped {dropped} of its packets"),
            (waiting, dropped) => format!("dropped {dropped} of its packets and still held {waiting}"),
        };
        Some(format!("whose queueing discipline {} on {} {what}", now.kind, now.interface))
    });
    kept.map(|kept| format!("limited by the tester, {kept} (see `tc -s qdisc show`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(waiting: u64, dropped: u64) -> Standing {
        Standing { interface: "s0".into(), kind: "tbf".into(), waiting, dropped }
    }

    #[test]
    fn what_was_refused_is_known_and_not_kept_back() {
        let kept = |now, refused| kept_back(&[standing(0, 5)], &[now], refused);
        assert_eq!(kept(standing(0, 5), 0), None);
        assert_eq!(kept(standing(0, 9), 4), None);
        assert!(kept(standing(0, 9), 3).unwrap().contains("tbf on s0 dropped 1 of its packets"));
        assert!(kept(standing(7, 9), 4).unwrap().contains("tbf on s0 still held 7 of its packets"));
        assert!(kept(standing(7, 9), 0).unwrap().contains("dropped 4 of its packets and still held 7"));
    }

    #[test]
    fn counts_that_begin_again_are_followed() {
        let before = standing(0, u32::MAX.into());
        assert!(kept_back(&[before], &[standing(0, 1)], 0).unwrap().contains("dropped 2 of its packets"));
        let other = Standing { kind: "fq".into(), ..standing(0, 100) };
        assert!(kept_back(&[other], &[standing(0, 1)], 0).unwrap().contains("dropped 1 of its packets"));
    }
}
