//! One flow, one output, cut to wire size, without loss: against a ring that only counts in the relay's place, and against
//! socat; by the counters of the receiver's link, as a tester that looks at each packet on the sender's core takes half of
//! what that can offer.

use anyhow::Result;
use mcr::tester::search::Found;

use super::{Figures, LONGER, counting, one_rule, ratio};
use crate::adapter::Adapter;
use crate::offer::Offer;
use crate::peers::{group, relaying};
use crate::place::{Cable, Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, SMALL, Settings};
use crate::tester::Device;

/// What the tester must offer, kpps.
const ALONE_LEAST: f64 = 900.0;
/// UDP payload of the smallest frame of Ethernet.
const SMALLEST: u64 = 18;
/// Part of what a ring that only counts receives.
const RING_LEAST: f64 = 0.9;
/// How often socat's rate.
const SOCAT_LEAST: f64 = 4.0;
/// Part of the rate of long packets at which short ones are relayed.
const SMALL_LEAST: f64 = 0.9;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let [large, small] = [LARGE, SMALL].map(|bytes| Offer::most(bytes, settings.trial_s));
    let ring = counting::zero_loss(&place, large)?;
    let small_alone = Offer::most(SMALLEST, settings.trial_s).send(&Cable::new()?.near)?.pps();
    figures.note("18 B offered where nobody listens", "kpps", Goal::Least(ALONE_LEAST), small_alone / 1000.0);
    let [mcr, short, examined] = {
        let _relay = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
        let examined = across(&place).throughput(LARGE, 1, settings.trial_s)?;
        [place.zero_loss(large)?, place.zero_loss(small)?, examined]
    };
    let socat = socat(&place, Offer::most(LARGE, LONGER * settings.trial_s))?;
    for (what, found) in [
        ("a ring that only counts", ring),
        ("mcr", mcr),
        ("mcr, 200 B", short),
        ("mcr, each packet looked at", examined),
        ("socat", socat),
    ] {
        figures.note_rate(format!("one flow without loss: {what}"), Goal::Shown, 1, found);
    }
    for (what, least, part) in [
        ("part of what the ring receives", RING_LEAST, ratio(mcr, ring)),
        ("times socat's rate", SOCAT_LEAST, ratio(mcr, socat)),
        ("200 B, part of the rate at 1400 B", SMALL_LEAST, ratio(short, mcr)),
    ] {
        figures.note(format!("one flow: {what}"), "ratio", Goal::Least(least), part);
    }
    Ok(())
}

fn socat(place: &Place, offer: Offer) -> Result<Found> {
    let adapter = Adapter::of(&crate::folder().join("adapters/socat"))?;
    let to = group(&adapter, 2);
    let _relay = relaying(&adapter, place.fan.relay(), &place.outputs(&to))?;
    place.zero_loss(offer)
}

/// The place's relay, sender to first receiver.
pub(super) fn across(place: &Place) -> Device<'_> {
    Device { near: &place.fan.sender, far: &place.fan.receivers[0], to: "239.2.1.1" }
}
