//! Packets looked at where they arrive, by the kernel's time, on the sender's core: one in so many of them where all
//! would keep the sender from its work.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use mcast::wire::Datagram;
use mcr::generator::clock::monotonic_ns;
use mcr::generator::header::Header;
use mcr::generator::tap::Tap;
use mcr::generator::target::Target;
use testbed::Port;

use crate::offer::{GROUP, Offer, PORT, SENDER_CORE, pin};
use crate::place::Cable;

/// How long is waited for packets before it is looked whether there will be more, and the silence that says so.
const LOOK: Duration = Duration::from_millis(20);
const SILENCE: Duration = Duration::from_millis(500);

/// A tap's memory: what 200 ms of 200,000 packets take.
const RING_BYTES: usize = 128 << 20;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch<'a> {
    pub(super) port: &'a Port,
    pub(super) group: &'a str,
    /// One in so many packets, picked by chance.
    pub(super) one_in: NonZeroU32,
}

/// When packets arrived, in order, and how long after they were sent; nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Vec<(u64, u64)>);

impl Arrivals {
    /// The latency that a part of the packets did not exceed.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let mut ages: Vec<u64> = self.0.iter().map(|(_, age)| *age).collect();
        ages.sort_unstable();
        let rank = (ages.len() as f64 * part).ceil() as usize;
        let age = ages.get(rank.saturating_sub(1)).or(ages.last());
        Duration::from_nanos(age.copied().unwrap_or_default())
    }

    /// Packets a second that arrived, from the first to the last.
    pub(super) fn pps(&self) -> f64 {
        let time = |end: Option<&(u64, u64)>| end.map_or(0, |(arrived, _)| *arrived);
        let took = Duration::from_nanos(time(self.0.last()) - time(self.0.first()));
        self.0.len() as f64 / took.as_secs_f64()
    }

    /// The longest queue any has waited in: packets that arrived between its sending and its own arrival. Unlike a delay
    /// this does not depend on how fast the relay was at that moment, so it can be held against the frames of a ring.
    pub(super) fn longest_queue(&self) -> usize {
        let before = |at: usize, (arrived, age)| {
            at - self.0[..at].partition_point(|(earlier, _)| *earlier < arrived - age)
        };
        self.0.iter().enumerate().map(|(at, arrival)| before(at, *arrival)).max().unwrap_or_default()
    }
}

impl Watch<'_> {
    /// Does `work` while packets are looked at.
    pub(super) fn during<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(T, Arrivals)> {
        let (ready, over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| self.port.netns().enter(|| self.watch(&ready, &over)));
            while !ready.load(Ordering::Acquire) && !watcher.is_finished() {
                std::thread::sleep(LOOK);
            }
            let done = work();
            over.store(true, Ordering::Release);
            let arrivals = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((done?, arrivals))
        })
    }

    /// What a cable in the relay's place does to an offer: the part of a latency that is the tester's.
    pub(super) fn cable(offer: Offer, one_in: NonZeroU32) -> Result<Arrivals> {
        let Cable { near, far } = &Cable::new()?;
        let (offered, arrivals) =
            Watch { port: far, group: GROUP, one_in }.during(|| offer.send(near)?.in_full())?;
        eprintln!("    {:.0} pps over a cable: p99 {:?}", offered.pps(), arrivals.quantile(0.99));
        Ok(arrivals)
    }

    fn watch(self, ready: &AtomicBool, over: &AtomicBool) -> Result<Arrivals> {
        pin(SENDER_CORE)?;
        // It takes little time, but must have it before its ring is full.
        let _ = rustix::process::setpriority_process(None, -10);
        let endpoint = format!("{}%{}:{PORT}", self.group, self.port.name());
        let target = Target::new(endpoint.parse()?, NonZeroU16::MIN)?;
        let mut tap = Tap::listen(&target, RING_BYTES, self.one_in)?;
        ready.store(true, Ordering::Release);
        let mut arrivals = Vec::new();
        let mut last = monotonic_ns();
        while !over.load(Ordering::Acquire) || Duration::from_nanos(monotonic_ns() - last) < SILENCE {
            tap.read(LOOK, |tapped| {
                let datagram = Datagram::parse_ip(tapped.packet, tapped.checksum);
                let Some(header) = datagram.ok().and_then(|datagram| Header::parse(datagram.payload).ok())
                else {
                    return;
                };
                let Some(age) = header.age_ns(tapped.arrived_ns) else { return };
                arrivals.push((tapped.arrived_ns, age));
                last = monotonic_ns();
            })?;
        }
        ensure!(tap.lost()? == 0, "the tap had no room for all packets");
        ensure!(!arrivals.is_empty(), "nothing of {endpoint} arrived");
        Ok(Arrivals(arrivals))
    }
}
