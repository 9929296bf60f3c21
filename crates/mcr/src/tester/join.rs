//! Group join and leave delay (RFC 3918, section 6): from a rule change or a membership to the first packet at each
//! output, and from its end to the last, while traffic flows evenly.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::LOAD;
use super::bed::Bed;
use super::error::TesterError;
use super::figures::Spread;
use super::probe::some_of;
use super::progress;
use super::session::Session;
use super::step::Step;
use crate::generator::clock;
use crate::generator::pacing::{Rate, packets_within};

/// Without a packet for this long, or for so many that were due of each flow, nothing comes any more.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_PACKETS: u32 = 5;

const POLL: Duration = Duration::from_millis(5);

/// One join and the leave after it: a number for each flow at each output, microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From the start of the join command, or of the join itself, to the first packet.
    pub join_us: Vec<f64>,
    /// From the command's end; negative where the packet was first. Empty without a command.
    pub join_from_end_us: Vec<f64>,
    /// From the start of the leave to the last packet; 0 where that came before: then it took less than the time
    /// between two packets.
    pub leave_us: Vec<f64>,
    /// From the leave command's end; negative where the packet was first. Empty without a command.
    pub leave_from_end_us: Vec<f64>,
}

/// The delays of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Delays {
    /// Of what.
    #[serde(flatten)]
    pub step: Step,
    /// Packets per second offered, all flows together.
    pub load_pps: u64,
    /// The time between two packets of a flow: no delay is known better. Microseconds.
    pub resolution_us: f64,
    /// `command`, or `membership` for the receivers' own joins.
    pub by: &'static str,
    /// Over all flows, outputs and repeats, microseconds.
    pub join_us: Option<Spread>,
    /// From the command's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_from_end_us: Option<Spread>,
    /// From the leave to the last packet; 0: less than `resolution_us`.
    pub leave_us: Option<Spread>,
    /// From the command's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave_from_end_us: Option<Spread>,
    /// Each repeat.
    pub rounds: Vec<Round>,
    /// Why there is no result, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// When a change began at each receiver, and when its command ended.
struct Change {
    began_ns: Vec<u64>,
    ended_ns: Option<u64>,
}

/// Measures all steps; on an interruption those so far.
pub(super) fn measure(session: &Session<'_>) -> Vec<Delays> {
    let steps = session.steps();
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let place = format!("[{}/{}] {step}", at + 1, steps.len());
        let mut measured = Vec::new();
        let error = rounds(session, step, &place, &mut measured).err();
        if let Some(error) = &error {
            progress::failure(&place, error);
        }
        let interrupted = matches!(error, Some(TesterError::Interrupted));
        if !(interrupted && measured.is_empty()) {
            results.push(summary(session, step, measured, error.as_ref()));
        }
        if interrupted {
            break;
        }
    }
    results
}

fn load(session: &Session<'_>) -> u64 {
    session.loads(LOAD).first().map_or(LOAD, |load| load.get())
}

fn interval(session: &Session<'_>, step: &Step) -> Duration {
    Duration::from_secs_f64(f64::from(step.groups) / load(session) as f64)
}

fn rounds(
    session: &Session<'_>,
    step: &Step,
    place: &str,
    measured: &mut Vec<Round>,
) -> Result<(), TesterError> {
    let mut bed = session.open(step)?;
    let quiet = QUIET.max(interval(session, step) * QUIET_PACKETS);
    let rate = session.loads(LOAD)[0];
    let offering = bed.offer(Rate::PerSecond(rate), false)?;
    std::thread::sleep(quiet);
    if bed.last_ns()? > 0 {
        return Err(TesterError::Unexpected(
            "packets arrive before the first join: the set-up has to leave the device as after a leave"
                .into(),
        ));
    }
    let made = (0..session.options.repeat.get()).try_for_each(|_| {
        let round = round(session, &bed, step, quiet)?;
        progress::note(place, &said(&round, interval(session, step)));
        measured.push(round);
        Ok(())
    });
    let offered = offering.end()?;
    // While it offers the sender cannot be asked; where it was kept from it no round says anything.
    let due = packets_within(rate, offered.elapsed_ns);
    let in_full = || offered.shortfall(due).map_or(Ok(()), |why| Err(TesterError::Limited(why)));
    if let Err(kept) = bed.check_links().and_then(|()| offered.check_times()).and_then(|()| in_full()) {
        measured.clear();
        return Err(kept);
    }
    made
}

