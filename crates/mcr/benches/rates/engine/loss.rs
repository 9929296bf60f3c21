//! What must get through whole: one relay at a high rate for ten seconds, and three in a row.

use anyhow::Result;
use testbed::{Chain, rule};

use super::order::examined;
use super::{Figures, one_rule};
use crate::leftovers::PREFIX;
use crate::offer::{Offer, RELAY_CORE, SENDER_CORE};
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

const ONE_PPS: u64 = 250_000;
const THREE_PPS: u64 = 100_000;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let seconds = 10.0 * settings.trial_s;
    let place = Place::new(1, Egress::Cut)?;
    let relay = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let outcome = place.offer(Offer::at(ONE_PPS, LARGE, seconds))?;
    drop(relay);
    outcome.offered.in_full()?;
    let lost = outcome.lost() as f64;
    figures.note("lost at 250 kpps through one relay", "packets", Goal::Most(0.0), lost);

    let chain = Chain::new(PREFIX, 3)?;
    chain.sender.link.wire_size()?;
    let mut relays = Vec::new();
    for (hop, place) in (1..).zip(&chain.relays) {
        place.egress.link.wire_size()?;
        let output = format!("239.1.{}.1%r-out:5000", hop + 1);
        let file = rule("hop", &format!("239.1.{hop}.1%r-in:5000"), &[output]);
        // Neighbours in the row on different cores.
        let core = if hop % 2 == 1 { RELAY_CORE } else { SENDER_CORE };
        relays.push(Mcr::on_cores(place.netns(), &file, &core.to_string())?);
    }
    let offer = Offer::at(THREE_PPS, LARGE, seconds);
    let (offered, report) = examined(&chain.receiver, "239.1.4.1", 1, || offer.send(&chain.sender))?;
    let sent = offered.in_full()?.sent;
    let lost = sent.saturating_sub(report.distinct) as f64;
    figures.note("lost at 100 kpps through three relays", "packets", Goal::Most(0.0), lost);
    Ok(())
}
