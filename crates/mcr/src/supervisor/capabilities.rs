//! The capabilities mcrd needs, and giving up the others.
//!
//! Capabilities belong to threads: [`keep_only`] reaches the calling one and those it starts later, so it is
//! called before the runtime has any. A worker's start is covered: whether the supervisor has its capabilities as
//! root, from the file or as ambient ones, the program it executes gets those it drops privileges with. That the
//! worker then drops them all is left to it.

use std::fmt;
use std::path::PathBuf;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// What mcrd cannot work without while it runs, and what for.
const NEEDED: [(Capability, &str); 6] = [
    (Capability::CAP_NET_ADMIN, "socket buffers beyond the system's limit, foreign source addresses"),
    (Capability::CAP_NET_RAW, "packet sockets"),
    (Capability::CAP_SETUID, "workers that run as another user"),
    (Capability::CAP_SETGID, "workers that run in another group"),
    (Capability::CAP_SETPCAP, "giving up capabilities"),
    (Capability::CAP_KILL, "signals to workers"),
];

/// For the control socket's group, at start only.
const FOR_GROUP: (Capability, &str) = (Capability::CAP_CHOWN, "the control socket's group");

/// Kept where present: source and input ports below 1024 need it.
const WELCOME: Capability = Capability::CAP_NET_BIND_SERVICE;

/// What a program executed by the supervisor is to have at most: enough to become an unprivileged worker.
const INHERITABLE: [Capability; 3] =
    [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP];

/// Capabilities mcrd needs and does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCapability {
    /// Which, and what for.
    pub missing: Vec<(Capability, &'static str)>,
    /// All that are needed, in setcap's notation.
    needed: String,
    /// The running program's file.
    program: PathBuf,
}

impl std::error::Error for MissingCapability {}

impl fmt::Display for MissingCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.missing.len() == 1 { "capability" } else { "capabilities" };
        write!(f, "missing {word} ")?;
        for (n, (capability, purpose)) in self.missing.iter().enumerate() {
            write!(f, "{}{capability} ({purpose})", if n == 0 { "" } else { ", " })?;
        }
        let upper = self.needed.to_uppercase().replace(',', " ");
        write!(
            f,
            "; run mcrd as root, or set AmbientCapabilities={upper} in its systemd unit, or run: setcap {}+ep {}",
            self.needed,
            self.program.display(),
        )
    }
}

