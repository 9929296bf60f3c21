//! Tests of the wire formats: golden bytes both ways, and properties over arbitrary ones.

mod checksum;
mod golden;
