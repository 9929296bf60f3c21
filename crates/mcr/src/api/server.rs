//! The accept loop: connections within bounds, one request each.
//!
//! At most [`CONNECTIONS_MAX`] are served at once, further ones wait in the kernel's backlog. Head, body, answer
//! and the connection as a whole have a time each, so a client that stalls frees its place. One request a
//! connection keeps those bounds simple; on a Unix socket a new connection costs next to nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::ApiError;
use super::policy::Policy;
use super::routes;
use crate::supervisor::handle::Handle;

/// Connections served at once.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live: head, body, the supervisor's answer, and its reading by the client.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take to read its answer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way have at shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// How long the loop rests when the kernel refuses to accept, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A request's head is at most this long, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// Serves the control interface until `shutdown` resolves; requests under way then have 3 s to finish.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    policy: Policy,
    shutdown: impl Future<Output = ()>,
) {
    let app = routes::router(handle);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, place) = tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        let (peer, app) = match authorised(&stream, policy) {
            Ok(peer) => (Some(peer), app.clone()),
            Err(refusal) => (None, refusing(refusal)),
        };
        let stopping = stopping.clone();
        connections.spawn(async move {
            connection(stream, peer, app, stopping).await;
            drop(place);
        });
    }
    drop(listener);
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, finished).await.is_err() {
        tracing::warn!("control requests still under way are cut off");
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> (UnixStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(e) => {
                tracing::warn!("accepting a control connection failed, retried in 1 s: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer, if it may go on.
fn authorised(stream: &UnixStream, policy: Policy) -> Result<UCred, ApiError> {
    let peer = stream.peer_cred().map_err(|e| ApiError::Forbidden(format!("the peer is not known: {e}")))?;
    policy.check(&peer).map_err(|e| {
        tracing::warn!("a control connection is refused: {e}");
        ApiError::Forbidden(e.to_string())
    })?;
    Ok(peer)
}

/// Answers every request with the refusal.
fn refusing(refusal: ApiError) -> Router {
    Router::new().fallback(move || {
        let refusal = refusal.clone();
        async move { refusal }
    })
}

/// Serves one request, or none where the client sends none in time.
async fn connection(stream: UnixStream, peer: Option<UCred>, app: Router, mut stopping: watch::Receiver<()>) {
    let app = TowerToHyperService::new(app);
    let answered = &Notify::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = app.call(request);
        async move {
            let answer = answer.await;
            answered.notify_one();
            if let Ok(answer) = &answer {
                log_change(peer, &method, &path, answer.status());
            }
            answer
        }
    });
    let mut builder = http1::Builder::new();
    // Half-closed: a client such as `printf … | socat` ends its side before it reads the answer.
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    builder.keep_alive(false).half_close(true);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let whole = async {
        tokio::select! {
            result = served.as_mut() => result,
            _ = stopping.changed() => {
                served.as_mut().graceful_shutdown();
                served.as_mut().await
            }
        }
    };
    let unread = async {
        answered.notified().await;
        tokio::time::sleep(READ_TIMEOUT).await;
    };
    tokio::select! {
        ended = timeout(CONNECTION_TIMEOUT, whole) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::debug!("a control connection ended early: {e}"),
            Err(_) => tracing::debug!("a control connection is cut off after {CONNECTION_TIMEOUT:?}"),
        },
        () = unread => tracing::debug!("a control connection is cut off: its answer was not read in {READ_TIMEOUT:?}"),
    }
}

/// Leaves a trace of who asked for a change.
fn log_change(peer: Option<UCred>, method: &Method, path: &str, status: StatusCode) {
    if let Some(peer) = peer.filter(|_| !method.is_safe()) {
        let (uid, pid) = (peer.uid(), peer.pid().unwrap_or(0));
        tracing::info!("uid {uid} (pid {pid}) asked for {method} {path}: {status}");
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!("a control connection failed, the others go on: {e}");
    }
}
