//! How long a queue packets have waited in: for each that arrives, how many others arrived since it was sent.
//!
//! Unlike a delay this does not depend on how fast the relay was at that moment, so it can be held against the number of
//! frames that a ring has.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use mcast::wire::Datagram;
use mcr::generator::clock::monotonic_ns;
use mcr::generator::header::Header;
use mcr::generator::tap::Tap;
use mcr::generator::target::Target;
use testbed::Port;

use crate::offer::{PORT, SENDER_CORE, pin};

/// How long is waited for packets before it is looked whether there will be more, and the silence that says so.
const LOOK: Duration = Duration::from_millis(20);
const SILENCE: Duration = Duration::from_millis(500);

/// A tap's memory: what 200 ms of 200,000 packets take.
const RING_BYTES: usize = 128 << 20;

/// The worst of what was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    /// Packets that arrived between the sending of one and its own arrival.
    pub(super) packets: u64,
    pub(super) delay: Duration,
}

/// Does `work` while every packet of one group that arrives at a port is looked at on core 0.
pub(super) fn while_watched<T>(
    port: &Port,
    group: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Queue)> {
    let (ready, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let endpoint = format!("{group}%{}:{PORT}", port.name());
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| port.netns().enter(|| watch(&endpoint, &ready, &over)));
        while !ready.load(Ordering::Acquire) && !watcher.is_finished() {
            std::thread::sleep(LOOK);
        }
        let done = work();
        over.store(true, Ordering::Release);
        let queue = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((done?, queue))
    })
}

fn watch(endpoint: &str, ready: &AtomicBool, over: &AtomicBool) -> Result<Queue> {
    pin(SENDER_CORE)?;
    // It takes little time, but must have it before its ring is full.
    let _ = rustix::process::setpriority_process(None, -10);
    let target = Target::new(endpoint.parse()?, NonZeroU16::MIN)?;
    let mut tap = Tap::listen(&target, RING_BYTES)?;
    ready.store(true, Ordering::Release);
    let (mut arrivals, mut worst) = (Vec::<u64>::new(), Queue::default());
    let mut last = monotonic_ns();
    while !over.load(Ordering::Acquire) || Duration::from_nanos(monotonic_ns() - last) < SILENCE {
        tap.read(LOOK, |tapped| {
            let datagram = Datagram::parse_ip(tapped.packet, tapped.checksum);
            let Some(header) = datagram.ok().and_then(|datagram| Header::parse(datagram.payload).ok()) else {
                return;
            };
            let age = header.age_ns(tapped.arrived_ns).unwrap_or_default();
            let since = arrivals.partition_point(|arrived| *arrived < tapped.arrived_ns - age);
            worst.packets = worst.packets.max((arrivals.len() - since) as u64);
            worst.delay = worst.delay.max(Duration::from_nanos(age));
            arrivals.push(tapped.arrived_ns);
            last = monotonic_ns();
        })?;
    }
    ensure!(tap.lost()? == 0, "the tap had no room for all packets");
    ensure!(!arrivals.is_empty(), "nothing of {endpoint} arrived");
    Ok(worst)
}
