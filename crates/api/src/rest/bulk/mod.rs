//! `PATCH` of a whole collection: many entities created, updated and deleted in one request and one commit.

mod body;
mod run;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use store::{Store, StoreError, Write};

use crate::body::Fields;
use crate::error::ApiError;

pub(crate) use body::read;
pub(crate) use run::run;

/// A kind of entity that can be changed in bulk.
pub(crate) trait Bulk {
    /// An entity as a request has it.
    type Body: Send + 'static;
    /// As the store has it.
    type Record: Clone;

    /// The beginning of what is said of several: `The variables with these keys`.
    const THOSE: &'static str;
    /// Pydantic's name of the body.
    const MODEL: &'static str;

    fn read(fields: &mut Fields<'_>) -> Self::Body;
    fn id(body: &Self::Body) -> &str;
    fn find(store: &dyn Store, id: &str) -> Result<Option<Self::Record>, StoreError>;
    fn created(&self, body: &Self::Body) -> Self::Record;
    /// What an existing record becomes when the body is created over it.
    fn overwritten(&self, body: &Self::Body, old: Self::Record) -> Self::Record;
    fn updated(&self, body: &Self::Body, old: Self::Record, mask: &[String]) -> Result<Self::Record, ApiError>;
    /// Refuses the deletion of what must stay.
    fn may_delete(_id: &str) -> Result<(), ApiError> {
        Ok(())
    }
    fn write_new(record: Self::Record) -> Write;
    fn write(record: Self::Record) -> Write;
    fn write_deleted(id: &str) -> Write;
}

/// How an entity is written in the body of such a request.
pub(crate) trait Entity {
    type Body: Send + 'static;

    /// Pydantic's name of the body.
    const MODEL: &'static str;
    /// Whether it may name a team.
    const HAS_TEAM: bool;
    /// Whether Airflow reads the request twice, once to see whether the caller may do that, and tells of every fault twice.
    const READ_TWICE: bool;

    fn read(fields: &mut Fields<'_>) -> Self::Body;
}

impl<B: Bulk> Entity for B {
    type Body = <B as Bulk>::Body;

    const MODEL: &'static str = <B as Bulk>::MODEL;
    const HAS_TEAM: bool = true;
    const READ_TWICE: bool = true;

    fn read(fields: &mut Fields<'_>) -> Self::Body {
        <B as Bulk>::read(fields)
    }
}

/// What is to be deleted is named by its id, or shown whole.
pub(crate) enum Target<B> {
    Id(String),
    Body(B),
}

/// One thing to do with some entities.
pub(crate) enum Action<B> {
    Create {
        entities: Vec<B>,
        on_existence: OnExistence,
    },
    /// An empty mask is none.
    Update {
        entities: Vec<B>,
        mask: Vec<String>,
        skip_missing: bool,
    },
    Delete {
        targets: Vec<Target<B>>,
        skip_missing: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnExistence {
    Fail,
    Skip,
    Overwrite,
}

/// What came of the actions of one kind.
#[derive(Serialize, Default, Debug)]
pub(crate) struct Outcome {
    pub(crate) success: Vec<String>,
    pub(crate) errors: Vec<Value>,
}

impl Outcome {
    /// Notes something that went wrong.
    pub(crate) fn tell(&mut self, status: StatusCode, error: impl Into<Value>) {
        self.errors.push(json!({"error": error.into(), "status_code": status.as_u16()}));
    }

    /// Notes a refusal. What is no answer to one entity alone is the answer to all.
    pub(crate) fn refused(&mut self, error: ApiError) -> Result<(), ApiError> {
        if !matches!(error.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
            return Err(error);
        }
        self.tell(error.status, error.body.get("detail").cloned().unwrap_or_default());
        Ok(())
    }
}

/// An outcome for each kind of action that was asked for.
#[derive(Serialize, Default, Debug)]
pub(crate) struct BulkResponse {
    pub(crate) create: Option<Outcome>,
    pub(crate) update: Option<Outcome>,
    pub(crate) delete: Option<Outcome>,
}
