//! Tests of the wire formats: golden bytes both ways, refusals, and properties over arbitrary bytes.

mod checksum;
mod extensions;
mod frames;
mod golden;
mod pieces;
mod properties;
mod refusals;
