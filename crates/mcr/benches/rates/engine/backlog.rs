//! What a worker does at its best: it is held back until its queue is nearly full, and then let go with nobody to wait for
//! and nobody beside it. What the sender can offer is no limit here.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::offer::Offer;
use crate::place::Place;
use crate::relay::Mcr;
use crate::settings::LARGE;

/// How often.
const TIMES: u32 = 5;

/// Datagrams that wait then, of the 12,288 that the queue has room for, and how fast they come.
const WAITING: u64 = 12_000;
const PPS: u64 = 150_000;

/// What one of them takes of the worker's time, nanoseconds, where they are of so many flows in turn.
pub(super) fn ns_a_datagram(mcr: &Mcr, place: &Place, flows: u16) -> Result<f64> {
    let offer = Offer::at(PPS, LARGE, WAITING as f64 / PPS as f64).flows(flows);
    let pid = i32::try_from(mcr.worker()?).ok().and_then(Pid::from_raw).context("the worker's process")?;
    let ((), ns) = mcr.ns_a_datagram(|| {
        for _ in 0..TIMES {
            let outcome = place.offer_while(offer, || Held::new(pid))?;
            outcome.offered.in_full()?;
            let lost = outcome.lost();
            ensure!(lost == 0, "{lost} of {} were lost by a queue that has room for them", outcome.expected);
        }
        Ok(())
    })?;
    eprintln!("    {flows} flows, {WAITING} waiting: {ns:.0} ns for each");
    Ok(ns)
}

/// A process that does nothing until this is dropped.
struct Held(Pid);

impl Held {
    fn new(pid: Pid) -> Result<Self> {
        kill_process(pid, Signal::STOP).context("hold the worker back")?;
        Ok(Self(pid))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended is missed by what follows.
        let _ = kill_process(self.0, Signal::CONT);
    }
}
