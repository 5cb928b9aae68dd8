//! What an answer says of other records: each is read once for each request.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use model::{Dag, DagId, DagRun, RunKey, TaskInstance, VersionId};
use store::{BundleRecord, DagRecord, Store, VersionHead};

use super::dag_versions::DagVersionResponse;
use crate::error::ApiError;
use crate::state::ApiState;

pub(crate) struct Lookup<'a> {
    state: &'a ApiState,
    display_names: HashMap<DagId, Rc<str>>,
    versions: HashMap<VersionId, Option<Rc<DagVersionResponse>>>,
    runs: HashMap<RunKey, Option<Rc<DagRun>>>,
    bundles: HashMap<String, Option<Rc<BundleRecord>>>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(state: &'a ApiState) -> Self {
        Self {
            state,
            display_names: HashMap::new(),
            versions: HashMap::new(),
            runs: HashMap::new(),
            bundles: HashMap::new(),
        }
    }

    pub(crate) fn store(&self) -> &'a dyn Store {
        self.state.store()
    }

    /// The name that people see; the id of a Dag that is gone.
    pub(crate) fn display_name(&mut self, dag_id: &DagId) -> Result<Rc<str>, ApiError> {
        if let Some(name) = self.display_names.get(dag_id) {
            return Ok(Rc::clone(name));
        }
        let record = self.store().dag(dag_id)?;
        let name: Rc<str> = record.map_or_else(|| dag_id.to_string(), |record| record.display_name).into();
        self.display_names.insert(dag_id.clone(), Rc::clone(&name));
        Ok(name)
    }

    /// Notes a name that was read anyway.
    pub(crate) fn know(&mut self, record: &DagRecord) {
        self.display_names.insert(record.dag_id.clone(), record.display_name.as_str().into());
    }

    pub(crate) fn version(&mut self, id: VersionId) -> Result<Option<Rc<DagVersionResponse>>, ApiError> {
        if let Some(version) = self.versions.get(&id) {
            return Ok(version.clone());
        }
        let version = match self.store().version_head(id)? {
            None => None,
            Some(head) => Some(Rc::new(self.version_of(head)?)),
        };
        self.versions.insert(id, version.clone());
        Ok(version)
    }

    pub(crate) fn version_of(&mut self, head: VersionHead) -> Result<DagVersionResponse, ApiError> {
        let display_name = self.display_name(&head.dag_id)?;
        let bundle = match self.bundles.get(&head.bundle_name) {
            Some(bundle) => bundle.clone(),
            None => {
                let bundle = self.store().bundle(&head.bundle_name)?.map(Rc::new);
                self.bundles.insert(head.bundle_name.clone(), bundle.clone());
                bundle
            }
        };
        Ok(DagVersionResponse::new(head, &display_name, bundle.as_deref()))
    }

    pub(crate) fn run(&mut self, key: &RunKey) -> Result<Option<Rc<DagRun>>, ApiError> {
        if let Some(run) = self.runs.get(key) {
            return Ok(run.clone());
        }
        let run = self.store().run(key)?.map(Rc::new);
        self.runs.insert(key.clone(), run.clone());
        Ok(run)
    }

    /// The name that people see of a task; its id where it has none, or where the structure is gone.
    pub(crate) fn task_display_name(&self, ti: &TaskInstance) -> Result<String, ApiError> {
        let dag = self.structure(ti.version)?;
        let task = dag.as_ref().and_then(|dag| dag.find(ti.task_id.as_str()).map(|index| dag.task(index)));
        Ok(task.and_then(|task| task.display_name.clone()).unwrap_or_else(|| ti.task_id.to_string()))
    }

    /// The structure that a run was made with; the Dag's newest one for a run that is not known.
    pub(crate) fn structure_for(&mut self, key: &RunKey) -> Result<Arc<Dag>, ApiError> {
        let missing = || ApiError::not_found(format!("The Dag with ID: `{}` was not found", key.dag_id));
        let version = match self.run(key)? {
            Some(run) => run.version,
            None => self.store().dag(&key.dag_id)?.ok_or_else(missing)?.version,
        };
        self.structure(version)?.ok_or_else(missing)
    }

    /// Whom a task instance runs as that has not begun: the server's own user.
    pub(crate) fn unixname(&self) -> Option<String> {
        Some(self.state.config().unixname.clone()).filter(|name| !name.is_empty())
    }

    pub(crate) fn structure(&self, version: VersionId) -> Result<Option<Arc<Dag>>, ApiError> {
        self.state.structure(version)
    }
}
