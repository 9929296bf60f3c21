//! Open files: as many as there may be, and some that rules may not use up.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What the daemon needs itself with every rule in force: a table's memory, the configuration, a worker's start and
/// clients' connections. Descriptors are given out from the lowest, so these are the last.
const RESERVE: u64 = 64;

/// Thousands of memberships and legs take hundreds of sockets.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("cannot raise the limit of open files: {error}");
    }
}

/// Keeps a socket that a rule needs, unless it is one of the last.
///
/// # Errors
/// EMFILE, as if the limit were that much lower; the socket is closed.
pub fn spare<T: AsFd>(socket: T) -> io::Result<T> {
    let last = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let number = u64::from(socket.as_fd().as_raw_fd().unsigned_abs());
    if number.saturating_add(RESERVE) >= last { Err(Errno::MFILE.into()) } else { Ok(socket) }
}
