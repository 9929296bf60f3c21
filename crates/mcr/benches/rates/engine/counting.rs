//! A ring that only counts, in the relay's place and on its core: what it receives of a sender is all that a relay could
//! send.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use mcr::generator::tap::{Membership, Tap};
use mcr::generator::target::Target;
use mcr::tester::search::Found;

use crate::offer::{GROUP, Offer, PORT, RELAY_CORE, pin};
use crate::place::{Outcome, Place, highest};

/// How long is waited for packets before it is looked whether the search is over.
const LOOK: Duration = Duration::from_millis(20);

/// By then all has been read that was sent.
const SETTLED: Duration = Duration::from_millis(200);

/// Memory of as many frames as a relay's ring for IPv4 has.
const RING_BYTES: usize = 24 << 20;

/// The highest rate of an offer, packets a second, of which such a ring misses nothing.
pub(super) fn zero_loss(place: &Place, offer: Offer) -> Result<Found> {
    let (counted, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let relay = place.fan.relay();
        let reader = scope.spawn(|| relay.enter(|| count(offer.flows, &counted, &over)));
        sleep(SETTLED);
        let found = highest(offer, |offer| {
            let before = counted.load(Ordering::Relaxed);
            let offered = offer.send(&place.fan.sender)?;
            sleep(SETTLED);
            let arrived = counted.load(Ordering::Relaxed) - before;
            Ok(Outcome { offered, arrived, frames: arrived, expected: offered.sent })
        });
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        found
    })
}

fn count(flows: u16, counted: &AtomicU64, over: &AtomicBool) -> Result<()> {
    pin(RELAY_CORE)?;
    let flows = NonZeroU16::new(flows).unwrap_or(NonZeroU16::MIN);
    let target = Target::new(format!("{GROUP}%r-in:{PORT}").parse()?, flows)?;
    let _joined = Membership::open(&target)?;
    let mut tap = Tap::listen(&target, RING_BYTES, NonZeroU32::MIN)?;
    while !over.load(Ordering::Relaxed) {
        let mut packets = 0;
        tap.read(LOOK, |_| packets += 1)?;
        counted.fetch_add(packets, Ordering::Relaxed);
    }
    Ok(())
}
