//! What the daemon prints and answers: STATS lines, the log in both forms and at any level, JSON documents.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testbed::process::Stream;
use testbed::{EgressStats, IngressStats, rule, skip_unless_available};

use crate::fixture::{PATIENCE, Place, keys, send_numbered, signal};

fn config() -> String {
    rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000", "10.10.2.100:6001"])
}

/// The two lines as documented, to the byte.
fn written(ingress: &IngressStats, egress: &EgressStats) -> [String; 2] {
    let IngressStats { recv, matched, parse_err, no_match, buf_exhaust, pps } = ingress;
    let first = format!(
        "[STATS:Ingress] recv={recv} matched={matched} parse_err={parse_err} no_match={no_match} \
         buf_exhaust={buf_exhaust} ({pps} pps)"
    );
    let EgressStats { sent, submitted, errors, bytes, pps } = egress;
    let second =
        format!("[STATS:Egress] sent={sent} submitted={submitted} errors={errors} bytes={bytes} ({pps} pps)");
    [first, second]
}

#[test]
fn stats_are_printed_each_second_also_when_idle_and_nothing_else_is() {
    skip_unless_available!();
    for more in [&[][..], &["--log", "json"]] {
        let mut place = Place::start_with("dm-stats", &config(), more);
        let printed = |place: &mut Place| {
            let lines = place.relay.daemon().lines();
            lines.into_iter().filter(|line| line.stream == Stream::Stdout).collect::<Vec<_>>()
        };
        testbed::eventually(PATIENCE, "ten STATS lines", || printed(&mut place).len() >= 10);
        send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 7);
        place.relay.daemon().wait_stats(|stats| stats.egress.sent == 14, PATIENCE);
        let last = place.relay.stop();
        assert_eq!((last.ingress.matched, last.egress.submitted, last.egress.bytes), (7, 14, 7 * 2 * 8));
        assert!(last.ingress.balances() && last.egress.balances(), "{last:?}");

        let lines = printed(&mut place);
        let (pairs, odd) = lines.as_chunks::<2>();
        assert!(odd.is_empty(), "{odd:?}");
        for [first, second] in pairs {
            let ingress = IngressStats::parse(&first.text).unwrap();
            let egress = EgressStats::parse(&second.text).unwrap();
            assert_eq!(
                [first.text.as_str(), &second.text],
                written(&ingress, &egress).each_ref().map(String::as_str)
            );
        }
        // All but the one at the end, which comes when it comes.
        let each_second: Vec<_> = pairs[..pairs.len() - 1].iter().map(|[first, _]| first.at).collect();
        for [earlier, later] in each_second.array_windows() {
            let gap = *later - *earlier;
            assert!(gap > Duration::from_millis(200) && gap < Duration::from_secs(5), "{gap:?}");
        }
    }
}

#[test]
fn the_log_is_json_to_the_last_line_where_asked_for() {
    skip_unless_available!();
    let mut place = Place::start_with("dm-json", &config(), &["--log", "json"]);
    let relay = &mut place.relay;
    relay.ctl_ok(&["log-level", "debug"]);
    relay.ctl_ok(&["add", "b", "239.1.1.2%eth9", "10.10.2.100:1"]);
    let pid = relay.ctl_json(&["workers"])[0]["pid"].as_u64().unwrap();
    signal(pid, Signal::KILL);
    relay.wait_stats(PATIENCE, |stats| {
        stats["workers"][0]["restarts"] == 1 && stats["workers"][0]["state"] == "active"
    });
    std::fs::write(relay.config(), "colour = 1\n").unwrap();
    relay.daemon().signal(Signal::HUP);
    relay.daemon().wait_line(|line| line.contains("reload refused"), PATIENCE);
    relay.stop();
    let lines = relay.daemon().lines();
    let logged: Vec<Value> = lines
        .iter()
        .filter(|line| line.stream == Stream::Stderr)
        .map(|line| serde_json::from_str(&line.text).unwrap_or_else(|error| panic!("{error}: {}", line.text)))
        .collect();
    let has = |level: &str, words: &str| {
        logged
            .iter()
            .any(|line| line["level"] == level && line["fields"]["message"].as_str().unwrap().contains(words))
    };
    assert!(
        has("INFO", "ready") && has("DEBUG", "worker started") && has("ERROR", "reload refused"),
        "{logged:#?}"
    );
    assert!(
        has("WARN", "rule b is pending: interface eth9 does not exist")
            && has("WARN", "a successor takes over")
    );

    // Why it did not start is an event, too.
    let error = testbed::relay::Relay::start_with(
        crate::fixture::PROGRAMS,
        place.line.relay(),
        "colour = 1\n",
        &["--log", "json"],
    );
    let error = error.err().unwrap().to_string();
    let event: Value =
        serde_json::from_str(error.lines().last().unwrap()).unwrap_or_else(|e| panic!("{e}: {error}"));
    assert!(event["fields"]["message"].as_str().unwrap().contains("unknown key \"colour\""), "{event}");
}

