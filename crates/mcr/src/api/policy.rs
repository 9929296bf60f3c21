//! Who may use the control interface: uid 0, the daemon's own uid and members of group `mcr`.
//!
//! The socket's mode already lets the kernel turn others away at connect; this second check holds where the
//! file's mode was changed. Uid, gid and pid are those the kernel recorded at connect (`SO_PEERCRED`, unix(7)).
//! Supplementary groups are read from `/proc/PID/status`, whose uid must still be the recorded one: no safe
//! call offers `SO_PEERGROUPS`. A peer whose process cannot be seen there has no supplementary groups here.

use rustix::process::{Gid, Uid};
use tokio::net::unix::UCred;

/// The group whose members may use the control interface, where it exists.
pub const GROUP: &str = "mcr";

/// Who may use the control interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Beside uid 0: the daemon's own.
    pub uid: Uid,
    /// Members may; absent where the system has no group [`GROUP`].
    pub group: Option<Gid>,
}

/// Why a peer is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The group exists, the peer is not in it.
    #[error(
        "uid {uid} may not control mcrd: run as root, or let root run usermod -aG {GROUP} USER and log in again"
    )]
    NotInGroup {
        /// The peer's user.
        uid: u32,
    },
    /// The system has no such group.
    #[error(
        "uid {uid} may not control mcrd: run as root, or let root run groupadd --system {GROUP}, \
         usermod -aG {GROUP} USER and restart mcrd"
    )]
    NoGroup {
        /// The peer's user.
        uid: u32,
    },
}

impl Policy {
    /// The policy of a daemon that runs as this process does. A group database that cannot be read counts as
    /// one without the group, with a warning.
    pub fn of_this_process() -> Self {
        // nix asks the system's name service, as LDAP sites need, and is in the tree through rtnetlink.
        let group = nix::unistd::Group::from_name(GROUP).unwrap_or_else(|e| {
            tracing::warn!("group {GROUP} was not looked up, so only root may control mcrd: {e}");
            None
        });
        Self { uid: rustix::process::geteuid(), group: group.map(|g| Gid::from_raw(g.gid.as_raw())) }
    }

    /// Whether the peer may go on.
    ///
    /// # Errors
    /// It may not; the text says what to do.
    pub fn check(&self, peer: &UCred) -> Result<(), Forbidden> {
        let uid = peer.uid();
        if uid == 0 || uid == self.uid.as_raw() {
            return Ok(());
        }
        let Some(group) = self.group.map(Gid::as_raw) else { return Err(Forbidden::NoGroup { uid }) };
        let member =
            peer.gid() == group || peer.pid().is_some_and(|pid| groups_of(pid, uid).contains(&group));
        if member { Ok(()) } else { Err(Forbidden::NotInGroup { uid }) }
    }
}

/// Supplementary groups of the process, none if it is gone or belongs to another user by now.
fn groups_of(pid: i32, uid: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_groups(&status, uid)
}

/// The `Groups:` line of proc_pid_status(5), if the `Uid:` line's effective uid (its second) is `uid`.
fn parse_groups(status: &str, uid: u32) -> Vec<u32> {
    let numbers = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_ascii_whitespace().filter_map(|n| n.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    if numbers("Uid:").get(1) == Some(&uid) { numbers("Groups:") } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t5\t5\t5\nGroups:\t24 27 990 \n";

    #[test]
    fn groups_count_only_for_the_recorded_user() {
        assert_eq!(parse_groups(STATUS, 1001), [24, 27, 990]);
        assert!(parse_groups(STATUS, 1000).is_empty());
        assert!(parse_groups("", 0).is_empty());
    }

    #[test]
    fn own_process_is_seen() {
        let uid = rustix::process::geteuid().as_raw();
        let own: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        assert_eq!(groups_of(rustix::process::getpid().as_raw_nonzero().get(), uid), own);
    }
}
