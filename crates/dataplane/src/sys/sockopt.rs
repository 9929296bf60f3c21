//! Socket options that have no safe wrapper elsewhere.
//!
//! Each function sets one option on a descriptor the caller keeps open and hands back what the kernel said.
//! Options socket2 or rustix offer are not repeated here.
#![expect(unsafe_code, reason = "setsockopt with the kernel's own structures")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_void, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

/// `struct group_req` of RFC 3678, section 5.1.1: on 64-bit targets the kernel has the same padding as C.
#[repr(C)]
struct GroupReq {
    interface: u32,
    group: SockAddrStorage,
}

/// `struct group_source_req` of RFC 3678, section 5.1.2.
#[repr(C)]
struct GroupSourceReq {
    interface: u32,
    group: SockAddrStorage,
    source: SockAddrStorage,
}

/// Joins `group` on the interface with index `interface`: from any source, or from `source` alone. The socket's
/// family must be the group's.
///
/// # Errors
/// `EADDRINUSE`: joined on this socket before. `EADDRNOTAVAIL`, `ENODEV`: no such interface, or without this
/// family. `ENOBUFS`, `ENOMEM`: the socket holds as many groups or sources as the kernel grants one.
/// `EINVAL`: this socket has `group` from any source already, or it is no group.
pub fn join_group(
    socket: impl AsFd,
    interface: u32,
    group: IpAddr,
    source: Option<IpAddr>,
) -> io::Result<()> {
    match source {
        None => set_group(socket, libc::MCAST_JOIN_GROUP, interface, group),
        Some(source) => set_group_source(socket, libc::MCAST_JOIN_SOURCE_GROUP, interface, group, source),
    }
}

/// Leaves what [`join_group`] joined with the same arguments; without `source` also every source of the group.
///
/// # Errors
/// `EADDRNOTAVAIL`: not joined on this socket. `ENODEV`: the interface is gone.
pub fn leave_group(
    socket: impl AsFd,
    interface: u32,
    group: IpAddr,
    source: Option<IpAddr>,
) -> io::Result<()> {
    match source {
        None => set_group(socket, libc::MCAST_LEAVE_GROUP, interface, group),
        Some(source) => set_group_source(socket, libc::MCAST_LEAVE_SOURCE_GROUP, interface, group, source),
    }
}

/// Lets a socket's sends report what became of earlier ones (ICMP errors) and of themselves (`ENOBUFS` of a full
/// queue): `IP_RECVERR` or `IPV6_RECVERR` (ip(7), ipv6(7)). Errors bear the address their datagram left from and the
/// interface they came by: `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
///
/// # Errors
/// What the kernel says; `ENOPROTOOPT` when the socket is not of that family.
pub fn set_recverr(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, names) = if ipv6 {
        (libc::IPPROTO_IPV6, [libc::IPV6_RECVERR, libc::IPV6_RECVPKTINFO])
    } else {
        (libc::IPPROTO_IP, [libc::IP_RECVERR, libc::IP_PKTINFO])
    };
    let on: c_int = 1;
    names.into_iter().try_for_each(|name| set(&socket, level, name, &on))
}

fn set_group(socket: impl AsFd, name: c_int, interface: u32, group: IpAddr) -> io::Result<()> {
    set(socket, level_of(group), name, &GroupReq { interface, group: storage(group) })
}

fn set_group_source(
    socket: impl AsFd,
    name: c_int,
    interface: u32,
    group: IpAddr,
    source: IpAddr,
) -> io::Result<()> {
    let request = GroupSourceReq { interface, group: storage(group), source: storage(source) };
    set(socket, level_of(group), name, &request)
}

fn level_of(group: IpAddr) -> c_int {
    match group {
        IpAddr::V4(_) => libc::IPPROTO_IP,
        IpAddr::V6(_) => libc::IPPROTO_IPV6,
    }
}

fn storage(address: IpAddr) -> SockAddrStorage {
    SockAddr::from(SocketAddr::new(address, 0)).as_storage()
}

fn set<T>(socket: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    let pointer: *const T = value;
    // SAFETY: `pointer` and `length` are those of one live `T`, which the call only reads; padding is never
    // interpreted. The borrow of `socket` keeps the descriptor open.
    let answer = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, pointer.cast::<c_void>(), length)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn joins_and_leaves_on_loopback() {
        let cases: [(Domain, IpAddr); 2] =
            [(Domain::IPV4, [239, 1, 2, 3].into()), (Domain::IPV6, "ff15::77".parse().unwrap())];
        for (domain, group) in cases {
            let socket = Socket::new(domain, Type::DGRAM, None).unwrap();
            join_group(&socket, 1, group, None).unwrap();
            let twice = join_group(&socket, 1, group, None).unwrap_err();
            assert_eq!(twice.kind(), io::ErrorKind::AddrInUse, "{group}");
            leave_group(&socket, 1, group, None).unwrap();
            let gone = leave_group(&socket, 1, group, None).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::AddrNotAvailable, "{group}");
        }
    }

    #[test]
    fn joins_sources_one_by_one() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let group = IpAddr::from([232, 1, 2, 3]);
        for last in 1..=3 {
            join_group(&socket, 1, group, Some([10, 0, 0, last].into())).unwrap();
        }
        leave_group(&socket, 1, group, Some([10, 0, 0, 2].into())).unwrap();
        leave_group(&socket, 1, group, Some([10, 0, 0, 2].into())).unwrap_err();
        leave_group(&socket, 1, group, None).unwrap();
    }

    #[test]
    fn refuses_the_other_family() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        set_recverr(&socket, false).unwrap();
        set_recverr(&socket, true).unwrap_err();
    }
}
