//! When a trial is over: all is there, nothing more comes, or what still comes is too late (RFC 2544, section 23).

use std::time::Duration;

use super::listener::Heard;

/// A device that was silent for so long has sent all it held.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

/// How much longer receivers may read what came by then.
const READING_MAX: Duration = Duration::from_secs(20);

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All that was offered is there.
    Complete,
    /// Nothing more comes.
    Silent,
    /// Packets still come, too late to count.
    Late,
    /// Receivers have not read what came.
    Unread,
}

/// How a trial has ended at `now_ns` that offered its last packet at `from_ns`, expects so many and waits for them for
/// `residual`; `None`: it has not.
pub(super) fn end(
    heard: &[Heard],
    expected: u64,
    residual: Duration,
    from_ns: u64,
    now_ns: u64,
) -> Option<End> {
    if heard.iter().map(|heard| heard.distinct).sum::<u64>() >= expected {
        Some(End::Complete)
    } else if since(from_ns, read_ns(heard)) >= residual {
        Some(if silence(heard, from_ns) >= SILENCE { End::Silent } else { End::Late })
    } else if since(from_ns, now_ns) >= residual + READING_MAX {
        Some(End::Unread)
    } else {
        None
    }
}

/// How long after `from_ns` and the last packet nothing came. What lies unread in a ring is no silence.
pub(super) fn silence(heard: &[Heard], from_ns: u64) -> Duration {
    let last_ns = heard.iter().map(|heard| heard.last_ns).max().unwrap_or_default();
    since(last_ns.max(from_ns), read_ns(heard))
}

/// From one moment to another, nothing where it is before that.
pub(super) fn since(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}

/// Until when every receiver has read what came.
fn read_ns(heard: &[Heard]) -> u64 {
    heard.iter().map(|heard| heard.read_ns).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn heard(distinct: u64, last_ns: u64, read_ns: u64) -> Heard {
        Heard { distinct, last_ns, read_ns }
    }

    #[test]
    fn what_lies_unread_is_no_silence() {
        let heard = |last_ns, read_ns| heard(1, last_ns, read_ns);
        assert_eq!(silence(&[heard(10, 30), heard(15, 40)], 5), Duration::from_nanos(15));
        assert_eq!(silence(&[heard(10, 30), heard(15, 12)], 5), Duration::ZERO, "the second still reads");
        assert_eq!(silence(&[heard(10, 30)], 25), Duration::from_nanos(5), "not before it was asked from");
    }

    /// A trial that offered its last packet at 100 s and expects ten, as it stands so many seconds later.
    #[test]
    fn a_trial_ends_once_it_is_known_how() {
        let waiting = |seconds: f64, distinct, last, read, now| {
            let ns = |after: f64| 100 * SECOND_NS + (after * SECOND_NS as f64) as u64;
            let heard = heard(distinct, ns(last), ns(read));
            end(&[heard], 10, Duration::from_secs_f64(seconds), ns(0.0), ns(now))
        };
        let at = |distinct, last, read, now| waiting(2.0, distinct, last, read, now);
        assert_eq!(at(10, 0.1, 0.1, 0.1), Some(End::Complete));
        assert_eq!(at(9, 0.1, 1.9, 1.9), None, "a device may hold them for so long");
        assert_eq!(at(9, 0.1, 2.0, 2.0), Some(End::Silent));
        assert_eq!(at(9, 1.9, 2.0, 2.0), Some(End::Late), "they still come");
        assert_eq!(at(9, 0.1, 0.2, 21.0), None, "who knows what lies unread");
        assert_eq!(at(9, 0.1, 0.2, 22.0), Some(End::Unread));
        assert_eq!(waiting(0.5, 9, 0.0, 0.5, 0.5), Some(End::Silent));
        assert_eq!(waiting(0.001, 9, 0.0, 0.001, 0.001), Some(End::Late), "who knows what it holds");
        assert_eq!(waiting(5.0, 9, 0.1, 4.9, 4.9), None);
    }
}
