//! What a datagram costs the worker. The sink is the far side's stack, in which nobody listens: it works in the worker's
//! own soft interrupts, so its cost is in the figures.

use anyhow::{Result, ensure};

use super::{Figures, one_rule};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

const PPS: u64 = 350_000;

/// Nanoseconds.
const WHOLE_MOST: f64 = 600.0;
const CUT_MOST: f64 = 1_400.0;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    for (egress, name, most) in [(Egress::Whole, "whole", WHOLE_MOST), (Egress::Cut, "cut", CUT_MOST)] {
        let place = Place::new(1, egress)?;
        let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
        let (ns, lost) = ns_a_datagram(&mcr, &place, Offer::at(PPS, LARGE, 2.0 * settings.trial_s))?;
        figures.note(format!("worker CPU a packet at 350 kpps, {name}"), "ns", Goal::Most(most), ns);
        figures.note(format!("lost at 350 kpps, {name}"), "packets", Goal::Most(0.0), lost as f64);
    }
    Ok(())
}

/// What a datagram of an offer costs the worker, nanoseconds, and how many were lost; what it says it sent has to be what
/// arrived.
pub(super) fn ns_a_datagram(mcr: &Mcr, place: &Place, offer: Offer) -> Result<(f64, u64)> {
    let before = mcr.stats()?.totals.sent;
    let (outcome, ns) = mcr.ns_a_datagram(|| place.offer(offer))?;
    outcome.offered.in_full()?;
    let (sent, arrived) = (mcr.stats()?.totals.sent - before, outcome.arrived);
    ensure!(sent == arrived, "the relay says it sent {sent} datagrams, {arrived} arrived");
    let (offered, lost) = (outcome.offered.pps(), outcome.lost());
    let frames = outcome.frames;
    eprintln!(
        "    offered {offered:.0} pps, {lost} lost, {ns:.0} ns for each of {arrived} in {frames} frames"
    );
    Ok((ns, lost))
}
