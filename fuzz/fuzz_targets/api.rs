//! The control interface: any bytes on its socket are answered, or the connection is closed; it goes on.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mcr::api::policy::Policy;
use mcr::supervisor::handle::{Handle, Request};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A server whose supervisor takes every request and never has an answer.
struct Server {
    runtime: Runtime,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        runtime.block_on(async {
            let listener = UnixListener::bind(path).expect("a socket");
            let (handle, mut requests): (Handle, mpsc::Receiver<Request>) = mpsc::channel(1);
            tokio::spawn(async move { while requests.recv().await.is_some() {} });
            tokio::spawn(mcr::api::serve(listener, handle, Policy::of_this_process(), std::future::pending()));
        });
        Self { runtime, folder }
    }

    async fn ask(&self, bytes: &[u8]) {
        let mut stream = UnixStream::connect(self.folder.path().join("s")).await.expect("it listens");
        // It may close while this is still being sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        if let Some(head) = answer.get(..7) {
            assert_eq!(head, b"HTTP/1.");
        }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::start);
        server.runtime.block_on(async {
            timeout(Duration::from_secs(20), server.ask(bytes)).await.expect("an answer in time");
        });
    });
});
