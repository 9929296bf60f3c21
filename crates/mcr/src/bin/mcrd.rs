//! mcrd

fn main() {}