#[test]
fn the_level_changes_while_it_runs_for_workers_too() {
    skip_unless_available!();
    let mut place = Place::start("dm-level", &config());
    let relay = &mut place.relay;
    let restart = |relay: &mut testbed::relay::Relay, times: u64| {
        let pid = relay.ctl_json(&["workers"])[0]["pid"].as_u64().unwrap();
        let before = relay.daemon().lines().len();
        signal(pid, Signal::KILL);
        relay.wait_stats(PATIENCE, |stats| {
            let worker = &stats["workers"][0];
            worker["restarts"] == times && worker["state"] == "active"
        });
        let lines = relay.daemon().lines().split_off(before);
        lines
            .into_iter()
            .filter(|line| line.stream == Stream::Stderr)
            .map(|line| line.text)
            .collect::<Vec<_>>()
    };
    let has = |lines: &[String], level: &str, words: &str| {
        lines.iter().any(|line| line.contains(level) && line.contains(words))
    };
    assert_eq!(relay.ctl_ok(&["log-level"]), "info\n");
    let at_info = restart(relay, 1);
    assert!(has(&at_info, "WARN", "worker died") && has(&at_info, "INFO", "worker ready"), "{at_info:#?}");
    assert!(!has(&at_info, "DEBUG", ""), "{at_info:#?}");

    assert_eq!(relay.ctl_ok(&["log-level", "mcr=debug"]), "info,mcr=debug\n");
    let at_debug = restart(relay, 2);
    assert!(has(&at_debug, "DEBUG", "worker started"), "{at_debug:#?}");

    assert_eq!(relay.ctl_ok(&["log-level", "error"]), "error\n");
    assert_eq!(restart(relay, 3), [""; 0]);
    assert_eq!(relay.ctl_json(&["log-level"])["directives"], "error");
    assert_eq!(relay.ctl(&["log-level", "chatty"]).code(), 1);
    assert_eq!(relay.ctl_ok(&["log-level"]), "error\n");
}

#[test]
fn documents_have_exactly_their_keys() {
    skip_unless_available!();
    let place = Place::start("dm-keys", &(config() + &rule("b", "239.1.1.2%eth9", &["10.10.2.100"])));
    let relay = &place.relay;
    send_numbered(&place.sender(4000), "239.1.1.1:5000", 0, 5);
    let stats = relay.wait_stats(PATIENCE, |stats| stats["totals"]["sent"] == 10);
    assert_eq!(keys(&stats), "generation,rules,totals,workers");
    assert_eq!(
        keys(&stats["totals"]),
        "buf_exhaust,bytes,errors,matched,no_match,parse_err,recv,sent,submitted"
    );
    let worker = "buf_exhaust,core,drops,id,matched,pid,recv,relayed,restarts,state";
    for entry in stats["workers"].as_array().unwrap() {
        assert_eq!(keys(entry), worker);
    }
    for entry in stats["rules"].as_array().unwrap() {
        assert_eq!(keys(entry), "bps,bytes,engine,legs,name,packets,pps,reason,state");
        for leg in entry["legs"].as_array().unwrap() {
            assert_eq!(keys(leg), "bps,bytes,drops,errors,output,packets,pps,reason,state");
        }
    }
    assert_eq!((&stats["rules"][0]["packets"], &stats["rules"][0]["bytes"]), (&5.into(), &40.into()));
    assert_eq!(
        (&stats["rules"][0]["state"], &stats["rules"][1]["state"]),
        (&"active".into(), &"pending".into())
    );
    let recv = stats["totals"]["recv"].as_u64().unwrap();
    let parts =
        ["matched", "parse_err", "no_match", "buf_exhaust"].map(|key| stats["totals"][key].as_u64().unwrap());
    assert_eq!(recv, parts.iter().sum::<u64>());

    let list = relay.ctl_json(&["list"]);
    assert_eq!(keys(&list[0]), "engine,input,name,outputs,reason,state");
    assert_eq!(list[0]["outputs"], serde_json::json!(["239.2.2.1%r-out:6000", "10.10.2.100:6001"]));
    assert_eq!((&list[0]["engine"], &list[0]["reason"]), (&"userspace".into(), &"".into()));
    assert_eq!(relay.ctl_json(&["show", "a"]), list[0]);
    let workers = relay.ctl_json(&["workers"]);
    assert_eq!(keys(&workers[0]), worker);
    assert!(workers[0]["pid"].is_u64() && workers[0]["core"].is_u64());
    let plan = relay.ctl_json(&["apply", &relay.config().display().to_string(), "--dry-run"]);
    assert_eq!(keys(&plan), "add,change,keep,notes,remove");
    assert_eq!(keys(&relay.ctl_json(&["version"])), "pid,version");
    assert_eq!(keys(&relay.ctl_json(&["ping"])), "pid,version");

    let one = relay.ctl_json(&["stats", "a"]);
    assert_eq!((&one["name"], &one["packets"]), (&"a".into(), &5.into()));
    let text = relay.ctl_ok(&["stats", "a"]);
    assert!(text.contains("239.2.2.1%r-out:6000") && !text.contains("eth9"), "{text}");
}
