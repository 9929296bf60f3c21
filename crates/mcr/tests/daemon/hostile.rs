//! Control clients that mean no good: the relaying does not notice, and an honest client is still answered.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use testbed::{rule, skip_unless_available};

use crate::fixture::{PATIENCE, Place, assert_all_arrive};

#[test]
fn hostile_clients_do_not_stop_the_relaying() {
    skip_unless_available!();
    let mut place = Place::start("dm-hostile", &rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"]));
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 500);
    let socket = place.relay.socket();
    let mut held = Vec::new();
    for round in 0..10 {
        for request in [
            &b""[..],
            b"\x00\xff\x16\x03\x01",
            b"GET /v1/rules HTTP/1.1\r\nHost: x\r\n",
            b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            b"POST /v1/rules HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{{{{",
            b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"DELETE /v1/rules/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut client = UnixStream::connect(&socket).unwrap();
            // The daemon may be done with it before all is written.
            let _ = client.write_all(request);
            // Some hold on and never read, the others hang up at once.
            if round % 2 == 0 {
                held.push(client);
            }
        }
        // Within the fixture's 30 s, however many stand before it.
        place.relay.ctl_ok(&["add", "b", &format!("239.5.5.{round}%r-in:5000"), "10.10.2.100:7000"]);
        place.relay.ctl_ok(&["remove", "b"]);
    }
    assert_eq!(place.relay.ctl_json(&["list"]).as_array().unwrap().len(), 1);
    assert_all_arrive(&mut probe, traffic.stop());
    let workers = place.relay.ctl_json(&["workers"]);
    assert!(workers.as_array().unwrap().iter().all(|worker| worker["restarts"] == 0), "{workers}");
    assert!(place.relay.daemon().is_running());
    place.relay.wait_state("a", "active", PATIENCE);
    drop(held);
}

/// Long answers that nobody reads hold their places for a while, not for good, and long bodies are few at a time.
#[test]
fn answers_unread_and_long_bodies_leave_the_daemon_to_others() {
    skip_unless_available!();
    let rules: String = (0..2000)
        .map(|n| {
            rule(
                &format!("r{n}"),
                &format!("239.1.{}.{}%r-in:5000", n / 250, n % 250),
                &["239.2.2.1%r-out:6000"],
            )
        })
        .collect();
    let mut place = Place::start("dm-unread", &rules);
    let socket = place.relay.socket();
    let ask = |request: &[u8]| {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_nonblocking(true).unwrap();
        // As much as goes: the daemon takes some of it only.
        let _ = client.write_all(request);
        client
    };
    let body =
        [&b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n"[..], &[b'#'; 1 << 20]]
            .concat();
    let mut held: Vec<_> = (0..32).map(|_| ask(&body)).collect();
    held.extend((0..32).map(|_| ask(b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n")));
    // All 64 places are taken. Within the fixture's 30 s: a body and an answer have ten each.
    place.relay.ctl_ok(&["ping"]);
    drop(held);
    place.relay.ctl_ok(&["apply", &place.relay.file("one.toml", "")]);
    assert!(place.relay.daemon().is_running());
}
