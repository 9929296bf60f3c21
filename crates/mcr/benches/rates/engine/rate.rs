//! One flow, one output, cut to wire size, without loss: against the tester on a cable, and against socat.

use anyhow::Result;

use super::{Figures, one_rule, ratio};
use crate::adapter::Adapter;
use crate::offer::GROUP;
use crate::peers::{group, relaying};
use crate::place::{Cable, Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, SMALL, Settings};
use crate::tester::{Device, Throughput};

/// Part of what a ring that only counts receives.
const CABLE_LEAST: f64 = 0.9;
/// How often socat's rate.
const SOCAT_LEAST: f64 = 4.0;
/// Part of the rate of long packets at which short ones are relayed.
const SMALL_LEAST: f64 = 0.9;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let cable = {
        let cable = Cable::new()?;
        let device = Device { near: &cable.near, far: &cable.far, to: GROUP };
        device.throughput(LARGE, 1, settings.trial_s)?
    };
    let place = Place::new(1, Egress::Cut)?;
    let [large, small] = {
        let _relay = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
        let device = Device { to: "239.2.1.1", ..across(&place) };
        [device.throughput(LARGE, 1, settings.trial_s)?, device.throughput(SMALL, 1, settings.trial_s)?]
    };
    let socat = socat(&place, settings)?;
    for (what, found) in
        [("the tester on a cable", &cable), ("mcr", &large), ("mcr, 200 B", &small), ("socat", &socat)]
    {
        figures.note(format!("one flow without loss: {what}"), "kpps", Goal::Shown, found.pps / 1000.0);
    }
    figures.note(
        "one flow: part of the cable's rate",
        "ratio",
        Goal::Least(CABLE_LEAST),
        ratio(large.pps, cable.pps),
    );
    figures.note(
        "one flow: times socat's rate",
        "ratio",
        Goal::Least(SOCAT_LEAST),
        ratio(large.pps, socat.pps),
    );
    figures.note(
        "200 B: part of the rate at 1400 B",
        "ratio",
        Goal::Least(SMALL_LEAST),
        ratio(small.pps, large.pps),
    );
    Ok(())
}

fn socat(place: &Place, settings: &Settings) -> Result<Throughput> {
    let adapter = Adapter::of(&crate::folder().join("adapters/socat"))?;
    let to = group(&adapter, 2);
    let _relay = relaying(&adapter, place.fan.relay(), &place.outputs(&to))?;
    Device { to: &to, ..across(place) }.throughput(LARGE, 1, settings.trial_s)
}

/// The place's relay, sender to first receiver.
pub(super) fn across(place: &Place) -> Device<'_> {
    Device { near: &place.fan.sender, far: &place.fan.receivers[0], to: "239.2.1.1" }
}
