//! Flows interleaved packet by packet, each with a rule and an output of its own, cut to wire size.
//!
//! A sender of many flows has no bursts that the kernel cuts, so it offers less than one of a single flow: a relay cannot
//! be asked for more than what it can offer to a ring that only counts.

use anyhow::Result;

use super::rate::across;
use super::{Figures, many_rules, ratio};
use crate::offer::GROUP;
use crate::place::{Cable, Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};
use crate::tester::Device;

/// How many, and the part of one flow's rate that they must reach.
const FLOWS: [(u16, f64); 2] = [(50, 0.70), (1000, 0.60)];

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let (cable, place) = (Cable::new()?, Place::new(1, Egress::Cut)?);
    let tester = Device { near: &cable.near, far: &cable.far, to: GROUP };
    let throughput = |device: Device<'_>, flows| -> Result<f64> {
        Ok(device.throughput(LARGE, flows, settings.trial_s)?.pps)
    };
    let relayed = |flows| {
        let _relay = Mcr::start(place.fan.relay(), &many_rules(flows))?;
        throughput(across(&place), flows)
    };
    let one = relayed(1)?;
    figures.note("1 flow without loss: mcr", "kpps", Goal::Shown, one / 1000.0);
    for (flows, least) in FLOWS {
        let (most, many) = (throughput(tester, flows)?, relayed(flows)?);
        figures.note(
            format!("{flows} flows without loss: the tester on a cable"),
            "kpps",
            Goal::Shown,
            most / 1000.0,
        );
        figures.note(format!("{flows} flows without loss: mcr"), "kpps", Goal::Shown, many / 1000.0);
        let what = format!("{flows} flows: part of one's rate, or of the cable's");
        figures.note(what, "ratio", Goal::Least(least), ratio(many, one.min(most)));
    }
    Ok(())
}
