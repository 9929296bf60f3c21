//! mcrgen

fn main() {}
