//! The file's `[worker]` table: how the processes that move packets run.

use std::num::NonZeroU16;

use crate::CoreList;

/// Options of the workers; absent ones are the daemon's to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The cores that get a worker each; absent: all the daemon may run on.
    pub cores: Option<CoreList>,
    /// Size of each worker's ingress ring in MiB; absent: [`RING_MIB_DEFAULT`](Self::RING_MIB_DEFAULT).
    pub ring_mib: Option<NonZeroU16>,
    /// Whether workers poll without sleeping; absent: they sleep.
    pub busy_poll: Option<bool>,
    /// Longest wait for more packets while they come fast, in microseconds, 0 for none; absent:
    /// [`MAX_WAIT_US_DEFAULT`](Self::MAX_WAIT_US_DEFAULT).
    pub max_wait_us: Option<u16>,
}

impl WorkerOptions {
    /// Ring size in MiB where none is given. It bounds both memory and the worst queueing delay.
    pub const RING_MIB_DEFAULT: NonZeroU16 = const { NonZeroU16::new(32).unwrap() };

    /// Wait in microseconds where none is given.
    pub const MAX_WAIT_US_DEFAULT: u16 = 200;

    /// Longest wait in microseconds.
    pub const MAX_WAIT_US_MAX: u16 = 1000;

    /// Largest ring in MiB.
    pub const RING_MIB_MAX: u16 = 1024;

    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