/// Checks that this thread has every capability mcrd needs in its effective set; `sets_group`: also the one to
/// give the control socket to a group.
///
/// # Errors
/// What is missing, what for, and how to grant it.
pub fn require(sets_group: bool) -> Result<(), MissingCapability> {
    let needed = || NEEDED.into_iter().chain(sets_group.then_some(FOR_GROUP));
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let missing: Vec<_> = needed().filter(|(capability, _)| !effective.contains(capability)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = needed().map(|(capability, _)| capability).chain([WELCOME]);
    let names: Vec<String> = names.map(|capability| capability.to_string().to_lowercase()).collect();
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mcrd"));
    Err(MissingCapability { missing, needed: names.join(","), program })
}

/// The kernel did not let capabilities be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot reduce the {set} capabilities: {error}")]
pub struct KeepError {
    set: &'static str,
    error: CapsError,
}

/// Gives up, for good, every capability that changes at run time do not need; those for the start of a worker are
/// kept. To be called by the process's only thread, with the control socket in place. From then on also root
/// reads only files whose permissions let it.
///
/// # Errors
/// The set that could not be reduced.
pub fn keep_only() -> Result<(), KeepError> {
    let kept: CapsHashSet = NEEDED.iter().map(|(capability, _)| *capability).chain([WELCOME]).collect();
    let failed = |set| move |error| KeepError { set, error };

    // What is executed later gains no more than this, be it by user 0 or by a file's capabilities. First, for
    // it takes CAP_SETPCAP in the effective set.
    for capability in caps::read(None, CapSet::Bounding).map_err(failed("bounding"))?.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed("bounding"))?;
    }
    // With it shrinks the ambient set, through which a service that is not root hands capabilities on.
    let reduce = |set, name, to: &CapsHashSet| {
        let now = caps::read(None, set).map_err(failed(name))?;
        caps::set(None, set, &(&now & to)).map_err(failed(name))
    };
    reduce(CapSet::Inheritable, "inheritable", &INHERITABLE.into_iter().collect())?;
    // The effective set may never exceed the permitted one.
    reduce(CapSet::Effective, "effective", &kept)?;
    reduce(CapSet::Permitted, "permitted", &kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Gid, Uid};
    use std::process::Command;
    use std::thread;

    /// Runs `work` on a thread of its own, whose capabilities end with it; skipped without privilege.
    fn on_privileged_thread(work: impl FnOnce() + Send) {
        testbed::skip_unless_available!();
        let worked = thread::scope(|scope| scope.spawn(work).join());
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    fn mask(capabilities: impl IntoIterator<Item = Capability>) -> u64 {
        capabilities.into_iter().map(|capability| capability.bitmask()).sum()
    }

    fn kept_mask() -> u64 {
        mask(NEEDED.iter().map(|(capability, _)| *capability).chain([WELCOME]))
    }

    /// The sets of a program executed from this thread: CapPrm, CapEff and so on as in /proc/PID/status.
    fn sets_of_child(field: &str) -> u64 {
        let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t")).unwrap();
        u64::from_str_radix(line, 16).unwrap()
    }

    #[test]
    fn all_present_is_enough() {
        on_privileged_thread(|| {
            require(true).unwrap();
            caps::drop(None, CapSet::Effective, Capability::CAP_CHOWN).unwrap();
            require(false).unwrap();
            let missing = require(true).unwrap_err().missing;
            assert_eq!(missing, [FOR_GROUP]);
        });
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        on_privileged_thread(|| {
            caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap();
            let text = require(false).unwrap_err().to_string();
            let start = "missing capability CAP_NET_RAW (packet sockets); run mcrd as root, or set \
                         AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW ";
            assert!(text.starts_with(start), "{text}");
            assert!(text.contains("setcap cap_net_admin,cap_net_raw,"), "{text}");
            caps::drop(None, CapSet::Effective, Capability::CAP_KILL).unwrap();
            let text = require(false).unwrap_err().to_string();
            assert!(text.contains("missing capabilities CAP_NET_RAW (packet sockets), CAP_KILL ("), "{text}");
        });
    }

    #[test]
    fn root_keeps_what_changes_need_and_a_worker_gets_no_more() {
        on_privileged_thread(|| {
            keep_only().unwrap();
            require(false).unwrap();
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding] {
                assert_eq!(mask(caps::read(None, set).unwrap()), kept_mask(), "{set:?}");
            }
            assert_eq!(mask(caps::read(None, CapSet::Inheritable).unwrap()), 0);
            assert_eq!(sets_of_child("CapPrm"), kept_mask());
            assert_eq!(sets_of_child("CapBnd"), kept_mask());
            caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_err();
            keep_only().expect("twice is no error");
        });
    }

    #[test]
    fn a_service_that_is_not_root_hands_on_what_a_worker_needs() {
        on_privileged_thread(|| {
            // As systemd leaves it with User= and AmbientCapabilities=.
            rustix::thread::set_keep_capabilities(true).unwrap();
            let (gid, uid) = (Gid::from_raw(65534), Uid::from_raw(65534));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            let given: CapsHashSet = NEEDED.iter().map(|(capability, _)| *capability).collect();
            for set in [CapSet::Permitted, CapSet::Inheritable, CapSet::Effective, CapSet::Ambient] {
                caps::set(None, set, &given).unwrap();
            }
            require(false).unwrap();
            assert_eq!(sets_of_child("CapPrm"), mask(given.iter().copied()));

            keep_only().unwrap();
            require(false).unwrap();
            assert_eq!(sets_of_child("CapPrm"), mask(INHERITABLE));
            assert_eq!(sets_of_child("CapBnd"), kept_mask());
        });
    }
}
