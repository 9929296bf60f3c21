//! Latency from the send call to arrival at the receiver's link, by default and with `busy_poll`.

use anyhow::Result;

use super::rate::across;
use super::{Figures, one_rule};
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

const LOADS: [u64; 2] = [10_000, 50_000];

/// Microseconds.
const P50_MOST: f64 = 40.0;
const P99_MOST: f64 = 200.0;
const BUSY_P50_MOST: f64 = 15.0;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    for (name, options, p50, p99) in [
        ("default", "", P50_MOST, Goal::Most(P99_MOST)),
        ("busy_poll", "[worker]\nbusy_poll = true\n", BUSY_P50_MOST, Goal::Shown),
    ] {
        let place = Place::new(1, Egress::Cut)?;
        let file = one_rule(&place.outputs("239.2.1.1")) + options;
        let _relay = Mcr::start(place.fan.relay(), &file)?;
        let latencies = across(&place).latency(LARGE, &LOADS, 2.0 * settings.trial_s)?;
        for (load, latency) in LOADS.into_iter().zip(latencies) {
            let at = format!("{name}, at {} kpps", load / 1000);
            let latency = latency.in_full()?;
            figures.note(format!("latency p50, {at}"), "µs", Goal::Most(p50), latency.p50);
            figures.note(format!("latency p99, {at}"), "µs", p99, latency.p99);
            figures.note(format!("lost, {at}"), "of all", Goal::Most(0.0), latency.loss);
        }
    }
    Ok(())
}
