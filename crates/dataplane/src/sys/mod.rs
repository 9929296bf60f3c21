//! The kernel's interfaces that no safe crate wraps; the only unsafe code of the workspace.

pub mod sockopt;
