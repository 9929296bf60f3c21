//! The only unsafe code: system calls and memory shared with the kernel, behind safe types.

pub mod blast;
pub mod error_queue;
pub mod ethtool;
pub mod link_watch;
pub mod mapping;
pub mod packet;
pub mod ring;
pub mod sendmmsg;
pub mod sockopt;
pub mod transmit_ring;
