//! One socket and the groups it has joined.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use dataplane::sys::sockopt::{join_group, leave_group};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use socket2::{Domain, Socket, Type};

use super::Join;
use crate::supervisor::descriptors::spare;

/// Sockets are of one kind: a socket that has a group from any source refuses a source of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    ipv6: bool,
    sources: bool,
}

impl Kind {
    pub(super) fn of(join: &Join) -> Self {
        Self { ipv6: join.group.is_ipv6(), sources: join.source.is_some() }
    }
}

#[derive(Debug)]
pub(super) struct JoinSocket {
    socket: Socket,
    pub(super) kind: Kind,
    /// Sources per interface and group; for any source, the one join.
    pub(super) groups: HashMap<(u32, IpAddr), GroupOnSocket>,
}

#[derive(Debug, Default)]
pub(super) struct GroupOnSocket {
    joins: usize,
    pub(super) full: bool,
}

impl JoinSocket {
    pub(super) fn open(kind: Kind) -> io::Result<Self> {
        let domain = if kind.ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, None).and_then(spare)?;
        if kind.ipv6 { socket.set_multicast_all_v6(false) } else { socket.set_multicast_all_v4(false) }?;
        set_socket_recv_buffer_size(&socket, 0)?;
        Ok(Self { socket, kind, groups: HashMap::new() })
    }

    pub(super) fn join(&mut self, join: &Join) -> io::Result<()> {
        let key = (join.interface, join.group);
        let carried = self.groups.contains_key(&key);
        let done = join_group(&self.socket, join.interface, join.group, join.source);
        if let Err(error) = done {
            if !carried && join.source.is_some() {
                // The kernel may have entered the group before it refused the source.
                let _ = leave_group(&self.socket, join.interface, join.group, None);
            }
            return Err(error);
        }
        self.groups.entry(key).or_default().joins += 1;
        Ok(())
    }

    /// Makes a join again that the socket is to have, and says whether it had lost it. One it has is refused without
    /// further effect: nothing is reported. So is any where the socket has as many sources of the group as it may,
    /// which it then is taken to have: to leave and join would make upstream prune.
    pub(super) fn join_if_lost(&self, join: &Join) -> io::Result<bool> {
        match join_group(&self.socket, join.interface, join.group, join.source) {
            Ok(()) => Ok(true),
            Err(error) => match Errno::from_io_error(&error) {
                // The former for a group, the latter for a source of one.
                Some(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => Ok(false),
                // The kernel counts the sources before it looks for this one.
                Some(Errno::NOBUFS | Errno::NOMEM) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Leaves and says whether the socket has lost the whole group by it.
    pub(super) fn leave(&mut self, join: &Join) -> bool {
        let key = (join.interface, join.group);
        let left = leave_group(&self.socket, join.interface, join.group, join.source);
        let Some(group) = self.groups.get_mut(&key) else { return false };
        group.joins -= 1;
        group.full = false;
        if group.joins > 0 {
            return false;
        }
        if left.is_err() && join.source.is_some() {
            // With its interface gone a source cannot be left, but the group can: it would take up room for ever.
            let _ = leave_group(&self.socket, join.interface, join.group, None);
        }
        self.groups.remove(&key);
        true
    }
}

#[cfg(test)]
impl JoinSocket {
    /// Leaves as somebody would who holds the socket too.
    pub(super) fn leave_behind_its_back(&self, join: &Join) {
        leave_group(&self.socket, join.interface, join.group, join.source).unwrap();
    }
}
