//! What the server answers to each path, and how it refuses.

use mcr::api::{APPLY_MAX, BODY_MAX, ROUTES};
use serde_json::{Value, json};

use crate::fixture::Daemon;

const RULE: &str = r#"{"name": "x", "input": "239.1.1.2%eth0", "outputs": ["10.0.0.1:6000"]}"#;

#[tokio::test]
async fn every_listed_path_is_there() {
    let daemon = Daemon::start().await;
    for (path, methods) in ROUTES {
        let path = path.replace("{NAME}", "camera-1");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let (status, body) = daemon.http(method, &path, b"{}").await;
            assert_eq!(status != 405, methods.contains(method), "{method} {path}: {status} {body}");
            assert_ne!(status, 404, "{method} {path}: {body}");
        }
    }
}

#[tokio::test]
async fn rules_come_and_go() {
    let daemon = Daemon::start().await;
    let (status, body) = daemon.http("POST", "/v1/rules", RULE.as_bytes()).await;
    assert_eq!(status, 201, "{body}");
    let (status, text) = daemon.refusal("POST", "/v1/rules", RULE.as_bytes()).await;
    assert_eq!((status, text.as_str()), (409, "x is already a rule: --replace it"));
    assert_eq!(daemon.http("POST", "/v1/rules?replace=true", RULE.as_bytes()).await.0, 200);
    let (status, body) = daemon.http("GET", "/v1/rules/x", b"").await;
    let shown: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({"name": "x", "input": "239.1.1.2%eth0", "outputs": ["10.0.0.1:6000"],
        "engine": "userspace", "state": "active", "reason": ""});
    assert_eq!((status, shown), (200, expected));
    assert_eq!(daemon.http("DELETE", "/v1/rules/x", b"").await, (200, r#"{"removed":"x"}"#.into()));
    let (status, text) = daemon.refusal("GET", "/v1/rules/x", b"").await;
    assert!(status == 404 && text.contains("no rule is named x"), "{status} {text}");
}

#[tokio::test]
async fn a_refusal_says_where_and_what_there_is() {
    let daemon = Daemon::start().await;
    for (method, path, body, status, words) in [
        ("POST", "/v1/rules", "{\n\"name\": }", 400, &["is not JSON", "line 2 column 9"][..]),
        ("POST", "/v1/rules", r#"{"name": "x", "color": 1}"#, 400, &["color", "line 1"]),
        (
            "POST",
            "/v1/rules",
            &RULE.replace("239.1.1.2", "239.1.1"),
            400,
            &["is not a rule: \"239.1.1\" is not an IP address", "line 1"],
        ),
        ("POST", "/v1/rules?replace=maybe", RULE, 400, &["replace=maybe", "true"]),
        ("POST", "/v1/rules?force=true", RULE, 400, &["force", "replace"]),
        ("GET", "/v1/stats?since=1", "", 400, &["since"]),
        ("GET", "/v1/rules/a%20b", "", 400, &["a b", "is not a rule name"]),
        ("GET", "/v1/rules/%ff", "", 400, &["/v1/rules/%ff", "UTF-8"]),
        ("GET", "/v1/rules/", "", 404, &["/v1/rules/{NAME}"]),
        ("GET", "/v2/rules", "", 404, &["/v2/rules", "/v1/rules,", "/v1/log-level"]),
        ("PATCH", "/v1/rules", "", 405, &["PATCH", "GET, POST"]),
        ("PUT", "/v1/rules/x", "", 405, &["GET, DELETE"]),
        ("POST", "/v1/apply", "refuse", 400, &["line 1, column 1: no"]),
        ("POST", "/v1/apply", "fail", 500, &["no memory"]),
        ("PUT", "/v1/log-level", "debug", 400, &["directives", "line 1"]),
    ] {
        let (answered, text) = daemon.refusal(method, path, body.as_bytes()).await;
        assert_eq!(answered, status, "{method} {path}: {text}");
        for word in words {
            assert!(text.contains(word), "{method} {path}: {text:?} lacks {word:?}");
        }
    }
    let (status, text) = daemon.refusal("POST", "/v1/apply", b"# ok\n\xff").await;
    assert_eq!((status, text.as_str()), (400, "the rule file is not UTF-8: byte 5 in line 2"));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let daemon = Daemon::start().await;
    let (status, text) = daemon.refusal("POST", "/v1/rules", &vec![b' '; BODY_MAX + 1]).await;
    assert!(status == 413 && text.contains("262144"), "{status} {text}");
    let (status, text) = daemon.refusal("POST", "/v1/apply", &vec![b' '; APPLY_MAX + 1]).await;
    assert!(status == 413 && text.contains("16777216"), "{status} {text}");
    assert_eq!(daemon.http("POST", "/v1/apply?dry_run=true", &vec![b' '; APPLY_MAX]).await.0, 200);
    assert_eq!(*daemon.applied.lock().unwrap(), [(APPLY_MAX, true)]);
    // Without a declared length the bytes themselves are counted.
    let head = "POST /v1/rules HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("50000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x50000));
    let answer = daemon.raw(format!("{head}{chunk}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
