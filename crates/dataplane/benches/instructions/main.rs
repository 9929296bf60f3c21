//! Instructions a worker's loop takes for each datagram, without the kernel's: frames as a ring holds them, relayed by
//! [`Forwarder::round`] to real sockets, counted by valgrind.
//!
//! `make instructions`. Counts are the same on any machine with the same compiler, so each has a limit a tenth above
//! what was measured when it was set: to cost more than that takes a reason, and a new limit beside it.

#![expect(missing_docs, reason = "the macros make public items")]

mod recorded;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use recorded::{Recorded, Shape};

/// Datagrams of a round: as many as a worker takes before it sends.
const DATAGRAMS: u64 = 4096;

/// A limit for a whole round, from instructions for each datagram.
fn at_most(each: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, each * DATAGRAMS)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

const ONE: Shape = Shape { rules: 1, flows: 1, outputs: 1, checksum_verified: true };

#[library_benchmark]
#[bench::one_flow(args = (ONE), setup = Recorded::new, config = at_most(981))]
#[bench::checksum_unverified(args = (Shape { checksum_verified: false, ..ONE }), setup = Recorded::new, config = at_most(1367))]
#[bench::ten_thousand_rules(args = (Shape { rules: 10_000, ..ONE }), setup = Recorded::new, config = at_most(981))]
#[bench::sixteen_outputs(args = (Shape { outputs: 16, ..ONE }), setup = Recorded::new, config = at_most(1304))]
#[bench::fifty_flows(args = (Shape { rules: 50, flows: 50, ..ONE }), setup = Recorded::new, config = at_most(985))]
#[bench::thousand_flows(args = (Shape { rules: 1000, flows: 1000, ..ONE }), setup = Recorded::new, config = at_most(1281))]
fn round(mut recorded: Recorded) -> Recorded {
    recorded.relay();
    recorded
}

library_benchmark_group!(name = forwarding, benchmarks = round);
main!(library_benchmark_groups = forwarding);
