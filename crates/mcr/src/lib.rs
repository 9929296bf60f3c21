//! The library behind `mcrd`, `mcrctl` and `mcrgen`.

pub mod api;
pub mod supervisor;
