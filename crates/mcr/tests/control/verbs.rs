//! Each verb of `mcrctl` against a served socket: what it prints, its exit code, where errors go.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fixture::{Daemon, code, err, mcrctl, out};

#[tokio::test]
async fn rules_are_added_shown_and_removed() {
    let daemon = Daemon::start().await;
    let text = daemon.done(&["add", "x", "239.1.1.2%eth0:5000", "10.0.0.1:6000", "239.2.2.2%eth1"]).await;
    assert_eq!(text, "added x: active\n");
    let text = daemon.done(&["list"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("NAME      STATE    ENGINE     INPUT "), "{text}");
    assert!(lines[2].starts_with("camera-2  pending  userspace"), "{text}");
    assert_eq!(lines[3], "  pending: eth9 is missing");
    assert!(lines[4].ends_with("10.0.0.1:6000 239.2.2.2%eth1"), "{text}");
    let text = daemon.done(&["show", "camera-2"]).await;
    assert!(
        text.contains("reason   eth9 is missing\n") && text.ends_with("         10.0.0.100:6000\n"),
        "{text}"
    );
    let taken = daemon.mcrctl(&["add", "x", "239.1.1.2%eth0:5000", "10.0.0.1:6000"]).await;
    assert_eq!((code(&taken), err(&taken).as_str()), (1, "mcrctl: x is already a rule: --replace it\n"));
    daemon
        .done(&["add", "x", "239.1.1.2%eth0:5000", "10.0.0.1:6000", "--replace", "--engine", "userspace"])
        .await;
    assert_eq!(daemon.done(&["remove", "x"]).await, "removed x\n");
    for verb in ["remove", "show", "stats"] {
        let gone = daemon.mcrctl(&[verb, "x"]).await;
        let text = "mcrctl: no rule is named x: list shows those that run\n";
        assert_eq!((code(&gone), out(&gone).as_str(), err(&gone).as_str()), (1, "", text), "{verb}");
    }
}

#[tokio::test]
async fn counters_are_readable() {
    let daemon = Daemon::start().await;
    let text = daemon.done(&["stats"]).await;
    for words in
        ["6,129,022", "table generation 12", "336 Mbit/s", "1.72 GB", "pending: eth9 is missing", "4243"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = daemon.done(&["stats", "camera-1"]).await;
    for words in ["relayed 1,234,567 packets", "drops: ttl=7\n", "239.2.2.2%eth1:6000,ttl=16"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(daemon.done(&["workers"]).await.contains("no_rule=21"));
}

#[tokio::test]
async fn json_is_the_daemons_document() {
    let daemon = Daemon::start().await;
    for (verb, path) in [
        ("list", "/v1/rules"),
        ("stats", "/v1/stats"),
        ("workers", "/v1/workers"),
        ("version", "/v1/version"),
    ] {
        let text = daemon.done(&["--json", verb]).await;
        assert_eq!(text, format!("{}\n", daemon.http("GET", path, b"").await.1), "{verb}");
    }
    let stats: Value = serde_json::from_str(&daemon.done(&["stats", "--json"]).await).unwrap();
    let rule: Value = serde_json::from_str(&daemon.done(&["stats", "camera-2", "--json"]).await).unwrap();
    assert_eq!(rule, stats["rules"][1]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",");
    assert_eq!(keys(&stats), "generation,rules,totals,workers");
    assert_eq!(keys(&rule), "bps,bytes,engine,legs,name,packets,pps,reason,state");
    assert_eq!(keys(&rule["legs"][0]), "bps,bytes,drops,errors,output,packets,pps,reason,state");
    let document = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let added = daemon.done(&["--json", "add", "x", "239.1.1.2%eth0", "10.0.0.1:1"]).await;
    assert_eq!(document(added), document(daemon.done(&["show", "x", "--json"]).await));
    assert_eq!(daemon.done(&["remove", "x", "--json"]).await, "{\"removed\":\"x\"}\n");
    assert_eq!(document(daemon.done(&["log-level", "--json"]).await)["directives"], "info");
    assert!(document(daemon.done(&["ping", "--json"]).await)["pid"].is_u64());
}

#[tokio::test]
async fn a_check_that_fails_is_1_and_a_warning_is_not() {
    let daemon = Daemon::start().await;
    let text = daemon.done(&["doctor", "camera-1"]).await;
    let expected = "\
camera-1  239.1.1.1%eth0
  ok    packets           heard for 1500 ms
  to 10.0.0.100:6000
  warn  mtu               heard for 1500 ms
                          -> ip link set dev eth1 mtu 1500

host
  ok    ring_losses       heard for 1500 ms

rules examined: 1, checks failed: 0, warnings: 1
";
    assert_eq!(text, expected);
    let all = daemon.mcrctl(&["doctor", "--listen", "0.25"]).await;
    assert_eq!((code(&all), err(&all).as_str()), (1, ""));
    let expected = "\
camera-1  239.1.1.1%eth0
  to 10.0.0.100:6000
  warn  mtu               heard for 250 ms
                          -> ip link set dev eth1 mtu 1500

camera-2  239.1.1.1%eth0
  FAIL  packets           heard for 250 ms
                          -> start the sender

rules examined: 2, checks failed: 1, warnings: 1
rules left out: 4,000; name one to have it examined
";
    assert_eq!(out(&all), expected);
    let json = daemon.mcrctl(&["--json", "doctor", "camera-2", "--listen", "0"]).await;
    assert_eq!(code(&json), 1);
    assert_eq!(out(&json), format!("{}\n", daemon.http("GET", "/v1/doctor/camera-2?listen=0", b"").await.1));
    for (args, word) in [
        (&["doctor", "x"][..], "no rule is named x"),
        (&["doctor", "--listen", "11"], "listen=11: give 0 to 10 seconds"),
        (&["doctor", "--listen", "nan"], "give 0 to 10 seconds"),
    ] {
        let refused = daemon.mcrctl(args).await;
        assert!(code(&refused) == 1 && err(&refused).contains(word), "{args:?}: {}", err(&refused));
    }
}

#[tokio::test]
async fn the_small_verbs() {
    let daemon = Daemon::start().await;
    let pid = std::process::id();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(daemon.done(&["ping"]).await, format!("mcrd {version} (pid {pid}) answers\n"));
    assert_eq!(daemon.done(&["version"]).await, format!("mcrctl {version}\nmcrd {version} (pid {pid})\n"));
    assert_eq!(daemon.done(&["log-level"]).await, "info\n");
    assert_eq!(daemon.done(&["log-level", "mcr=debug"]).await, "mcr=debug\n");
    assert_eq!(daemon.done(&["log-level"]).await, "mcr=debug\n");
}

#[tokio::test]
async fn files_are_applied_and_saved() {
    let daemon = Daemon::start().await;
    let path = daemon.folder.path().join("rules.toml");
    let file = path.to_str().unwrap();
    assert_eq!(daemon.done(&["save", file]).await, format!("saved {file}\n"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# saved\n");
    assert_eq!(daemon.done(&["save", "-"]).await, "# saved\n");
    let text = daemon.done(&["apply", file]).await;
    assert_eq!(text, "note: a is pending: eth9 is missing\n1 added, 1 changed, 1 removed, 2 kept\n");
    let expected = "- r\n~ c\n+ a\nnote: a is pending: eth9 is missing\n\
                    would be: 1 added, 1 changed, 1 removed, 2 kept\n";
    assert_eq!(daemon.done(&["apply", file, "--dry-run"]).await, expected);
    let plan: Value =
        serde_json::from_str(&daemon.done(&["--json", "apply", file, "--dry-run"]).await).unwrap();
    assert_eq!(plan["keep"], serde_json::json!(["k", "l"]));
    assert_eq!(*daemon.applied.lock().unwrap(), [(8, false), (8, true), (8, true)]);
    std::fs::write(&path, "refuse").unwrap();
    let refused = daemon.mcrctl(&["apply", file]).await;
    assert_eq!(
        (code(&refused), err(&refused)),
        (1, format!("mcrctl: {file}: line 1, column 1: no\n{file}: line 2, column 1: nor this\n"))
    );
    let absent = daemon.mcrctl(&["apply", "/nonexistent/rules.toml"]).await;
    assert!(code(&absent) == 1 && err(&absent).contains("/nonexistent/rules.toml"), "{}", err(&absent));
    let unwritable = daemon.mcrctl(&["save", "/nonexistent/rules.toml"]).await;
    assert!(code(&unwritable) == 1 && err(&unwritable).contains("/nonexistent/rules.toml"));
    std::fs::write(&path, vec![b'#'; mcr::api::APPLY_MAX + 1]).unwrap();
    let long = daemon.mcrctl(&["apply", file]).await;
    assert!(code(&long) == 1 && err(&long).contains("16777216"), "{}", err(&long));
}

#[tokio::test]
async fn standard_input_is_applied() {
    let daemon = Daemon::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcrctl"));
    command.args(["apply", "-", "--socket"]).arg(&daemon.socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"# none\n").await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(*daemon.applied.lock().unwrap(), [(7, false)]);
}

#[tokio::test]
async fn notation_is_checked_before_a_daemon_is_asked() {
    let nowhere = Path::new("/nonexistent/mcrd.sock");
    for (args, word) in [
        (&["add", "x", "239.1.1%eth0", "10.0.0.1:1"][..], "rule x: input 239.1.1%eth0: \"239.1.1\""),
        (&["add", "x", "239.1.1.1%eth0", "10.0.0.1:0"], "port"),
        (&["add", "x y", "239.1.1.1%eth0", "10.0.0.1:1"], "is not a rule name"),
        (&["add", "x", "239.1.1.1%eth0", "10.0.0.1:1", "--engine", "warp"], "no engine \"warp\""),
        (&["add", "x", "239.1.1.1%eth0", "239.1.1.2:1"], "names no interface"),
        (&["remove", "a/b"], "is not a rule name"),
        (&["show", ""], "is not a rule name"),
    ] {
        let output = mcrctl(nowhere, args).await;
        assert_eq!((code(&output), out(&output).as_str()), (1, ""), "{args:?}");
        assert!(
            err(&output).starts_with("mcrctl: ") && err(&output).contains(word),
            "{args:?}: {}",
            err(&output)
        );
    }
}

#[tokio::test]
async fn usage_errors_are_2_and_help_is_0() {
    let nowhere = Path::new("/nonexistent/mcrd.sock");
    for args in [
        &[][..],
        &["frobnicate"],
        &["list", "--frob"],
        &["add", "x"],
        &["add", "x", "239.1.1.1%eth0"],
        &["apply"],
    ] {
        let output = mcrctl(nowhere, args).await;
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{args:?}");
        assert!(!err(&output).is_empty(), "{args:?}");
        let output = mcrctl(nowhere, &[args, &["--json"]].concat()).await;
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{args:?} --json");
        let document: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(document["error"].is_string(), "{args:?} --json");
    }
    for args in [&["--help"][..], &["add", "--help"], &["--version"]] {
        let output = mcrctl(nowhere, args).await;
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{args:?}");
    }
}

#[tokio::test]
async fn no_daemon_is_3_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    let absent = mcrctl(&path, &["list"]).await;
    assert_eq!(code(&absent), 3);
    let text = err(&absent);
    assert!(
        text.contains(&format!("no mcrd at {}", path.display())) && text.contains("start mcrd"),
        "{text}"
    );
    let json = mcrctl(&path, &["--json", "list"]).await;
    assert_eq!((code(&json), out(&json).as_str()), (3, ""));
    assert!(serde_json::from_slice::<Value>(&json.stderr).unwrap()["error"].is_string());
    std::fs::write(&path, "").unwrap();
    assert_eq!(code(&mcrctl(&path, &["ping"]).await), 3);
    std::fs::remove_file(&path).unwrap();
    let mute = tokio::net::UnixListener::bind(&path).unwrap();
    let hang_up = async { drop(mute.accept().await.unwrap()) };
    let (output, ()) = tokio::join!(mcrctl(&path, &["ping"]), hang_up);
    assert!(code(&output) == 3 && err(&output).contains("gave no answer"), "{}", err(&output));
}

#[tokio::test]
async fn a_closed_or_full_standard_output_is_no_panic() {
    let daemon = Daemon::start().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcrctl"));
    command.arg("--socket").arg(&daemon.socket).arg("list").stdout(writer).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcrctl"));
    command.arg("--socket").arg(&daemon.socket).arg("list").stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("No space left"), "{}", err(&output));
}
