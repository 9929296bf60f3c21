//! The library behind `mcrd`, `mcrctl` and `mcrgen`.

pub mod api;
pub mod ctl;
pub mod doctor;
pub mod generator;
mod replace;
mod route;
pub mod supervisor;
pub mod tester;