/// One join and one leave.
fn round(session: &Session<'_>, bed: &Bed, step: &Step, quiet: Duration) -> Result<Round, TesterError> {
    bed.forget()?;
    let joined = change(session, bed, step, true)?;
    wait_first(session, bed)?;
    let (join_us, join_from_end_us) = delays(bed, &joined, |span| span.first_ns)?;
    let left = change(session, bed, step, false)?;
    wait_last(session, bed, quiet)?;
    let (leave_us, leave_from_end_us) = delays(bed, &left, |span| span.last_ns)?;
    Ok(Round { join_us, join_from_end_us, leave_us, leave_from_end_us })
}

/// Joins or leaves, by command or by membership.
fn change(session: &Session<'_>, bed: &Bed, step: &Step, join: bool) -> Result<Change, TesterError> {
    let (what, command) =
        if join { ("join", &session.options.join) } else { ("leave", &session.options.leave) };
    match command {
        Some(command) => {
            let ran = session.command(what, command, step)?;
            Ok(Change { began_ns: vec![ran.began_ns; bed.receivers()], ended_ns: Some(ran.ended_ns) })
        }
        None => Ok(Change { began_ns: bed.set_joined(join)?, ended_ns: None }),
    }
}

/// Waits for a packet of each flow at each output.
fn wait_first(session: &Session<'_>, bed: &Bed) -> Result<(), TesterError> {
    let until = Instant::now() + session.options.wait;
    loop {
        let missing = bed.missing()?;
        if missing.is_empty() {
            return Ok(());
        }
        bed.check_stop()?;
        if Instant::now() >= until {
            let seconds = session.options.wait.as_secs_f64();
            return Err(TesterError::Unexpected(format!(
                "within {seconds} s of the join nothing came of {}: does the join make the device forward it?",
                some_of(&missing)
            )));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until no packet has come for `quiet`.
fn wait_last(session: &Session<'_>, bed: &Bed, quiet: Duration) -> Result<(), TesterError> {
    let (start_ns, until) = (clock::monotonic_ns(), Instant::now() + session.options.wait + quiet);
    loop {
        if bed.silence(start_ns)? >= quiet {
            return Ok(());
        }
        bed.check_stop()?;
        if Instant::now() >= until {
            let seconds = session.options.wait.as_secs_f64();
            return Err(TesterError::Unexpected(format!(
                "{seconds} s after the leave packets still come: does the leave make the device stop?"
            )));
        }
        std::thread::sleep(POLL);
    }
}

/// From the change's begin, and from its end, to a time of each flow at each output.
fn delays(
    bed: &Bed,
    change: &Change,
    time: fn(&super::listener::Span) -> u64,
) -> Result<(Vec<f64>, Vec<f64>), TesterError> {
    let us = |from: u64, to: u64| (i128::from(to) - i128::from(from)) as f64 / 1000.0;
    let (mut from_begin, mut from_end) = (Vec::new(), Vec::new());
    for (receiver, began_ns) in bed.spans()?.iter().zip(&change.began_ns) {
        for at_ns in receiver.iter().flatten().map(time) {
            from_begin.push(us(*began_ns, at_ns).max(0.0));
            from_end.extend(change.ended_ns.map(|ended_ns| us(ended_ns, at_ns)));
        }
    }
    Ok((from_begin, from_end))
}

fn said(round: &Round, resolution: Duration) -> String {
    let ms = |values: &[f64]| Spread::of(values).map_or(0.0, |spread| spread.median / 1000.0);
    let end = |values: &[f64]| match values {
        [] => String::new(),
        values => format!(" ({:.3} ms from the command's end)", ms(values)),
    };
    let left = match ms(&round.leave_us) {
        0.0 => {
            format!("none after the leave, which took less than {:.3} ms", resolution.as_secs_f64() * 1000.0)
        }
        leave => format!("last {leave:.3} ms after the leave{}", end(&round.leave_from_end_us)),
    };
    format!("first packet after {:.3} ms{}, {left}", ms(&round.join_us), end(&round.join_from_end_us))
}

fn summary(session: &Session<'_>, step: &Step, rounds: Vec<Round>, error: Option<&TesterError>) -> Delays {
    let spread = |values: fn(&Round) -> &Vec<f64>| {
        Spread::of(&rounds.iter().flat_map(|round| values(round).iter().copied()).collect::<Vec<_>>())
    };
    Delays {
        step: step.clone(),
        load_pps: load(session),
        resolution_us: interval(session, step).as_secs_f64() * 1e6,
        by: if session.options.join.is_some() { "command" } else { "membership" },
        join_us: spread(|round| &round.join_us),
        join_from_end_us: spread(|round| &round.join_from_end_us),
        leave_us: spread(|round| &round.leave_us),
        leave_from_end_us: spread(|round| &round.leave_from_end_us),
        error: error.map(ToString::to_string),
        rounds,
    }
}
