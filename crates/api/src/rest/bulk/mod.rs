//! `PATCH` of a whole collection: many entities created, updated and deleted in one request and one commit.

mod body;
mod run;

use serde::Serialize;
use serde_json::Value;
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
        ids: Vec<String>,
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
    success: Vec<String>,
    errors: Vec<Value>,
}

/// An outcome for each kind of action that was asked for.
#[derive(Serialize, Default, Debug)]
pub(crate) struct BulkResponse {
    create: Option<Outcome>,
    update: Option<Outcome>,
    delete: Option<Outcome>,
}
