//! Answers to requests that can't be met, in the shapes that Airflow and FastAPI give them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::EngineStopped;
use serde_json::{Value, json};
use store::StoreError;

/// An answer that is no success: a status and a JSON body.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

pub(crate) type ApiResult<T> = Result<axum::Json<T>, ApiError>;

impl ApiError {
    /// `{"detail": …}`, FastAPI's `HTTPException`. The detail is a text or a document.
    pub(crate) fn new(status: StatusCode, detail: impl Into<Value>) -> Self {
        Self { status, body: json!({ "detail": detail.into() }) }
    }

    pub(crate) fn bad_request(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// The answer where Airflow's database refuses a value. The reason goes to the log, under an id that the answer names.
    pub(crate) fn refused_by_database(status: StatusCode, reason: &str, cause: impl std::fmt::Display) -> Self {
        let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        tracing::warn!(%id, %cause, "a request was refused");
        let message = format!(
            "Serious error when handling your request. Check logs for more details - you will find it in api server \
             when you look for ID {id}"
        );
        let detail = json!({"reason": reason, "statement": "hidden", "orig_error": "hidden", "message": message});
        Self::new(status, detail)
    }

    /// Something that has the same name or date exists.
    pub(crate) fn not_unique(cause: impl std::fmt::Display) -> Self {
        Self::refused_by_database(StatusCode::CONFLICT, "Unique constraint violation", cause)
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden")
    }

    /// Values that Pydantic would refuse; see [`crate::parse::Issues`].
    pub(crate) fn unprocessable(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// A fault of ours. What it is goes to the log.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    pub(crate) fn unavailable(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            // Resources that know what a conflict means say it themselves; this is Airflow's answer to the others.
            StoreError::Conflict { .. } => Self::not_unique(error),
            StoreError::Missing { .. } => Self::not_found(error.to_string()),
            // What it says of keys is for whoever may read the value.
            StoreError::Locked { .. } => {
                tracing::error!(%error, "a request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            temporary if temporary.is_temporary() => {
                tracing::error!(%error, "a request failed");
                Self::unavailable(format!("{error}; try again later"))
            }
            _ => Self::refused_by_database(StatusCode::INTERNAL_SERVER_ERROR, "Database error", error),
        }
    }
}

impl From<EngineStopped> for ApiError {
    fn from(_: EngineStopped) -> Self {
        Self::unavailable("The server is shutting down; try again when it has started")
    }
}
