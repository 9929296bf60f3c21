//! One flow to sixteen outputs. The sink is the far sides' stacks, in which nobody listens.

use anyhow::Result;

use super::cost::ns_a_datagram;
use super::{Figures, LONGER, one_rule, ratio};
use crate::adapter::Adapter;
use crate::offer::Offer;
use crate::peers::{group, relaying};
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

pub(super) const OUTPUTS: u8 = 16;

/// What the CPU time of a leg is measured at, packets a second: the segments that must be reached.
const PPS: u64 = 187_500;

/// Nanoseconds, segments a second, and how often the rate of kernel routes.
const LEG_MOST: f64 = 200.0;
const WHOLE_LEAST: f64 = 3_000_000.0;
const ROUTES_LEAST: f64 = 1.5;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(OUTPUTS, Egress::Whole)?;
    let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let (ns, lost) = ns_a_datagram(&mcr, &place, Offer::at(PPS, LARGE, 2.0 * settings.trial_s))?;
    figures.note("16 outputs, whole: worker CPU a leg and packet", "ns", Goal::Most(LEG_MOST), ns);
    figures.note("16 outputs, whole: lost at 187.5 kpps", "packets", Goal::Most(0.0), lost as f64);
    let most = Offer::most(LARGE, LONGER * settings.trial_s);
    let what = "16 outputs, whole: segments without loss";
    figures.note_rate(what, Goal::Least(WHOLE_LEAST / 1000.0), OUTPUTS, place.zero_loss(most)?);
    drop((mcr, place));

    let place = Place::new(OUTPUTS, Egress::Cut)?;
    let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let cut = place.zero_loss(most)?;
    drop(mcr);
    let adapter = Adapter::of(&crate::folder().join("adapters/smcroute"))?;
    let _routes = relaying(&adapter, place.fan.relay(), &place.outputs(&group(&adapter, 2)))?;
    let routes = place.zero_loss(most)?;
    for (what, found) in [("mcr", cut), ("kernel routes", routes)] {
        figures.note_rate(format!("16 outputs, cut, without loss: {what}"), Goal::Shown, OUTPUTS, found);
    }
    figures.note(
        "16 outputs, cut: times kernel routes",
        "ratio",
        Goal::Least(ROUTES_LEAST),
        ratio(cut, routes),
    );
    Ok(())
}
