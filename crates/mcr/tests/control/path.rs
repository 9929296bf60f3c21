//! Who owns the socket's path: dead daemons give way, live ones and other files do not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcr::api::socket::{SocketError, claim};

use crate::fixture::{code, err, mcrctl};

fn refused(path: &Path) -> String {
    claim(path).unwrap_err().to_string()
}

#[tokio::test]
async fn folder_mode_and_traces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/deep/mcrd.sock");
    let claimed = claim(&path).unwrap();
    assert!(!path.exists(), "nothing listens before listen");
    let (listener, file) = claimed.listen(None).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o755));
    drop((listener, file));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    drop(claim(&path).unwrap());
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        0,
        "a claim given up leaves nothing"
    );
}

#[tokio::test]
async fn a_stale_socket_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    // What a killed daemon leaves: its socket and its lock's file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    std::fs::write(folder.path().join("mcrd.sock.lock"), "1\n").unwrap();
    let output = mcrctl(&path, &["list"]).await;
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("nothing listens there"), "{}", err(&output));
    let (_listener, _file) = claim(&path).unwrap().listen(None).unwrap();
    tokio::net::UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_live_socket_is_refused_naming_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    let _live = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (text, pid) = (refused(&path), std::process::id());
    let (start, end) = (
        format!("{} is in use by ", path.display()),
        format!(" (pid {pid}): stop it or choose --socket PATH"),
    );
    assert!(text.starts_with(&start) && text.ends_with(&end), "{text}");
    assert!(path.exists(), "a live socket stays");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a refused claim leaves nothing");
}

#[tokio::test]
async fn of_two_that_start_at_once_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    let first = claim(&path).unwrap();
    let text = refused(&path);
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    let (_listener, file) = first.listen(None).unwrap();
    assert!(matches!(claim(&path), Err(SocketError::InUse { .. })));
    drop(file);
    claim(&path).unwrap();
}

#[tokio::test]
async fn what_is_no_socket_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    std::fs::write(&path, "mine").unwrap();
    assert!(refused(&path).contains("is not a socket"), "{}", refused(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert!(refused(folder.path()).contains("is not a socket"));
    let long = folder.path().join("x".repeat(108));
    assert!(refused(&long).contains("107 bytes"));
    assert!(refused(&path.join("mcrd.sock")).contains(&path.display().to_string()));
}

#[tokio::test]
async fn a_socket_replaced_by_someone_else_is_left_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcrd.sock");
    let (_listener, file) = claim(&path).unwrap().listen(None).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(file);
    assert!(path.exists());
}

/// Claims, listens and gives up again; how often it got the path, and whether it was ever not alone.
fn contend(path: &Path, holders: &AtomicUsize) -> (usize, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (mut got, mut shared) = (0, false);
    for _ in 0..300 {
        match claim(path) {
            Ok(claimed) => {
                shared |= holders.fetch_add(1, Ordering::SeqCst) != 0;
                let (listener, file) = claimed.listen(None).unwrap();
                got += 1;
                holders.fetch_sub(1, Ordering::SeqCst);
                drop((listener, file));
            }
            Err(SocketError::InUse { .. }) => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
    (got, shared)
}

#[test]
fn of_many_that_come_and_go_never_two_have_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let (path, holders) = (folder.path().join("mcrd.sock"), AtomicUsize::new(0));
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| contend(&path, &holders))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(results.iter().all(|(_, shared)| !shared), "{results:?}");
    assert!(results.iter().map(|(got, _)| got).sum::<usize>() > 0, "{results:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
