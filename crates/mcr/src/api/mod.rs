//! The control interface: HTTP and JSON on a Unix socket.
//!
//! [`socket`] claims the path and opens it, [`policy`] says who may use it, [`serve`] answers. Every request
//! becomes one message to the supervisor's task; nothing here holds state of its own. Bounds on connections,
//! sizes and times keep a slow or hostile client from costing more than its own connection.

mod body;
mod error;
pub mod model;
pub mod policy;
mod routes;
mod server;
pub mod socket;

pub use body::{APPLY_MAX, BODY_MAX};
pub use routes::ROUTES;
pub use server::{CONNECTIONS_MAX, serve};
