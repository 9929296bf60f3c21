//! Sixteen outputs, cut to wire size, at full offer: no less is delivered than without overload, what is lost is counted
//! where it is, and the rest is late by no more than a full ring.

use anyhow::{Context as _, Result};

use super::fanout::OUTPUTS;
use super::order::examined;
use super::{Figures, one_rule, ratio};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

/// Part of the rate without loss that is delivered.
const DELIVERED_LEAST: f64 = 0.95;

/// Frames in the ring for IPv4, as README states it.
const RING_FRAMES: f64 = 12_288.0;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(OUTPUTS, Egress::Cut)?;
    let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let outputs = f64::from(OUTPUTS);
    let without_loss = outputs * place.zero_loss(LARGE, settings.trial_s)?.pps;
    let most = Offer::most(LARGE, 2.0 * settings.trial_s);
    let delivered = place.delivered_pps(most)?;
    figures.note("16 outputs, cut, without loss", "kpps", Goal::Shown, without_loss / 1000.0);
    figures.note("overload: delivered", "kpps", Goal::Shown, delivered / 1000.0);
    let part = ratio(delivered, without_loss);
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

    let (_, report) = examined(&place.fan.receivers[0], "239.2.1.1", 1, || most.send(&place.fan.sender))?;
    let delay = report["latency_us"]["max"].as_f64().context("a delay")? / 1000.0;
    let relayed = report["pps"].as_f64().context("pps of mcrgen recv")?;
    let bound = RING_FRAMES / relayed * 1000.0;
    figures.note("overload: longest delay", "ms", Goal::Shown, delay);
    figures.note("overload: longest delay, part of a full ring's", "ratio", Goal::Most(1.0), delay / bound);
    Ok(())
}
