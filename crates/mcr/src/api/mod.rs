//! The control interface: HTTP and JSON on a Unix socket.

pub mod model;
