//! Flows interleaved packet by packet, each with a rule and an output of its own, cut to wire size.

use anyhow::Result;

use super::rate::across;
use super::{Figures, many_rules, ratio};
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

/// How many, and the part of one flow's rate that they must reach.
const FLOWS: [(u16, f64); 2] = [(50, 0.70), (1000, 0.60)];

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let throughput = |flows| {
        let _relay = Mcr::start(place.fan.relay(), &many_rules(flows))?;
        Ok::<_, anyhow::Error>(across(&place).throughput(LARGE, flows, settings.trial_s)?.pps)
    };
    let one = throughput(1)?;
    figures.note("1 flow without loss", "kpps", Goal::Shown, one / 1000.0);
    for (flows, least) in FLOWS {
        let many = throughput(flows)?;
        figures.note(format!("{flows} flows without loss"), "kpps", Goal::Shown, many / 1000.0);
        figures.note(
            format!("{flows} flows: part of one's rate"),
            "ratio",
            Goal::Least(least),
            ratio(many, one),
        );
    }
    Ok(())
}
