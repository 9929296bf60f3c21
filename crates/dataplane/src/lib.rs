//! What moves packets: packet rings in, UDP sockets out, and the worker process between them.
//!
//! The supervisor opens every descriptor and compiles the forwarding table; a worker is handed both and
//! needs no rights of its own. `sys` holds the only unsafe code.

pub mod batch;
pub mod confine;
pub mod counters;
pub mod drop_reason;
pub mod envelope;
pub mod flows;
pub mod forward;
pub mod fragments;
pub mod frame;
pub mod hosts;
pub mod ipc;
pub mod leg;
pub mod matcher;
pub mod moderation;
pub mod outbox;
pub mod raw;
pub mod round;
pub mod sandbox;
pub mod sys;
pub mod table;
pub mod vnet;
pub mod worker;
