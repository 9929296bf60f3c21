//! Clients that stall, vanish, talk nonsense or may not be there: each costs its own connection alone.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mcr::api::CONNECTIONS_MAX;
use mcr::api::policy::Policy;
use mcr::supervisor::handle::Request;
use rustix::process::Gid;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::fixture::{Daemon, PATIENCE, code, err, out, read_all};

#[tokio::test]
async fn nonsense_is_answered_and_forgotten() {
    let daemon = Daemon::start().await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    for nonsense in
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), b"hello\r\n\r\n", b"GET\r\n\r\n"]
    {
        let answer = daemon.raw(nonsense).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer:?}");
    }
    for head in [many, long] {
        let answer = daemon.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    daemon.done(&["ping"]).await;
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_cut_off() {
    let daemon = Daemon::start().await;
    let started = Instant::now();
    let head = drip(&daemon, "GET /v1/rules HTTP/1.1\r\nHost: x\r\n");
    let body = drip(&daemon, "POST /v1/rules HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    let (head, body) = tokio::join!(head, body);
    assert!(!head.contains("200 OK"), "{head}");
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("did not arrive within 10 s"), "{body}");
    assert!(started.elapsed() < PATIENCE);
    daemon.done(&["ping"]).await;
}

/// Writes `start`, then a byte each 200 ms for as long as the server takes them; what it answers. The pause is the
/// client's own pace, which is what is tried here: it stands for no condition.
async fn drip(daemon: &Daemon, start: &'static str) -> String {
    let (mut read, mut write) = UnixStream::connect(&daemon.socket).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        write.write_all(start.as_bytes()).await.unwrap();
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    dripping.abort();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn idle_connections_hold_their_places_only_for_a_while() {
    let daemon = Daemon::start().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 20 {
        idle.push(UnixStream::connect(&daemon.socket).await.unwrap());
    }
    // It waits behind them, and is answered once they are cut off.
    let started = Instant::now();
    daemon.done(&["ping"]).await;
    assert!(
        started.elapsed() > Duration::from_secs(2),
        "64 idle connections left room: {:?}",
        started.elapsed()
    );
    for stream in &mut idle {
        assert_eq!(read_all(stream).await, "");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_its_change_and_no_harm() {
    let (handle, mut requests) = mpsc::channel(1);
    let daemon = Daemon::with(handle);
    let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
    stream.write_all(b"DELETE /v1/rules/x HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let Some(Request::Remove(name, answer)) = requests.recv().await else { panic!("not what was sent") };
    assert_eq!(name.as_str(), "x");
    drop(stream);
    let _ = answer.send(Ok(()));
    // One that vanishes within its body changes nothing.
    let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
    let half = b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[[rule]]";
    stream.write_all(half).await.unwrap();
    drop(stream);
    let pinging = daemon.mcrctl(&["ping"]);
    let answering = async {
        let Some(Request::Workers(answer)) = requests.recv().await else { panic!("not the ping") };
        answer.send(Ok(Vec::new())).unwrap();
    };
    let (ping, ()) = tokio::join!(pinging, answering);
    assert_eq!(code(&ping), 0, "{}", err(&ping));
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let daemon = Daemon::start().await;
    let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
    stream.write_all(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_leaves_no_file() {
    let daemon = Daemon::start().await;
    let mut idle = UnixStream::connect(&daemon.socket).await.unwrap();
    daemon.done(&["ping"]).await;
    let started = Instant::now();
    let folder = daemon.stop().await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(std::fs::read_dir(folder.path().join("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_supervisor_that_stopped_is_exit_code_3() {
    let (handle, requests) = mpsc::channel(1);
    drop(requests);
    let output = Daemon::with(handle).mcrctl(&["list"]).await;
    assert_eq!(code(&output), 3, "{}", out(&output));
    assert!(err(&output).contains("mcrd is stopping"), "{}", err(&output));
}

/// Runs `mcrctl list` as user 65534 with these groups; absent where this test may not change its user.
async fn as_nobody(daemon: &Daemon, groups: &[&str]) -> Option<std::process::Output> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    // The binary's own folder may be closed to others. Copied here, another test's child could have it open for writing
    // still, and it would be too busy to run.
    let copy = daemon.folder.path().join("mcrctl");
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_mcrctl")).arg(&copy).status();
    assert!(copied.unwrap().success());
    open(daemon.folder.path(), 0o755);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534"]).args(groups).arg(copy);
    command.arg("--socket").arg(&daemon.socket).args(["--json", "list"]).stdin(Stdio::null());
    Some(tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap())
}

/// No group that lets in.
const FOREIGN: &[&str] = &["--regid", "65534", "--clear-groups"];

fn open(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_foreign_user_is_turned_away_with_the_remedy() {
    let daemon = Daemon::start().await;
    let Some(output) = as_nobody(&daemon, FOREIGN).await else { return };
    assert_eq!((code(&output), out(&output).as_str()), (3, ""));
    assert!(err(&output).contains("usermod -aG mcr"), "by the kernel: {}", err(&output));
    // Also where the socket's mode would let it in.
    open(&daemon.socket, 0o666);
    let output = as_nobody(&daemon, FOREIGN).await.unwrap();
    assert_eq!((code(&output), out(&output).as_str()), (3, ""));
    let document: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let text = document["error"].as_str().unwrap();
    assert!(text.contains("uid 65534 may not control mcrd: run as root"), "{text}");
}

#[tokio::test]
async fn members_of_the_group_may_whichever_way_they_have_it() {
    let policy = Policy { uid: rustix::process::geteuid(), group: Some(Gid::from_raw(54321)) };
    let daemon = Daemon::under(policy).await;
    open(&daemon.socket, 0o666);
    for groups in [&["--regid", "54321", "--clear-groups"], &["--regid", "65534", "--groups=7,54321"][..]] {
        let Some(output) = as_nobody(&daemon, groups).await else { return };
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{groups:?}");
    }
    let output = as_nobody(&daemon, FOREIGN).await.unwrap();
    assert!(
        code(&output) == 3 && err(&output).contains("let root run usermod -aG mcr USER"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn the_largest_rule_fits() {
    let daemon = Daemon::start().await;
    let leg = |i| {
        format!(
            "[ffff:1111:1111:1111:1111:1111:1111:{i:04x}]%interface-name1:65535,ttl=decrement,dscp=63,\
             source=1111:1111:1111:1111:1111:1111:1111:1111,sport=65535,batch=64"
        )
    };
    let outputs: Vec<String> = (0..mcast::OUTPUTS_MAX).map(leg).collect();
    let mut args = vec!["add", "x", "[ff3e::1]%eth0"];
    args.extend(outputs.iter().map(String::as_str));
    assert_eq!(daemon.done(&args).await, "added x: active\n");
}
