//! What a worker gives up before it reads its first frame: its choice of core, its user, all capabilities.

use caps::{CapSet, Capability};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CpuSet, sched_setaffinity, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct ConfineError {
    what: String,
    why: String,
}

/// Pins the calling process to a core and leaves it without capabilities, under `user` (uid and gid) if given.
/// To be called while it has a single thread: Linux keeps all of this per thread.
///
/// # Errors
/// The first step that failed; the process must then end.
pub fn confine(core: u32, user: Option<(u32, u32)>) -> Result<(), ConfineError> {
    let failed =
        |what: String| move |error: &dyn std::fmt::Display| ConfineError { what, why: error.to_string() };
    let mut cores = CpuSet::new();
    cores.set(core as usize);
    sched_setaffinity(None, &cores).map_err(|e| failed(format!("be pinned to core {core}"))(&e))?;
    // Dropped while CAP_SETPCAP is there; without it the set only bounds what exec could regain, which
    // no_new_privs forbids anyway.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, capability)
                    .map_err(|e| failed(format!("drop {capability} from the bounding set"))(&e))?;
            }
        }
    }
    if let Some((uid, gid)) = user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&[]).map_err(|e| failed("give up supplementary groups".into())(&e))?;
        set_thread_res_gid(gid, gid, gid)
            .map_err(|e| failed(format!("become group {}", gid.as_raw()))(&e))?;
        set_thread_res_uid(uid, uid, uid).map_err(|e| failed(format!("become user {}", uid.as_raw()))(&e))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|e| failed(format!("clear the {set:?} capability set"))(&e))?;
    }
    set_no_new_privs(true).map_err(|e| failed("set no_new_privs".into())(&e))
}
