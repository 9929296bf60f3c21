//! Sixteen outputs, cut to wire size, at full offer: no less is delivered than without overload, what is lost is counted
//! where it is, and the rest has waited in no longer a queue than a full ring.

use std::num::NonZeroU32;

use anyhow::Result;

use super::fanout::OUTPUTS;
use super::watch::Watch;
use super::{Figures, LONGER, one_rule};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

/// Part of the rate without loss that is delivered.
const DELIVERED_LEAST: f64 = 0.95;

/// Frames in the ring for IPv4, as README states it, and a burst of the sender's, which all bears one time.
const QUEUE_MOST: f64 = 12_288.0 + 64.0;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(OUTPUTS, Egress::Cut)?;
    let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let outputs = f64::from(OUTPUTS);
    let without_loss = place.zero_loss(Offer::most(LARGE, LONGER * settings.trial_s))?;
    let most = Offer::most(LARGE, 2.0 * settings.trial_s);
    let delivered = place.delivered_pps(most)?;
    figures.note_rate("16 outputs, cut, without loss", Goal::Shown, OUTPUTS, without_loss);
    figures.note("overload: delivered", "kpps", Goal::Shown, delivered / 1000.0);
    let part = delivered / (outputs * without_loss.pps);
    figures.note(
        "overload: delivered, part of that without loss",
        "ratio",
        Goal::Least(DELIVERED_LEAST),
        part,
    );

    let before = mcr.stats()?.totals;
    let outcome = place.offer(most)?;
    let after = mcr.stats()?.totals;
    let exhausted = after.buf_exhaust - before.buf_exhaust;
    let lost = outcome.lost() as f64 / outputs;
    figures.note("overload: lost", "packets", Goal::Shown, lost);
    let elsewhere = (lost - exhausted as f64).abs();
    figures.note("overload: lost, not counted in buf_exhaust", "packets", Goal::Most(0.0), elsewhere);

    let watch = Watch { port: &place.fan.receivers[0], group: "239.2.1.1", one_in: NonZeroU32::MIN };
    let (_, arrivals) = watch.during(|| most.send(&place.fan.sender))?;
    let delay = arrivals.quantile(1.0).as_secs_f64() * 1000.0;
    figures.note("overload: longest delay", "ms", Goal::Shown, delay);
    let full_ring = QUEUE_MOST / arrivals.pps() * 1000.0;
    figures.note("overload: a full ring at the mean rate meanwhile", "ms", Goal::Shown, full_ring);
    let queue = arrivals.longest_queue() as f64;
    figures.note("overload: longest queue", "packets", Goal::Most(QUEUE_MOST), queue);
    Ok(())
}
