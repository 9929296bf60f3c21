//! Why a measurement cannot be made, in words for its operator.

use std::io;
use std::path::PathBuf;

use mcast::InterfaceName;

use super::place::{Netns, Place};
use crate::generator::tap::TapError;
use crate::generator::target::TargetError;
use crate::generator::transmit::TransmitError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum TesterError {
    /// No such network namespace.
    #[error(
        "cannot enter network namespace {0} ({1}): {2}; `ip netns list` lists those with names, any other is \
         written as its path"
    )]
    NetnsAbsent(Netns, PathBuf, #[source] io::Error),
    /// No right to enter a namespace.
    #[error("cannot enter network namespace {0}: that takes CAP_SYS_ADMIN; run as root")]
    NetnsRight(Netns),
    /// A namespace cannot be entered for another reason.
    #[error("cannot enter network namespace {0}: {1}")]
    Netns(Netns, #[source] io::Error),
    /// An endpoint does not do.
    #[error("{0}: {1}")]
    Target(Box<Place>, #[source] TargetError),
    /// Nothing can be sent.
    #[error("{0}: {1}")]
    Transmit(Box<Place>, #[source] TransmitError),
    /// Nothing can be received.
    #[error("{0}: {1}")]
    Tap(Box<Place>, #[source] TapError),
    /// A receiver's ports do not suffice.
    #[error("{0} with {1} outputs of {2} groups runs past port 65535: use a lower port or more receivers")]
    Ports(Box<Place>, u16, u16),
    /// Two receivers would take the same packets.
    #[error(
        "{0} and {1} would take the same packets at fan-out {2}: give them groups, ports or interfaces of \
         their own"
    )]
    Collision(Box<Place>, Box<Place>, u16),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A thread cannot be pinned.
    #[error("cannot run on core {0}: {1}; `taskset -cp $$` lists the cores this process may use")]
    Core(u32, #[source] io::Error),
    /// A thread or another resource of this process cannot be had.
    #[error("cannot {0}: {1}")]
    Process(&'static str, #[source] io::Error),
    /// The operator's command failed.
    #[error("the {what} command {how}: {command}")]
    Command {
        /// Which of them.
        what: &'static str,
        /// As it was given, or its beginning.
        command: String,
        /// What became of it.
        how: String,
    },
    /// Flows that did not come through the device.
    #[error(
        "within {seconds} s of probe packets at {rate} a second, {missing} of {all} flows did not arrive: {names}; {hint}"
    )]
    Silence {
        /// How long was waited.
        seconds: f64,
        /// Probe packets per second.
        rate: u64,
        /// Flows at outputs that were not seen.
        missing: usize,
        /// Flows at outputs.
        all: usize,
        /// Some of them.
        names: String,
        /// What to look at.
        hint: String,
    },
    /// A device that forwards in fragments, whatever the rate.
    #[error(
        "{0} fragments arrived, which are not put together here: use a --size that fits each MTU on the way"
    )]
    Fragments(u64),
    /// A device that goes on sending what it holds, or receivers that cannot read it.
    #[error(
        "{0} s after a trial packets of it still come, or lie unread: offer less (--most) or shorter (--trial), or give \
         the receivers cores of their own (--rx-cores)"
    )]
    Undrained(u64),
    /// Nothing of an offer left.
    #[error("the tester's kernel took none of the packets offered: {0}")]
    Unsent(String),
    /// A side's interface is switched off.
    #[error("{0}: interface {1} is down: switch it on, as by `ip link set {1} up`")]
    Down(Box<Place>, InterfaceName),
    /// A side's interface cannot be watched.
    #[error("{0}: cannot watch interface {1}: {2}")]
    Link(Box<Place>, InterfaceName, #[source] io::Error),
    /// The sender's queueing disciplines cannot be read.
    #[error("cannot read the sender's queueing disciplines (netlink): {0}")]
    Queues(#[source] rtnetlink::Error),
    /// The sender could not offer what it was to.
    #[error("{0}: offer less, or take away what holds its packets back")]
    Limited(String),
    /// A side's interface was switched off or removed meanwhile.
    #[error(
        "{0}: interface {1} went down in the middle of it, and what lacks since is no loss of the device's: keep it up and \
         measure again"
    )]
    WentDown(Box<Place>, InterfaceName),
    /// Packets come where none should.
    #[error("{0}")]
    Unexpected(String),
    /// A thread of the tester ended early.
    #[error("{0}")]
    Thread(String),
    /// A signal ended it.
    #[error("interrupted")]
    Interrupted,
    /// A result cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// A plot cannot be drawn.
    #[error("cannot draw {0}: {1}")]
    Plot(PathBuf, String),
}

impl TesterError {
    /// Whether the command line is at fault: exit code 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NetnsAbsent(..)
            | Self::Target(..)
            | Self::Ports(..)
            | Self::Collision(..)
            | Self::Usage(_) => true,
            Self::Transmit(_, error) => matches!(error, TransmitError::Target(_) | TransmitError::Family(..)),
            Self::Tap(_, error) => matches!(error, TapError::Target(_)),
            _ => false,
        }
    }
}
