//! One endpoint's flows, served in turn: each packet numbered, filled, stamped and handed to the kernel.
//!
//! Sequence numbers are given to packets the kernel took: a gap at a receiver is never a send that failed here.

use std::io;

use super::clock;
use super::header::{self, Stamp};
use super::pacing::BURST_MAX;
use super::target::Target;
use super::transmit::{Headers, TransmitError, Transmitter};

/// The flows of one target and what was sent of them.
#[derive(Debug)]
pub struct Lane {
    transmitter: Transmitter,
    size: usize,
    /// Next sequence number of each flow.
    sequences: Vec<u64>,
    /// Flow of the next packet.
    turn: usize,
    /// The burst in hand: each packet's flow and sequence, and the payloads end to end.
    flows: Vec<u16>,
    numbers: Vec<u64>,
    payloads: Vec<u8>,
    burst_max: u64,
    sent: u64,
    errors: u64,
    last_error: Option<String>,
}

impl Lane {
    /// Gets ready to send to `target`; `bursts` says that packets come many at a time. No payload will be longer
    /// than `headers.size`.
    ///
    /// # Errors
    /// When the target or the source cannot be had.
    pub fn open(target: &Target, headers: Headers, bursts: bool) -> Result<Self, TransmitError> {
        let transmitter = Transmitter::open(target, headers, bursts)?;
        let burst = BURST_MAX as usize;
        Ok(Self {
            burst_max: transmitter.burst_max(),
            transmitter,
            size: headers.size,
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

    /// Starts a new count: each flow's next packet has the number `first`.
    pub fn start_at(&mut self, first: u64) {
        self.sequences.fill(first);
        self.turn = 0;
        (self.sent, self.errors, self.last_error) = (0, 0, None);
    }

    /// From here on payloads have `size` bytes, at most those the lane was opened with.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_size(&mut self, size: usize) -> io::Result<()> {
        if size != self.size {
            self.transmitter.set_size(size)?;
            self.size = size;
        }
        Ok(())
    }

    /// Most packets a burst should have: all of them in one call where that is possible.
    pub fn burst_max(&self) -> u64 {
        self.burst_max
    }

    /// Packets the kernel took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Packets it refused.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// The last refusal's text.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Next sequence number of each flow.
    pub fn sequences(&self) -> &[u64] {
        &self.sequences
    }

    /// How packets leave, for reports.
    pub fn path_name(&self) -> &'static str {
        self.transmitter.path_name()
    }

    /// Sends `packets` packets, at most [`BURST_MAX`].
    pub fn burst(&mut self, packets: usize) {
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
                Err(failed) if failed.error.kind() == io::ErrorKind::Interrupted => {}
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
