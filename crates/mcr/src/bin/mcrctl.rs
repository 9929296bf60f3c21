//! mcrctl

fn main() {}
