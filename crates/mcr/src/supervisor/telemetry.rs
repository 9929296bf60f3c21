//! Counters to totals, rates and trends: all that operators are shown of traffic is made here from what
//! workers count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dataplane::counters::{Counters, LegCounter, RuleCounter, WorkerCounter};
use dataplane::drop_reason::{DropReason, Ledger};
use rustix::io::Errno;

use super::rings::Rings;
use crate::api::model::Totals;

/// Ticks without a refusal after which a failing leg counts as sound again: ICMP errors come back at most
/// once a second (`icmp_ratelimit`), and often later.
const SOUND_TICKS: u32 = 3;

/// One worker's counters and rings, which outlive its processes.
#[derive(Debug)]
pub struct Measured {
    /// What its processes count.
    pub counters: Counters,
    /// Where losses before them are counted.
    pub rings: Rings,
}

/// What is counted of a rule or leg, summed over workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams relayed (rule) or sent (leg).
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// Datagrams the kernel refused.
    pub errors: u64,
    /// ICMP errors that came back.
    pub unreachable: u64,
    /// Datagrams whose TTL was used up.
    pub ttl: u64,
    /// Datagrams that came while the leg was pending.
    pub pending: u64,
    /// Whether the device refused segmentation offload.
    pub gso_off: bool,
}

/// How a rule or leg has done since the tick before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trend {
    count: Count,
    /// Datagrams a second.
    pub pps: u64,
    /// Payload bits a second.
    pub bps: u64,
    /// Why nothing gets through, as an error number, while that is so.
    pub failing: Option<i32>,
    /// Why the kernel refuses some of what is sent, or all, as an error number, while it does and for some ticks more.
    pub losing: Option<i32>,
    /// Whether segmentation offload was refused since.
    pub gso_went_off: bool,
    sound_ticks: u32,
    /// Ticks without a refusal.
    quiet_ticks: u32,
}

/// All workers' counters and what is derived from them.
#[derive(Debug)]
pub struct Telemetry {
    workers: Vec<Measured>,
    trends: HashMap<u32, Trend>,
    last: Totals,
    last_tick: Instant,
    /// Frames lost for want of room between the last two ticks.
    lost_before: u64,
}

impl Telemetry {
    /// Starts at zero.
    pub fn new(workers: Vec<Measured>) -> Self {
        Self {
            workers,
            trends: HashMap::new(),
            last: Totals::default(),
            last_tick: Instant::now(),
            lost_before: 0,
        }
    }

    /// The workers' counters and rings.
    pub fn workers(&self) -> &[Measured] {
        &self.workers
    }

    /// One worker's ledger and losses: `recv`, `matched`, …, `bytes`.
    fn worker_totals(&mut self, worker: usize) -> Totals {
        let Some(Measured { counters, rings }) = self.workers.get_mut(worker) else {
            return Totals::default();
        };
        let lost = rings.lost();
        let ledger = |ledger| {
            let of = DropReason::ALL.iter().filter(|reason| reason.ledger() == ledger);
            of.map(|reason| counters.dropped(*reason)).sum::<u64>()
        };
        Totals {
            recv: counters.worker(WorkerCounter::Received) + lost,
            matched: counters.worker(WorkerCounter::Matched),
            parse_err: ledger(Ledger::ParseErr),
            no_match: ledger(Ledger::NoMatch),
            buf_exhaust: ledger(Ledger::BufExhaust) + lost,
            sent: counters.worker(WorkerCounter::Sent),
            submitted: counters.worker(WorkerCounter::Submitted),
            errors: counters.worker(WorkerCounter::Errors),
            bytes: counters.worker(WorkerCounter::Bytes),
        }
    }

    /// Each worker's ledger and losses, at one moment.
    pub fn each_worker(&mut self) -> Vec<Totals> {
        (0..self.workers.len()).map(|worker| self.worker_totals(worker)).collect()
    }

