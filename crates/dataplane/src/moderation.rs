//! When a worker lets frames gather before it reads its rings again, as a network card does with its interrupts: only while
//! so many come that a run of them costs no more delay than the wait, and for a bounded time.
//!
//! It knows the rate by the times of arrival that the kernel stamps, so that no clock is read.

use std::time::Duration;

/// Frames over which the rate is taken: few enough to follow a change within milliseconds.
const WINDOW_FRAMES: usize = 256;

/// And the longest it is taken over: a window of frames as slow as those that end the waiting.
const WINDOW_MAX: Duration = END_ABOVE.checked_mul(WINDOW_FRAMES as u32).unwrap();

/// Frames come faster than this before a worker begins to wait: a run then has several.
const BEGIN_BELOW: Duration = Duration::from_micros(8);

/// And slower than this before it ceases to.
const END_ABOVE: Duration = Duration::from_micros(10);

/// Frames of one reading above which the next begins at once: a run is long enough.
const RUN_FRAMES: usize = 64;

/// One worker's waiting.
#[derive(Debug)]
pub struct Moderation {
    wait_max: Duration,
    /// When the window began; absent before its first frame.
    since: Option<Duration>,
    /// Frames in it.
    frames: usize,
    fast: bool,
}

impl Moderation {
    /// Waits of `wait_max` each; none where it is zero.
    pub fn new(wait_max: Duration) -> Self {
        Self { wait_max, since: None, frames: 0, fast: false }
    }

    /// Takes note of a reading of all rings that found `frames`, the last of which arrived at `arrived` since whatever
    /// epoch.
    pub fn note(&mut self, frames: usize, arrived: Duration) {
        let Some(since) = self.since else {
            self.since = Some(arrived);
            return;
        };
        self.frames += frames;
        // After a clock was set back it is not known, and waiting ends.
        let took = arrived.checked_sub(since);
        // It comes in bursts with nothing between them, so that only time tells that no more comes as fast.
        if self.frames < WINDOW_FRAMES && took.is_some_and(|took| took < WINDOW_MAX) {
            return;
        }
        let limit = if self.fast { END_ABOVE } else { BEGIN_BELOW };
        self.fast = took.is_some_and(|took| took < limit * (self.frames as u32));
        (self.since, self.frames) = (Some(arrived), 0);
    }

    /// How long to let frames gather after a reading that found so many; `None`: not at all.
    pub fn wait(&self, frames: usize) -> Option<Duration> {
        (self.fast && (1..RUN_FRAMES).contains(&frames) && !self.wait_max.is_zero()).then_some(self.wait_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_micros(50);

    /// A stream of readings of four frames each.
    struct Stream {
        moderation: Moderation,
        now: Duration,
    }

    impl Stream {
        /// Goes on with frames so many microseconds apart.
        fn goes_on(&mut self, apart: u64) -> Option<Duration> {
            for _ in 0..300 {
                self.now += Duration::from_micros(4 * apart);
                self.moderation.note(4, self.now);
            }
            self.moderation.wait(4)
        }
    }

    fn stream(wait_max: Duration) -> Stream {
        Stream { moderation: Moderation::new(wait_max), now: Duration::from_secs(1_800_000_000) }
    }

    #[test]
    fn waits_while_frames_come_fast() {
        let mut stream = stream(WAIT);
        assert_eq!(stream.goes_on(20), None);
        assert_eq!(stream.goes_on(9), None);
        assert_eq!(stream.goes_on(3), Some(WAIT));
        assert_eq!(stream.moderation.wait(RUN_FRAMES), None, "long enough");
        assert_eq!(stream.moderation.wait(0), None, "nothing comes");
        assert_eq!(stream.goes_on(9), Some(WAIT), "still");
        assert_eq!(stream.goes_on(20), None, "no more");
    }

    #[test]
    fn silence_ends_it_and_so_does_a_clock_set_back() {
        let mut stream = stream(WAIT);
        assert_eq!(stream.goes_on(1), Some(WAIT));
        stream.now -= Duration::from_secs(1000);
        stream.moderation.note(WINDOW_FRAMES, stream.now);
        assert_eq!(stream.moderation.wait(4), None);
        assert_eq!(stream.goes_on(1), Some(WAIT));
        stream.now += Duration::from_secs(1);
        stream.moderation.note(1, stream.now);
        assert_eq!(stream.moderation.wait(4), None);
    }

    #[test]
    fn none_is_asked_for() {
        assert_eq!(stream(Duration::ZERO).goes_on(1), None);
    }
}
