//! Where workers run: their cores, the user and the group they become.

use mcast::CoreList;
use rustix::thread::sched_getaffinity;

/// Whom workers run as where the system has no user [`WORKER_USER`], and their group in any case: nobody, on every
/// Linux. The own group of that user is mostly the one whose members may control the daemon, and workers may not.
const NOBODY: (u32, u32) = (65534, 65534);

/// Whom workers run as.
const WORKER_USER: &str = "mcr";

/// Cores that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The process's affinity could not be read.
    #[error("cannot tell which cores are allowed: {0}")]
    Unknown(rustix::io::Errno),
    /// A core named is not there or not allowed.
    #[error(
        "core {core} is not among those mcrd may use ({allowed}): name others with --cores or [worker] cores"
    )]
    NotAllowed {
        /// The core.
        core: u32,
        /// Those that are allowed.
        allowed: String,
    },
}

/// The cores to run a worker on each: those named, else all that are allowed.
pub fn cores(named: Option<&CoreList>) -> Result<Vec<u32>, CoreError> {
    let set = sched_getaffinity(None).map_err(CoreError::Unknown)?;
    let allowed: Vec<u32> =
        (0..).take(rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core as usize)).collect();
    let Some(named) = named else { return Ok(allowed) };
    match named.as_slice().iter().find(|core| !allowed.contains(core)) {
        None => Ok(named.as_slice().to_vec()),
        Some(&core) => {
            let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            Err(CoreError::NotAllowed { core, allowed })
        }
    }
}

/// User and group id workers become.
pub fn worker_user() -> (u32, u32) {
    match nix::unistd::User::from_name(WORKER_USER) {
        Ok(Some(user)) => (user.uid.as_raw(), NOBODY.1),
        Ok(None) => NOBODY,
        Err(error) => {
            tracing::warn!(
                "user {WORKER_USER} was not looked up, so workers run as uid {}: {error}",
                NOBODY.0
            );
            NOBODY
        }
    }
}
