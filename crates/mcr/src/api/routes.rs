//! What there is under `/v1`: each path's methods, and the message each becomes.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use mcast::{Rule, RuleName};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::{self, Keys};
use super::error::ApiError;
use super::model::{Diagnosis, LogLevel, Plan, Removed, RuleStatus, Stats, Version, WorkerStats};
use crate::doctor;
use crate::supervisor::handle::{Answer, Handle, Request};

/// Every path and the methods it takes.
pub const ROUTES: &[(&str, &str)] = &[
    ("/v1/rules", "GET, POST (?replace=true)"),
    ("/v1/rules/{NAME}", "GET, DELETE"),
    ("/v1/apply", "POST (?dry_run=true)"),
    ("/v1/file", "GET"),
    ("/v1/stats", "GET"),
    ("/v1/workers", "GET"),
    ("/v1/doctor", "GET (?listen=SECONDS)"),
    ("/v1/doctor/{NAME}", "GET (?listen=SECONDS)"),
    ("/v1/version", "GET"),
    ("/v1/log-level", "GET, PUT"),
    ("/v1/ping", "GET"),
];

/// How long the supervisor has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// No query key is taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// `?replace=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddKeys {
    #[serde(default)]
    replace: bool,
}

/// `?dry_run=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyKeys {
    #[serde(default)]
    dry_run: bool,
}

/// `?listen=`, in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoctorKeys {
    #[serde(default)]
    listen: Option<f64>,
}

impl DoctorKeys {
    fn listen(&self) -> Result<Duration, ApiError> {
        let Some(seconds) = self.listen else { return Ok(doctor::LISTEN) };
        let listen = Duration::try_from_secs_f64(seconds).ok().filter(|listen| *listen <= doctor::LISTEN_MAX);
        let most = doctor::LISTEN_MAX.as_secs();
        listen.ok_or_else(|| ApiError::Malformed(format!("listen={seconds}: give 0 to {most} seconds")))
    }
}

/// The service behind the socket.
pub(super) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/v1/rules", get(list).post(add))
        .route("/v1/rules/{name}", get(show).delete(remove))
        .route("/v1/apply", post(apply))
        .route("/v1/file", get(file))
        .route("/v1/stats", get(stats))
        .route("/v1/workers", get(workers))
        .route("/v1/doctor", get(doctor_of_all))
        .route("/v1/doctor/{name}", get(doctor_of_one))
        .route("/v1/version", get(version))
        .route("/v1/log-level", get(log_level).put(change_log_level))
        .route("/v1/ping", get(ping))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(handle)
}

/// Sends one request to the supervisor and waits for its answer.
async fn ask<T>(handle: &Handle, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, ApiError> {
    let (answer, answered) = oneshot::channel();
    let exchange = async {
        handle.send(request(answer)).await.map_err(|_| ApiError::Stopping)?;
        Ok(answered.await.map_err(|_| ApiError::Stopping)??)
    };
    timeout(ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or(Err(ApiError::NoAnswer { seconds: ANSWER_TIMEOUT.as_secs() }))
}

/// The path's `{NAME}`.
struct Named(RuleName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|e| ApiError::Malformed(format!("{}: {e}", parts.uri.path())))?;
        rule_name(&name).map(Self)
    }
}

type Answered<T> = Result<Json<T>, ApiError>;

async fn list(State(handle): State<Handle>, Keys(NoKeys {}): Keys<NoKeys>) -> Answered<Vec<RuleStatus>> {
    ask(&handle, Request::List).await.map(Json)
}

async fn add(
    State(handle): State<Handle>,
    Keys(AddKeys { replace }): Keys<AddKeys>,
    body: Body,
) -> Result<(StatusCode, Json<RuleStatus>), ApiError> {
    let rule: Rule = body::json(body, "/v1/rules", "a rule").await?;
    let status = ask(&handle, |answer| Request::Add { rule, replace, answer }).await?;
    Ok((if replace { StatusCode::OK } else { StatusCode::CREATED }, Json(status)))
}

async fn show(
    State(handle): State<Handle>,
    Named(name): Named,
    Keys(NoKeys {}): Keys<NoKeys>,
) -> Answered<RuleStatus> {
    ask(&handle, |answer| Request::Show(name, answer)).await.map(Json)
}

async fn remove(
    State(handle): State<Handle>,
    Named(name): Named,
    Keys(NoKeys {}): Keys<NoKeys>,
) -> Answered<Removed> {
    let removed = name.to_string();
    ask(&handle, |answer| Request::Remove(name, answer)).await?;
    Ok(Json(Removed { removed }))
}

