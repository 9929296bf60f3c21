//! The channel between supervisor and worker: whole messages on a Unix sequenced-packet socket, with
//! descriptors beside them (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Most descriptors in one message (`SCM_MAX_FD` is 253).
pub const DESCRIPTORS_MAX: usize = 200;

/// Largest message: tables travel by memory descriptor, all else is small.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Supervisor to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Become this worker. Descriptors: IPv4 ring, IPv6 ring, counters.
    Start(Start),
    /// Egress sockets, one descriptor for each number.
    Sockets(Vec<u32>),
    /// Forward by this table from now on. Descriptor: memory with the table, of so many bytes.
    Table {
        /// Length of its encoding.
        bytes: u32,
    },
    /// Look for ICMP errors on all egress sockets: an error is told to any that has the port, also one with nothing to send.
    TakeReturned,
    /// Relay what the rings hold, then end.
    Stop,
}

/// What a worker needs to know to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its number among the workers, from 0.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
    /// Core to be pinned to.
    pub core: u32,
    /// User and group to become; absent: stay as started.
    pub user: Option<(u32, u32)>,
    /// Bytes of the IPv4 and of the IPv6 ring.
    pub ring_bytes: [u64; 2],
    /// Slots of the counters.
    pub slots: u32,
    /// Ask the rings again and again instead of sleeping.
    pub busy_poll: bool,
    /// While frames come fast, let them gather for so long, microseconds; 0: never.
    pub max_wait_us: u32,
}

/// Worker to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It is confined and reads its rings.
    Ready,
    /// The table of this generation is in force.
    Applied(u64),
    /// It cannot go on, for this reason.
    Failed(String),
    /// Its rings are empty; it ends.
    Stopped,
    /// A line for the log.
    Log(Severity, String),
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// What happens once in a process' life.
    Info,
    /// What happens with each change.
    Debug,
}

/// A connected pair: the supervisor's end, which does not block, and the worker's, which does.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Sends a message.
///
/// # Errors
/// Those of sendmsg(2); `WouldBlock` where the socket does not block and the other side is slow to read.
pub fn send(socket: impl AsFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(SendFlags::NOSIGNAL, socket, message, descriptors)
}

/// Sends a message if there is room for it at once, on any socket.
///
/// # Errors
/// Those of sendmsg(2); `WouldBlock` where there is no room.
pub fn offer(socket: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    send_with(SendFlags::NOSIGNAL | SendFlags::DONTWAIT, socket, message, &[])
}

fn send_with(
    flags: SendFlags,
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than one message holds"));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives a message with its descriptors; `None` when the other side is gone.
///
/// # Errors
/// Those of recvmsg(2); `InvalidData` where the message is not one of `T`.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let message = postcard::from_bytes(&bytes[..got.bytes])
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(Some((message, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = pair().unwrap();
        let numbers: Vec<u32> = (0..DESCRIPTORS_MAX as u32).collect();
        let descriptors = vec![ours.as_fd(); DESCRIPTORS_MAX];
        send(&ours, &ToWorker::Sockets(numbers.clone()), &descriptors).unwrap();
        let (message, received) = receive::<ToWorker>(&theirs).unwrap().unwrap();
        assert_eq!(message, ToWorker::Sockets(numbers));
        assert_eq!(received.len(), DESCRIPTORS_MAX);
    }

    #[test]
    fn the_end_of_the_other_side_is_seen() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert!(receive::<ToWorker>(&theirs).unwrap().is_none());
    }
}
