//! What a request carries: its body within bounds of size and time, and its query keys.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;

/// The longest body of `POST /v1/apply`, in bytes: some 100,000 rules.
pub const APPLY_MAX: usize = 16 << 20;

/// The longest body of any other request, in bytes: a rule with [`mcast::OUTPUTS_MAX`] outputs, each with every
/// option at its longest, takes 160 KiB.
pub const BODY_MAX: usize = 256 << 10;

/// Texts held at a time: with those of all clients the daemon's memory would grow to a GiB.
const TEXTS_MAX: usize = 4;

static TEXTS: Semaphore = Semaphore::const_new(TEXTS_MAX);

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize, path: &str) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Err(_) => Err(ApiError::SlowBody { seconds: BODY_TIMEOUT.as_secs() }),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(ApiError::TooLarge { path: path.to_owned(), limit }),
        Ok(Err(e)) => Err(ApiError::Malformed(format!("the body of {path} did not arrive whole: {e}"))),
    }
}

/// Reads a JSON document of at most [`BODY_MAX`] bytes; a refusal names the line and column.
pub(super) async fn json<T: DeserializeOwned>(body: Body, path: &str, what: &str) -> Result<T, ApiError> {
    let bytes = read(body, BODY_MAX, path).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let form = if e.is_data() { "" } else { "JSON for " };
        ApiError::Malformed(format!("the body of {path} is not {form}{what}: {e}"))
    })
}

/// Reads a text of at most [`APPLY_MAX`] bytes; a refusal names the line. The place among [`TEXTS_MAX`] is to be kept as
/// long as the text is.
pub(super) async fn text(body: Body, path: &str) -> Result<(String, SemaphorePermit<'static>), ApiError> {
    let place = tokio::time::timeout(BODY_TIMEOUT, TEXTS.acquire()).await;
    // The semaphore is never closed.
    let Ok(Ok(place)) = place else { return Err(ApiError::Busy { path: path.to_owned() }) };
    let bytes = read(body, APPLY_MAX, path).await?;
    let text = String::from_utf8(bytes.into()).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        ApiError::Malformed(format!("the rule file is not UTF-8: byte {} in line {line}", good.len()))
    })?;
    Ok((text, place))
}

/// The query's keys, which must all be known to `T`.
#[derive(Debug)]
pub(super) struct Keys<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Keys<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        keys(&parts.uri)
    }
}

fn keys<T: DeserializeOwned>(uri: &Uri) -> Result<Keys<T>, ApiError> {
    Query::try_from_uri(uri).map(|Query(keys)| Keys(keys)).map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        ApiError::Malformed(format!("the query ?{} of {}: {reason}", uri.query().unwrap_or(""), uri.path()))
    })
}