fn rule_name(name: &str) -> Result<RuleName, ApiError> {
    name.parse().map_err(|e: mcast::NameError| ApiError::Malformed(e.to_string()))
}

async fn apply(
    State(handle): State<Handle>,
    Keys(ApplyKeys { dry_run }): Keys<ApplyKeys>,
    body: Body,
) -> Answered<Plan> {
    let (text, _place) = body::text(body, "/v1/apply").await?;
    ask(&handle, |answer| Request::Apply { text, dry_run, answer }).await.map(Json)
}

async fn file(
    State(handle): State<Handle>,
    Keys(NoKeys {}): Keys<NoKeys>,
) -> Result<impl IntoResponse, ApiError> {
    let text = ask(&handle, Request::Save).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text))
}

async fn stats(State(handle): State<Handle>, Keys(NoKeys {}): Keys<NoKeys>) -> Answered<Stats> {
    ask(&handle, Request::Stats).await.map(Json)
}

async fn workers(State(handle): State<Handle>, Keys(NoKeys {}): Keys<NoKeys>) -> Answered<Vec<WorkerStats>> {
    ask(&handle, Request::Workers).await.map(Json)
}

async fn doctor_of_all(State(handle): State<Handle>, Keys(keys): Keys<DoctorKeys>) -> Answered<Diagnosis> {
    let listen = keys.listen()?;
    ask(&handle, |answer| Request::Doctor { name: None, listen, answer }).await.map(Json)
}

async fn doctor_of_one(
    State(handle): State<Handle>,
    Named(name): Named,
    Keys(keys): Keys<DoctorKeys>,
) -> Answered<Diagnosis> {
    let listen = keys.listen()?;
    ask(&handle, |answer| Request::Doctor { name: Some(name), listen, answer }).await.map(Json)
}

async fn version(Keys(NoKeys {}): Keys<NoKeys>) -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() })
}

/// Like [`version`], but only once the supervisor's task answered too.
async fn ping(State(handle): State<Handle>, keys: Keys<NoKeys>) -> Answered<Version> {
    ask(&handle, Request::Workers).await?;
    Ok(version(keys).await)
}

async fn log_level(State(handle): State<Handle>, Keys(NoKeys {}): Keys<NoKeys>) -> Answered<LogLevel> {
    ask(&handle, |answer| Request::LogLevel(None, answer)).await.map(Json)
}

async fn change_log_level(
    State(handle): State<Handle>,
    Keys(NoKeys {}): Keys<NoKeys>,
    body: Body,
) -> Answered<LogLevel> {
    let level = body::json(body, "/v1/log-level", "{\"directives\": \"TARGET=LEVEL\"}").await?;
    ask(&handle, |answer| Request::LogLevel(Some(level), answer)).await.map(Json)
}

async fn no_such_path(uri: Uri) -> ApiError {
    let paths: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    ApiError::NoSuchPath(format!("there is nothing at {}: there are {}", uri.path(), paths.join(", ")))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let path = uri.path();
    let named = ["/v1/rules/", "/v1/doctor/"].into_iter().find(|folder| path.starts_with(folder));
    let known = named.map_or_else(|| path.to_owned(), |folder| format!("{folder}{{NAME}}"));
    let methods =
        ROUTES.iter().find(|(path, _)| *path == known.as_str()).map_or("none", |(_, methods)| methods);
    ApiError::NoSuchMethod(format!("{path} does not take {method}: it takes {methods}"))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::supervisor::handle::Refusal;

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_does_not_answer_is_given_up() {
        let (handle, mut requests) = mpsc::channel(1);
        let held = tokio::spawn(async move { requests.recv().await });
        assert_eq!(ask(&handle, Request::List).await, Err(ApiError::NoAnswer { seconds: 30 }));
        drop(held);
    }

    #[tokio::test]
    async fn a_supervisor_that_is_gone_is_told_from_one_that_refuses() {
        let (handle, mut requests) = mpsc::channel(1);
        let refusing = tokio::spawn(async move {
            let Some(Request::Save(answer)) = requests.recv().await else { panic!("not what was sent") };
            let _ = answer.send(Err(Refusal::Conflict("no".into())));
        });
        assert_eq!(ask(&handle, Request::Save).await, Err(Refusal::Conflict("no".into()).into()));
        refusing.await.unwrap();
        assert_eq!(ask(&handle, Request::List).await, Err(ApiError::Stopping));
    }
}