    /// Both ledgers over all workers.
    pub fn sum(each: &[Totals]) -> Totals {
        each.iter().fold(Totals::default(), |a, b| Totals {
            recv: a.recv + b.recv,
            matched: a.matched + b.matched,
            parse_err: a.parse_err + b.parse_err,
            no_match: a.no_match + b.no_match,
            buf_exhaust: a.buf_exhaust + b.buf_exhaust,
            sent: a.sent + b.sent,
            submitted: a.submitted + b.submitted,
            errors: a.errors + b.errors,
            bytes: a.bytes + b.bytes,
        })
    }

    /// Frames lost for want of room: since the start, and of those in the last one to two seconds.
    pub fn losses(&mut self) -> (u64, u64) {
        let lost = Self::sum(&self.each_worker()).buf_exhaust;
        (lost, self.lost_before + lost.saturating_sub(self.last.buf_exhaust))
    }

    /// Datagrams that matched a rule.
    pub fn matched(&self, slot: u32) -> u64 {
        self.workers.iter().map(|w| w.counters.rule(slot, RuleCounter::Matched)).sum()
    }

    /// A rule's count.
    pub fn rule(&self, slot: u32) -> Count {
        let sum = |counter| self.workers.iter().map(|w| w.counters.rule(slot, counter)).sum();
        Count { packets: sum(RuleCounter::Relayed), bytes: sum(RuleCounter::Bytes), ..Count::default() }
    }

    /// A leg's count.
    pub fn leg(&self, slot: u32) -> Count {
        let sum = |counter| self.workers.iter().map(|w| w.counters.leg(slot, counter)).sum();
        Count {
            packets: sum(LegCounter::Sent),
            bytes: sum(LegCounter::Bytes),
            errors: sum(LegCounter::Errors),
            unreachable: sum(LegCounter::Unreachable),
            ttl: sum(LegCounter::Ttl),
            pending: sum(LegCounter::Pending),
            gso_off: sum(LegCounter::GsoOff) > 0,
        }
    }

    /// How a slot has done since the tick before.
    pub fn trend(&self, slot: u32) -> Trend {
        self.trends.get(&slot).copied().unwrap_or_default()
    }

    /// Forgets a slot that was given up, before it goes to another rule or leg.
    pub fn clear(&mut self, slot: u32) {
        self.workers.iter().for_each(|worker| worker.counters.clear_slot(slot));
        self.trends.remove(&slot);
    }

    /// Takes stock of these rules' and legs' slots; answers the STATS lines.
    pub fn tick(&mut self, rules: impl Iterator<Item = u32>, legs: impl Iterator<Item = u32>) -> String {
        let elapsed = self.last_tick.elapsed();
        self.last_tick = Instant::now();
        let mut trends = HashMap::with_capacity(self.trends.len());
        for slot in rules {
            trends.insert(slot, self.trend(slot).after(self.rule(slot), elapsed, || 0));
        }
        for slot in legs {
            trends.insert(slot, self.trend(slot).after(self.leg(slot), elapsed, || self.last_error(slot)));
        }
        self.trends = trends;
        self.lines(elapsed)
    }

    fn lines(&mut self, elapsed: Duration) -> String {
        let now = Self::sum(&self.each_worker());
        let recv_pps = rate(now.recv.saturating_sub(self.last.recv), elapsed);
        let sent_pps = rate(now.sent.saturating_sub(self.last.sent), elapsed);
        self.lost_before = now.buf_exhaust.saturating_sub(self.last.buf_exhaust);
        self.last = now;
        let Totals { recv, matched, parse_err, no_match, buf_exhaust, sent, submitted, errors, bytes } = now;
        format!(
            "[STATS:Ingress] recv={recv} matched={matched} parse_err={parse_err} no_match={no_match} \
             buf_exhaust={buf_exhaust} ({recv_pps} pps)\n\
             [STATS:Egress] sent={sent} submitted={submitted} errors={errors} bytes={bytes} ({sent_pps} pps)\n"
        )
    }

    fn last_error(&self, slot: u32) -> i32 {
        let errors = self.workers.iter().map(|w| w.counters.leg(slot, LegCounter::LastError));
        errors.max().and_then(|errno| i32::try_from(errno).ok()).unwrap_or(0)
    }
}

