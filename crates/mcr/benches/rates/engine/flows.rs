//! Flows interleaved packet by packet, each with a rule and an output of its own, cut to wire size, by the counters of the
//! receiver's link.
//!
//! A sender of many flows has no bursts that the kernel cuts, so it offers less than one of a single flow, and is easily the
//! limit itself: what a ring that only counts receives of as many is shown beside. What the worker could do is seen from its
//! time for a packet where its queue is full, held to the same part of one flow's.

use anyhow::Result;

use super::cost::ns_a_datagram;
use super::{Figures, backlog, counting, many_rules, ratio};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

/// How many, and the part of one flow's rate that they must reach.
const FLOWS: [(u16, f64); 2] = [(50, 0.70), (1000, 0.60)];

/// So many can reach it where the queue is full only as frames: of the 4,096 datagrams of a round each flow has four, which
/// as datagrams are a send of their own.
const FRAMES_ONLY: u16 = 1000;

/// What the worker's CPU time is measured at, packets a second: less than a sender of many flows can offer.
const PPS: u64 = 150_000;

/// What workers hand to the kernel: options of an output, and what figures call it.
const SENDS: [(&str, &str); 2] = [("", "mcr"), (",send=frames", "mcr, send=frames")];

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let offer = |flows| Offer::most(LARGE, settings.trial_s).flows(flows);
    let relayed = |flows, options| {
        let mcr = Mcr::start(place.fan.relay(), &many_rules(flows, options))?;
        let found = place.zero_loss(offer(flows))?;
        let steady = Offer::at(PPS, LARGE, 2.0 * settings.trial_s).flows(flows);
        let ns = ns_a_datagram(&mcr, &place, steady)?.0;
        Ok::<_, anyhow::Error>((found, ns, backlog::ns_a_datagram(&mcr, &place, flows)?))
    };
    let (one, ns, one_full) = relayed(1, "")?;
    figures.note_rate("1 flow without loss: mcr", Goal::Shown, 1, one);
    figures.note("1 flow, mcr: worker CPU a packet at 150 kpps", "ns", Goal::Shown, ns);
    figures.note("1 flow, mcr: worker CPU a packet, queue full", "ns", Goal::Shown, one_full);
    for (flows, least) in FLOWS {
        let ring = counting::zero_loss(&place, offer(flows))?;
        let what = format!("{flows} flows without loss: a ring that only counts");
        figures.note_rate(what, Goal::Shown, 1, ring);
        for (options, name) in SENDS {
            let (many, ns, ns_full) = relayed(flows, options)?;
            figures.note_rate(format!("{flows} flows without loss: {name}"), Goal::Shown, 1, many);
            let what = format!("{flows} flows, {name}: part of one's rate");
            figures.note(what, "ratio", Goal::Least(least), ratio(many, one));
            let what = format!("{flows} flows, {name}: part of what the ring receives");
            figures.note(what, "ratio", Goal::Shown, ratio(many, ring));
            let what = format!("{flows} flows, {name}: worker CPU a packet at 150 kpps");
            figures.note(what, "ns", Goal::Shown, ns);
            let what = format!("{flows} flows, {name}: worker CPU a packet, queue full");
            figures.note(what, "ns", Goal::Shown, ns_full);
            let what = format!("{flows} flows, {name}: part of one's rate, queue full");
            let goal =
                if flows == FRAMES_ONLY && options.is_empty() { Goal::Shown } else { Goal::Least(least) };
            figures.note(what, "ratio", goal, one_full / ns_full);
        }
    }
    Ok(())
}
