//! One HTTP request over the daemon's Unix socket.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::CtlError;
use crate::api::model::ErrorBody;

/// How long the daemon has for the whole exchange: its supervisor's 30 s and some for the way.
const TIMEOUT: Duration = Duration::from_secs(35);

/// The daemon at a socket.
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for the document at `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Bytes, CtlError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Sends one request; the answer is the body of a success.
    pub(super) async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CtlError> {
        match timeout(TIMEOUT, self.exchange(method, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(CtlError::NoDaemon(format!(
                "mcrd at {} did not answer within {} s and may still carry this out: see its log, and list",
                self.socket.display(),
                TIMEOUT.as_secs()
            ))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CtlError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.no_connection(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.no_answer(&e))?;
        // Ends with the exchange; what it has to say comes through the sender, too.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "mcrd")
            .header(header::USER_AGENT, concat!("mcrctl/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|e| CtlError::Refused(format!("{path} is no request: {e}")))?;
        let response = sender.send_request(request).await.map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.no_answer(&e))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CtlError {
        let error = match serde_json::from_slice(body) {
            Ok(ErrorBody { error }) => error,
            Err(_) => format!("what listens at {} answers {status}: is it mcrd?", self.socket.display()),
        };
        match status {
            StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                CtlError::NoDaemon(format!("{}: {error}", self.socket.display()))
            }
            _ => CtlError::Refused(error),
        }
    }

    fn no_connection(&self, e: &io::Error) -> CtlError {
        let socket = self.socket.display();
        CtlError::NoDaemon(match e.kind() {
            ErrorKind::NotFound => {
                format!("no mcrd at {socket}: there is no such socket: start mcrd or name its --socket PATH")
            }
            ErrorKind::ConnectionRefused => format!(
                "no mcrd at {socket}: nothing listens there (yet): start mcrd, or wait until it has applied its file"
            ),
            ErrorKind::PermissionDenied => format!(
                "you may not connect to {socket}: run as root, or let root run usermod -aG mcr USER and log in again"
            ),
            ErrorKind::WouldBlock => format!("mcrd at {socket} is busy with other clients: try again"),
            ErrorKind::InvalidInput => {
                format!("{socket} cannot be a socket's path: {e}: name another --socket PATH")
            }
            _ => format!("connecting to {socket} failed: {e}: start mcrd or name its --socket PATH"),
        })
    }

    fn no_answer(&self, e: &hyper::Error) -> CtlError {
        let reason =
            std::error::Error::source(e).map_or_else(|| e.to_string(), |cause| format!("{e}: {cause}"));
        CtlError::NoDaemon(format!(
            "what listens at {} gave no answer: {reason}: is it mcrd, and does it still run?",
            self.socket.display()
        ))
    }
}

/// Reads a document of the daemon.
pub(super) fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, CtlError> {
    serde_json::from_slice(body).map_err(|e| {
        CtlError::Refused(format!(
            "the daemon's answer is not what this mcrctl expects: {e}: are they of one version?"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_never_answers_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let started = tokio::time::Instant::now();
        let result = Client::new(&path).get("/v1/ping").await;
        assert!(matches!(result, Err(CtlError::NoDaemon(e)) if e.contains("35 s")));
        assert_eq!(started.elapsed().as_secs(), 35);
        drop(silent);
    }
}