impl Trend {
    fn after(self, count: Count, elapsed: Duration, last_error: impl Fn() -> i32) -> Self {
        // A slot handed to another leg starts again at zero.
        let before = if count.packets < self.count.packets { Self::default() } else { self };
        let packets = count.packets - before.count.packets;
        let errors = count.errors.saturating_sub(before.count.errors);
        let unreachable = count.unreachable.saturating_sub(before.count.unreachable);
        let bits = 8 * count.bytes.saturating_sub(before.count.bytes);
        let last_error = || Some(last_error());
        // A path's MTU that was learnt cost one datagram, and what follows is cut to it.
        let learnt = || packets > 0 && last_error() == Some(Errno::MSGSIZE.raw_os_error());
        let fails = (unreachable > 0 && !learnt()) || (errors > 0 && packets == 0);
        let sound_ticks = if fails { 0 } else { before.sound_ticks + u32::from(packets > 0) };
        let failing = if fails { last_error() } else { before.failing.filter(|_| sound_ticks < SOUND_TICKS) };
        let quiet_ticks = if errors > 0 { 0 } else { before.quiet_ticks.saturating_add(1) };
        let losing =
            if errors > 0 { last_error() } else { before.losing.filter(|_| quiet_ticks < SOUND_TICKS) };
        Self {
            count,
            pps: rate(packets, elapsed),
            bps: rate(bits, elapsed),
            failing,
            losing,
            quiet_ticks,
            gso_went_off: count.gso_off && !before.count.gso_off,
            sound_ticks,
        }
    }
}

/// A count over a time as a rounded number a second.
fn rate(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(1e-3)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn count(packets: u64, errors: u64, unreachable: u64) -> Count {
        Count { packets, errors, unreachable, bytes: 100 * packets, ..Count::default() }
    }

    #[test]
    fn rates_are_differences_over_time() {
        let trend =
            Trend::default().after(count(10, 0, 0), SECOND, || 0).after(count(40, 0, 0), SECOND / 2, || 0);
        assert_eq!((trend.pps, trend.bps), (60, 48_000));
    }

    #[test]
    fn a_slot_that_is_given_up_takes_nothing_to_its_next_leg() {
        let mut telemetry = Telemetry::new(Vec::new());
        telemetry.trends.insert(1, Trend { failing: Some(libc_enobufs()), ..Trend::default() });
        telemetry.clear(1);
        assert_eq!(telemetry.trend(1), Trend::default());
    }

    #[test]
    fn a_leg_fails_until_it_has_sent_for_some_ticks() {
        let refused = Trend::default().after(count(0, 5, 0), SECOND, libc_enobufs);
        assert_eq!(refused.failing, Some(libc_enobufs()));
        let idle = refused.after(count(0, 5, 0), SECOND, || 0);
        assert_eq!(idle.failing, Some(libc_enobufs()), "an idle tick proves nothing");
        let mut trend = idle;
        for tick in 1..=SOUND_TICKS {
            assert!(trend.failing.is_some());
            trend = trend.after(count(tick.into(), 5, 0), SECOND, || 0);
        }
        assert_eq!(trend.failing, None);
    }

    #[test]
    fn losing_some_is_not_failing_and_icmp_errors_are() {
        let some = Trend::default().after(count(5, 5, 0), SECOND, || 1);
        assert_eq!((some.failing, some.losing), (None, Some(1)));
        let icmp = some.after(count(9, 5, 1), SECOND, || 111);
        assert_eq!((icmp.failing, icmp.losing), (Some(111), Some(1)));
        let quiet = (10..12).fold(icmp, |trend, packets| trend.after(count(packets, 5, 1), SECOND, || 111));
        assert_eq!(quiet.losing, None, "for some ticks");
    }

    #[test]
    fn a_path_mtu_that_was_learnt_is_no_failure() {
        let too_long = || Errno::MSGSIZE.raw_os_error();
        assert_eq!(Trend::default().after(count(9, 0, 1), SECOND, too_long).failing, None);
        assert_eq!(Trend::default().after(count(0, 1, 0), SECOND, too_long).failing, Some(too_long()));
    }

    fn libc_enobufs() -> i32 {
        Errno::NOBUFS.raw_os_error()
    }
}
