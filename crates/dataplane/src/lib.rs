//! What moves packets.

pub mod sys;
