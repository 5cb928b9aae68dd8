//! Versions of Dags.

use serde::Serialize;
use store::VersionHead;

use crate::wire::Moment;

/// `DagVersionResponse`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct DagVersionResponse {
    id: uuid::Uuid,
    version_number: u32,
    dag_id: String,
    bundle_name: String,
    bundle_version: Option<String>,
    created_at: Moment,
    dag_display_name: String,
    /// Local folders have no page to look at.
    bundle_url: Option<String>,
}

impl DagVersionResponse {
    pub(crate) fn new(head: VersionHead, display_name: &str) -> Self {
        Self {
            id: head.id.0,
            version_number: head.number,
            dag_id: head.dag_id.to_string(),
            bundle_name: head.bundle_name,
            bundle_version: head.bundle_version,
            created_at: Moment(head.created_at),
            dag_display_name: display_name.to_owned(),
            bundle_url: None,
        }
    }
}
