//! iperf 2 over multicast: its server's own count of what was lost.

use std::time::Duration;

use testbed::{eventually, run, skip_unless_available};

use crate::fixture::{SOON, cores_to_itself, last_stats};
use crate::programs::{between, lacks, overruns, receiver};

const DONE: Duration = Duration::from_secs(30);

#[test]
fn its_server_reports_no_loss() {
    skip_unless_available!();
    if lacks(module_path!(), &["iperf", "ss"]) {
        return;
    }
    let _cores = cores_to_itself();
    let (line, relay) = between("str-iperf", "239.1.1.1%r-in:5001", &["239.2.2.2%r-out:5001,ttl=32"]);
    // Room for all of it: a server that is kept off its core loses by itself.
    let args = ["-s", "-u", "-B", "239.2.2.2", "-y", "C", "-w", "2M"];
    let server = receiver(&line.receiver, "iperf", &args, "239.2.2.2:5001".parse().unwrap());

    let mut client = line.sender.netns().command("iperf");
    client.args(["-c", "239.1.1.1", "-u", "-T", "32", "-t", "3", "-b", "5m"]);
    let client = run(client, DONE);
    assert_eq!(client.code(), 0, "{client:?}");
    let sent: u64 = {
        let words: Vec<&str> = client.stdout.split_whitespace().collect();
        let at = words.windows(3).position(|w| w[0] == "Sent" && w[2] == "datagrams");
        words[at.unwrap_or_else(|| panic!("no count of datagrams: {client:?}")) + 1].parse().unwrap()
    };

    // Time, addresses and ports, id, interval, bytes, bits per second, jitter, lost, total, percent, out of order.
    let report = eventually(SOON, "the server's report", || {
        let lines = server.lines();
        lines.iter().map(|line| line.text.clone()).find(|text| text.split(',').count() == 14)
    });
    let field = |index: usize| report.split(',').nth(index).unwrap();
    let overruns = overruns(line.receiver.netns());
    assert_eq!((field(10), field(13)), ("0", "0"), "lost and out of order: {report}; {overruns}");
    // The client counts one more than it puts on the wire.
    let total: u64 = field(11).parse().unwrap();
    assert!(sent > 1000 && total + 1 >= sent, "{total} of {sent}: {report}");
    let stats = last_stats(relay);
    assert_eq!(stats.ingress.matched, total, "{stats:?}");
    assert_eq!((stats.egress.sent, stats.egress.errors), (total, 0), "{stats:?}");
}
