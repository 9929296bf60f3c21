//! Latency from the send call to arrival at the receiver's link, by default and with `busy_poll`.

use std::num::NonZeroU32;

use anyhow::Result;

use super::watch::Watch;
use super::{Figures, one_rule};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

const LOADS: [u64; 2] = [10_000, 50_000];

/// Microseconds.
const P50_MOST: f64 = 40.0;
const P99_MOST: f64 = 200.0;
const BUSY_P50_MOST: f64 = 15.0;

/// Of so many packets one is looked at, so that the sender has its core to itself.
const ONE_IN: NonZeroU32 = NonZeroU32::new(8).unwrap();

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let offer = |load| Offer::at(load, LARGE, 2.0 * settings.trial_s);
    for load in LOADS {
        let p99 = Watch::cable(offer(load), ONE_IN)?.quantile(0.99).as_secs_f64() * 1e6;
        figures.note(format!("latency p99 of a cable, at {} kpps", load / 1000), "µs", Goal::Shown, p99);
    }
    for (name, options, p50, p99) in [
        ("default", "", P50_MOST, Goal::Most(P99_MOST)),
        ("busy_poll", "[worker]\nbusy_poll = true\n", BUSY_P50_MOST, Goal::Shown),
    ] {
        let place = Place::new(1, Egress::Cut)?;
        let file = one_rule(&place.outputs("239.2.1.1")) + options;
        let _relay = Mcr::start(place.fan.relay(), &file)?;
        let watch = Watch { port: &place.fan.receivers[0], group: "239.2.1.1", one_in: ONE_IN };
        for load in LOADS {
            let (outcome, arrivals) = watch.during(|| place.offer(offer(load)))?;
            outcome.offered.in_full()?;
            let at = format!("{name}, at {} kpps", load / 1000);
            let us = |part| arrivals.quantile(part).as_secs_f64() * 1e6;
            figures.note(format!("latency p50, {at}"), "µs", Goal::Most(p50), us(0.5));
            figures.note(format!("latency p99, {at}"), "µs", p99, us(0.99));
            figures.note(format!("lost, {at}"), "packets", Goal::Most(0.0), outcome.lost() as f64);
        }
    }
    Ok(())
}
