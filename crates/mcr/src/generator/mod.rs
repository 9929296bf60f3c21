//! Measurable traffic: what `mcrgen send` offers and `mcrgen recv` accounts for.
//!
//! Each payload names its flow, its place in it and when it left ([`header`]), so a receiver can tell loss,
//! duplication, reordering and corruption apart, to the packet. Frames leave at the size the wire would carry:
//! super-frames, which make figures unreal, are never put on a virtual device.

pub mod args;
pub mod clock;
mod frame;
pub mod header;
pub mod lane;
pub mod ledger;
pub mod pacing;
pub mod recv;
pub mod send;
pub mod stop;
pub mod tally;
pub mod tap;
pub mod target;
pub mod transmit;
