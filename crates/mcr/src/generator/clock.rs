//! The clock send times are read from, and waiting on it.

use std::io;
use std::num::NonZeroU64;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// A wait ends this much early to be finished by spinning: what a timer's wake-up takes on a busy machine.
const SPIN_NS: u64 = 50_000;

/// Longest a wait sleeps at once, so that a caller sees a signal soon.
const SLEEP_MAX_NS: u64 = 100_000_000;

/// `CLOCK_MONOTONIC`, nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// How far `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`, nanoseconds: what turns the kernel's packet times into
/// send times' clock. It changes only when the wall clock is set or slewed.
pub fn realtime_lead_ns() -> u64 {
    let realtime = nanoseconds(clock_gettime(ClockId::Realtime));
    realtime.saturating_sub(monotonic_ns())
}

/// Waits until `due_ns` or for a tenth of a second, whichever is first: asleep as long as a timer is exact
/// enough, then spinning.
pub fn wait_until(due_ns: u64) {
    let now = monotonic_ns();
    let sleep_until = due_ns.saturating_sub(SPIN_NS).min(now + SLEEP_MAX_NS);
    if sleep_until > now {
        // Interrupted or refused, the spin below or the caller's next wait takes over.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &timespec(sleep_until));
    }
    if due_ns.saturating_sub(SPIN_NS) <= now + SLEEP_MAX_NS {
        while monotonic_ns() < due_ns {
            std::hint::spin_loop();
        }
    }
}

/// Makes this thread's timers fire on time: the default lets them lag 50 µs to save wake-ups.
///
/// # Errors
/// What `prctl` reported.
pub fn sharpen_timers() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.cast_unsigned() * SECOND_NS + time.tv_nsec.cast_unsigned()
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / SECOND_NS).cast_signed(), tv_nsec: (ns % SECOND_NS).cast_signed() }
}
