//! What the control interface answers when it does not do what was asked: a status and a reason.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::model::ErrorBody;
use crate::supervisor::handle::Refusal;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// The supervisor refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request itself is malformed: its query, its body, a name in its path.
    #[error("{0}")]
    Malformed(String),
    /// There is nothing at this path.
    #[error("{0}")]
    NoSuchPath(String),
    /// The path does not take this method.
    #[error("{0}")]
    NoSuchMethod(String),
    /// The peer may not use the control interface.
    #[error("{0}")]
    Forbidden(String),
    /// The body is longer than the path takes.
    #[error("the body is longer than {limit} bytes, the most that {path} takes: split the request")]
    TooLarge {
        /// What was asked.
        path: String,
        /// The most it takes, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} s: send it without pauses")]
    SlowBody {
        /// How long it had.
        seconds: u64,
    },
    /// As many long requests as there may be are under way.
    #[error("{path} is busy with the files of others: try again")]
    Busy {
        /// The request's path.
        path: String,
    },
    /// The supervisor's task is gone.
    #[error("mcrd is stopping: try again once it is started")]
    Stopping,
    /// The supervisor's task is busy or stuck. What was asked may still happen.
    #[error(
        "mcrd did not answer within {seconds} s and may still carry this out: look at list before trying again"
    )]
    NoAnswer {
        /// How long it had.
        seconds: u64,
    },
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Invalid(_)) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Refused(Refusal::Conflict(_)) => StatusCode::CONFLICT,
            Self::Refused(Refusal::NotFound(_)) | Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::Refused(Refusal::Failed(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy { .. } | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(ErrorBody { error: self.to_string() })).into_response()
    }
}
