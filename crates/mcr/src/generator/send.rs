//! One run of the generator: packets by schedule, counted.
//!
//! Sequence numbers are given to packets the kernel took: a gap at a receiver is never a send that failed here.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

use super::clock;
use super::header::{self, Stamp};
use super::pacing::{BURST_MAX, Rate, Schedule, Step, packets_within};
use super::stop::Stop;
use super::target::Target;
use super::transmit::{Headers, TransmitError, Transmitter};

const SECOND_NS: u64 = 1_000_000_000;

/// How long after its duration a run may still send what a busy machine kept from leaving in time.
const GRACE_NS: u64 = 50_000_000;

/// When a run ends, unless stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After this many packets were offered.
    Count(NonZeroU64),
    /// After this time.
    Duration(Duration),
    /// Never by itself.
    None,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct SendReport {
    /// Packets the kernel took.
    pub sent: u64,
    /// Packets it refused.
    pub errors: u64,
    /// UDP payload sent, bytes.
    pub bytes: u64,
    /// From the start to the end of the run, seconds.
    pub duration_s: f64,
    /// Packets sent per second of it.
    pub pps: f64,
    /// How they left: `datagrams`, `segmented` or `frames`.
    pub path: &'static str,
    /// The last refusal's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A run's state.
#[derive(Debug)]
pub struct Sender {
    transmitter: Transmitter,
    size: usize,
    rate: Rate,
    /// Next sequence number of each flow.
    sequences: Vec<u64>,
    /// Flow of the next packet.
    turn: usize,
    /// The burst in hand: each packet's flow and sequence, and the payloads end to end.
    flows: Vec<u16>,
    numbers: Vec<u64>,
    payloads: Vec<u8>,
    sent: u64,
    errors: u64,
    last_error: Option<String>,
}

impl Sender {
    /// Gets ready to send to `target`.
    ///
    /// # Errors
    /// When the target or the source cannot be had.
    pub fn open(target: &Target, headers: Headers, rate: Rate) -> Result<Self, TransmitError> {
        let transmitter = Transmitter::open(target, headers, rate.has_bursts())?;
        let burst = BURST_MAX as usize;
        Ok(Self {
            transmitter,
            size: headers.size,
            rate,
            sequences: vec![0; target.flows().into()],
            turn: 0,
            flows: Vec::with_capacity(burst),
            numbers: Vec::with_capacity(burst),
            payloads: vec![0; burst * headers.size],
            sent: 0,
            errors: 0,
            last_error: None,
        })
    }

    /// Sends until the limit or a signal; calls `progress` with packets sent and refused so far each second.
    pub fn run(&mut self, limit: Limit, stop: &Stop, mut progress: impl FnMut(u64, u64)) -> SendReport {
        // Without it low rates are some 50 µs less even; nothing else changes.
        let _ = clock::sharpen_timers();
        let start = clock::monotonic_ns();
        let (count, end) = self.bounds(limit, start);
        let mut schedule = Schedule::new(self.rate, start, self.transmitter.burst_max(), count);
        let mut report_at = start + SECOND_NS;
        while !stop.requested() {
            let now = clock::monotonic_ns();
            if end.is_some_and(|end| now >= end) {
                break;
            }
            if now >= report_at {
                progress(self.sent, self.errors);
                report_at += SECOND_NS;
            }
            match schedule.poll(now) {
                Step::WaitUntil(due) => clock::wait_until(due),
                Step::Send(packets) => self.burst(packets as usize),
                Step::Done => break,
            }
        }
        self.report(clock::monotonic_ns() - start)
    }

    /// The most packets to offer and the time to end at.
    fn bounds(&self, limit: Limit, start: u64) -> (Option<u64>, Option<u64>) {
        match (limit, self.rate) {
            (Limit::Count(count), _) => (Some(count.get()), None),
            (Limit::None, _) => (None, None),
            (Limit::Duration(duration), rate) => {
                let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                let end = start.saturating_add(duration);
                match rate {
                    Rate::PerSecond(rate) => {
                        (Some(packets_within(rate, duration)), Some(end.saturating_add(GRACE_NS)))
                    }
                    Rate::Max => (None, Some(end)),
                }
            }
        }
    }

    fn report(&self, elapsed_ns: u64) -> SendReport {
        let duration_s = Duration::from_nanos(elapsed_ns).as_secs_f64();
        SendReport {
            sent: self.sent,
            errors: self.errors,
            bytes: self.sent * self.size as u64,
            duration_s,
            pps: if duration_s > 0.0 { self.sent as f64 / duration_s } else { 0.0 },
            path: self.transmitter.path_name(),
            last_error: self.last_error.clone(),
        }
    }

    /// Sends `packets` packets, at most [`BURST_MAX`].
    fn burst(&mut self, packets: usize) {
        self.arrange(packets);
        self.fill();
        self.stamp();
        let (mut at, mut left) = (0, packets);
        while left > 0 {
            let payloads = &self.payloads[at * self.size..(at + left) * self.size];
            match self.transmitter.send(&self.flows[at..at + left], payloads) {
                Ok(went) => {
                    for flow in &self.flows[at..at + went] {
                        self.sequences[usize::from(*flow)] += 1;
                    }
                    self.sent += went as u64;
                    at += went;
                    left -= went;
                }
                Err(failed) if failed.error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(failed) => {
                    // The packet keeps its sequence number and is offered again in the next one's place.
                    self.errors += failed.packets as u64;
                    left -= failed.packets.min(left);
                    self.last_error = Some(failed.error.to_string());
                }
            }
        }
    }

    /// Gives the burst's packets their flows, in turn, and sequence numbers.
    fn arrange(&mut self, packets: usize) {
        let count = self.sequences.len();
        self.flows.clear();
        self.numbers.clear();
        if self.transmitter.prefers_runs() {
            for place in 0..count.min(packets) {
                let flow = (self.turn + place) % count;
                let run = (packets - place).div_ceil(count);
                self.flows.extend(std::iter::repeat_n(flow as u16, run));
                self.numbers.extend((self.sequences[flow]..).take(run));
            }
        } else {
            let turns = (self.turn..count).chain((0..count).cycle()).take(packets);
            for (place, flow) in turns.enumerate() {
                self.flows.push(flow as u16);
                self.numbers.push(self.sequences[flow] + (place / count) as u64);
            }
        }
        self.turn = (self.turn + packets) % count;
    }

    fn fill(&mut self) {
        let packets = self.flows.iter().zip(&self.numbers).zip(self.payloads.chunks_exact_mut(self.size));
        for ((flow, sequence), payload) in packets {
            header::fill_pattern(*flow, *sequence, payload);
        }
    }

    /// Writes the headers last, so that the send time is that of the send.
    fn stamp(&mut self) {
        let stamp = Stamp::new(clock::monotonic_ns(), self.size);
        let packets = self.flows.iter().zip(&self.numbers).zip(self.payloads.chunks_exact_mut(self.size));
        for ((flow, sequence), payload) in packets {
            stamp.emit(*flow, *sequence, payload);
        }
    }
}
