//! Generator, three relays in a row, receiver: nothing is lost, and all agree on how much that is.

use std::time::Duration;

use testbed::{Chain, rule, skip_unless_available};

use crate::fixture::{Receiver, cores_to_itself, last_stats, relay, send, without_ipv6};

const PACKETS: u64 = 1_000_000;
const BYTES: u64 = 1400;
const PPS: u64 = 30_000;

/// Twice what the schedule takes.
const DONE: Duration = Duration::from_secs(2 * PACKETS / PPS);

#[test]
fn three_relays_in_a_row_lose_nothing_and_agree_to_the_packet() {
    skip_unless_available!();
    let _cores = cores_to_itself();
    let chain = Chain::new("str-pipe", 3).unwrap();
    without_ipv6(chain.sender.netns());
    let start = |(hop, place): (usize, &testbed::topology::Relay)| {
        without_ipv6(place.netns());
        let (input, next) = (format!("239.1.{hop}.1%r-in:500{hop}"), hop + 1);
        let output = format!("239.1.{next}.1%r-out:500{next}");
        // A ring of a second and a half: what is judged is the count, not how long this machine keeps a worker waiting.
        let file = rule(&format!("hop-{hop}"), &input, &[output]) + "[worker]\nring_mib = 128\n";
        relay(place.netns(), &file)
    };
    let relays: Vec<_> = (1..).zip(&chain.relays).map(start).collect();
    let receiver = Receiver::start(chain.receiver.netns(), &format!("239.1.4.1%d0:5004 --count {PACKETS}"));
    let line = format!("239.1.1.1%s0:5001 --rate {PPS} --count {PACKETS} --size {BYTES}");
    let sent = send(chain.sender.netns(), &line, DONE);
    let (code, received) = receiver.verdict(DONE);
    let hops: Vec<_> = relays.into_iter().map(last_stats).collect();

    assert_eq!(sent["sent"], PACKETS, "{sent}");
    let faults = ["lost", "duplicated", "reordered", "bad_checksum", "corrupted", "foreign", "tap_lost"];
    assert!(faults.iter().all(|fault| received[*fault] == 0), "{received} after {hops:?}");
    assert_eq!((code, received["received"].as_u64()), (Some(0), Some(PACKETS)), "{received}");
    for (hop, stats) in (1..).zip(hops) {
        let (ingress, egress) = (stats.ingress, stats.egress);
        assert_eq!((ingress.recv, ingress.matched), (PACKETS, PACKETS), "hop {hop}: {ingress:?}");
        assert_eq!((egress.sent, egress.submitted), (PACKETS, PACKETS), "hop {hop}: {egress:?}");
        assert_eq!(egress.errors, 0, "hop {hop}: {egress:?}");
        assert_eq!(egress.bytes, PACKETS * BYTES, "hop {hop}: {egress:?}");
    }
}
