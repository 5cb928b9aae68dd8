//! Answers to what code in a child asks for. Reads and writes go to the store; they mean what the execution API of
//! Airflow 3.3 means by them (`airflow/api_fastapi/execution_api/routes`).

use std::sync::Arc;

use jiff::Timestamp;
use model::{
    Dag, DagId, DagRun, DagRunState, Json, MapIndex, RunKey, TaskId, TaskInstance, TaskInstanceKey, TaskState,
};
use python::import::{Answer, Answers};
use python::message::{ErrorType, TaskFilter, ToSupervisor, XComRequest, server_error};
use serde_json::{Map, json};
use store::{
    Direction, Page, RunFilter, RunOrder, Store, StoreError, TaskInstanceFilter, Variable, Write, XCom, XComKey,
};

use crate::asset_states::AssetRef;
use crate::assets::EventQuery;
use crate::mask::Masker;

/// What Airflow says of a value that is longer than `[core] max_map_length`, when another task is to map over it.
const TOO_LONG_TO_MAP: &str = "pushed value is too large to map as a downstream's dependency";
/// Rows that one question may touch.
const MAX_ROWS: u64 = 100_000;

/// Answers from the store. `own` is the task instance that asks; code that is imported has none.
#[derive(Clone)]
pub struct StoreAnswers {
    pub store: Arc<dyn Store>,
    pub masker: Masker,
    pub own: Option<Arc<OwnTask>>,
    /// The most items that a value may have that is pushed for another task to map over (`[core] max_map_length`).
    pub max_map_length: u32,
}

/// Who asks.
#[derive(Debug)]
pub struct OwnTask {
    pub ti: TaskInstance,
    pub logical_date: Option<Timestamp>,
    pub dag: Arc<Dag>,
}

impl Answers for StoreAnswers {
    fn answer(&self, request: ToSupervisor) -> Answer {
        match self.try_answer(request) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "a question of Python code can't be answered");
                Answer::Refused(server_error(500, &error.to_string()))
            }
        }
    }
}

fn body(body: Json) -> Result<Answer, StoreError> {
    Ok(Answer::Body(body))
}

fn moment(at: Option<Timestamp>) -> Json {
    at.map_or(Json::Null, |at| at.to_string().into())
}

impl StoreAnswers {
    fn try_answer(&self, request: ToSupervisor) -> Result<Answer, StoreError> {
        use ToSupervisor as T;
        match request {
            T::GetXCom(request) => self.xcom(&request),
            T::GetXComCount(request) => {
                let found = self.store.count_xcoms(&request.run(), &request.task_id(), &request.key, false)?;
                body(json!({"type": "XComCountResponse", "len": found}))
            }
            T::GetXComSequenceItem { xcom, offset } => self.xcom_item(&xcom, offset),
            T::GetXComSequenceSlice { xcom, start, stop, step } => self.xcom_slice(&xcom, start, stop, step),
            T::SetXCom { mapped_length: Some(length), .. } if length > self.max_map_length => {
                Ok(Answer::Refused(server_error(400, TOO_LONG_TO_MAP)))
            }
            T::SetXCom { xcom, value, dag_result, mapped_length } => {
                let key = xcom_key(&xcom);
                let at = Timestamp::now();
                self.store.commit(vec![Write::XCom(Box::new(XCom { key, value, at, mapped_length, dag_result }))])?;
                Ok(Answer::Done)
            }
            T::DeleteXCom(request) => {
                self.store.commit(vec![Write::DeleteXCom(xcom_key(&request))])?;
                body(json!({"type": "OKResponse", "ok": true}))
            }
            T::GetVariable { key } => self.variable(&key),
            T::GetVariableKeys { prefix, limit, offset } => self.variable_keys(prefix, limit, offset),
            T::PutVariable { key, value, description } => {
                let value = value.unwrap_or_default();
                let variable = Variable { key, value, description, ..Variable::default() };
                self.store.commit(vec![Write::Variable(variable)])?;
                Ok(Answer::Done)
            }
            T::DeleteVariable { key } => {
                match self.store.commit(vec![Write::DeleteVariable(key)]) {
                    Ok(()) | Err(StoreError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
                body(json!({"type": "OKResponse", "ok": true}))
            }
            T::GetConnection { conn_id } => self.connection(&conn_id),
            T::MaskSecret { value, name } => {
                self.masker.add(&value, name.as_deref());
                Ok(Answer::Done)
            }
            T::GetDagRun { dag_id, run_id } => self.dag_run(&RunKey::new(dag_id, run_id)),
            T::GetDagRunState { dag_id, run_id } => {
                let key = RunKey::new(dag_id, run_id);
                match self.store.run(&key)? {
                    Some(run) => body(json!({"type": "DagRunStateResult", "state": run.state.name()})),
                    None => Ok(not_found(&format!("DagRun with dag_id={} and run_id={}", key.dag_id, key.run_id))),
                }
            }
            T::GetPreviousDagRun { dag_id, logical_date, state } => {
                self.previous_run(&DagId::from(dag_id), logical_date, state.as_deref())
            }
            T::GetPrevSuccessfulDagRun {} => self.previous_successful_run(),
            T::GetDRCount { dag_id, logical_dates, run_ids, states } => {
                let count = self.runs(&dag_id, logical_dates.as_deref(), run_ids.as_deref(), states.as_deref())?.len();
                body(json!({"type": "DRCount", "count": count}))
            }
            T::GetTICount { filter, states } => self.count_task_instances(&filter, states.as_deref()),
            T::GetTaskStates(filter) => self.task_states(&filter),
            T::GetTaskBreadcrumbs { dag_id, run_id } => self.breadcrumbs(&RunKey::new(dag_id, run_id)),
            T::GetTaskRescheduleStartDate {} => {
                let first = match &self.own {
                    Some(own) => self.store.reschedules(&own.ti.key())?.1,
                    None => None,
                };
                body(json!({"type": "TaskRescheduleStartDate", "start_date": moment(first)}))
            }
            T::GetPreviousTI { dag_id, task_id, logical_date, map_index, state } => {
                self.previous_task_instance(&dag_id, &task_id, logical_date, map_index, state.as_deref())
            }
            T::GetDag { dag_id } => self.dag(&DagId::from(dag_id)),
            T::GetTaskStateStore { key } => self.task_state(&key),
            T::SetTaskStateStore { key, value, expires_at } => self.set_task_state(key, value, expires_at),
            T::DeleteTaskStateStore { key } => self.change_task_states(|ti| Write::DeleteTaskState { ti, key }),
            T::ClearTaskStateStore {} => {
                self.change_task_states(|ti| Write::ClearTaskState { ti, all_map_indices: false })
            }
            T::GetAssetStateStoreByName { name, key } => self.asset_state(&AssetRef::Name(name), &key),
            T::GetAssetStateStoreByUri { uri, key } => self.asset_state(&AssetRef::Uri(uri), &key),
            T::SetAssetStateStoreByName { name, key, value } => self.set_asset_state(&AssetRef::Name(name), key, value),
            T::SetAssetStateStoreByUri { uri, key, value } => self.set_asset_state(&AssetRef::Uri(uri), key, value),
            T::DeleteAssetStateStoreByName { name, key } => self.delete_asset_state(&AssetRef::Name(name), Some(key)),
            T::DeleteAssetStateStoreByUri { uri, key } => self.delete_asset_state(&AssetRef::Uri(uri), Some(key)),
            T::ClearAssetStateStoreByName { name } => self.delete_asset_state(&AssetRef::Name(name), None),
            T::ClearAssetStateStoreByUri { uri } => self.delete_asset_state(&AssetRef::Uri(uri), None),
            T::ValidateInletsAndOutlets {} => self.validate(),
            T::GetAssetByName { name } => self.asset(Some(&name), None),
            T::GetAssetByUri { uri } => self.asset(None, Some(&uri)),
            T::GetAssetsByAlias { alias_name } => self.assets_of_alias(&alias_name),
            T::GetAssetEventByAsset { name, uri, after, before, limit, ascending } => {
                self.events_of_asset(name, uri, &EventQuery { after, before, ascending, limit })
            }
            T::GetAssetEventByAssetAlias { alias_name, after, before, limit, ascending } => {
                self.events_of_alias(alias_name, &EventQuery { after, before, ascending, limit })
            }
            T::CreateHITLDetailPayload(request) => self.ask_people(request),
            T::GetHITLDetailResponse { ti_id } => self.peoples_answer(ti_id),
            other => Ok(Answer::Refused(server_error(400, &format!("Unhandled request: {}", kind(&other))))),
        }
    }

    fn xcom(&self, request: &XComRequest) -> Result<Answer, StoreError> {
        let key = xcom_key(request);
        let found = if request.include_prior_dates {
            self.store.xcom_with_prior_dates(&key)?
        } else {
            self.store.xcom(&key)?
        };
        // The SDK takes null for an entry that is not there.
        let value = found.map_or(Json::Null, |xcom| xcom.value);
        body(json!({"type": "XComResult", "key": request.key, "value": value}))
    }

    /// Only what the slice spans is read.
    fn xcom_slice(
        &self,
        request: &XComRequest,
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
    ) -> Result<Answer, StoreError> {
        let (run, task_id, key) = (request.run(), request.task_id(), &request.key);
        let (indexes, first, found) = if request.include_prior_dates {
            let found = self.store.xcoms_with_prior_dates(&run, &task_id, key)?;
            (slice(found.len() as u64, start, stop, step), 0, found)
        } else {
            let indexes = slice(self.store.count_xcoms(&run, &task_id, key, false)?, start, stop, step);
            let first = indexes.iter().copied().min().unwrap_or(0);
            let span = indexes.iter().max().map_or(0, |last| last - first + 1);
            (indexes, first, self.store.some_xcoms(&run, &task_id, key, first, span)?)
        };
        let value = |index: u64| found.get(usize::try_from(index - first).ok()?).map(|xcom| xcom.value.clone());
        let values: Vec<Json> = indexes.into_iter().filter_map(value).collect();
        body(json!({"type": "XComSequenceSliceResult", "root": values}))
    }

    fn xcom_item(&self, request: &XComRequest, offset: i64) -> Result<Answer, StoreError> {
        match self.store.xcom_at(&request.run(), &request.task_id(), &request.key, offset)? {
            Some(found) => body(json!({"type": "XComSequenceIndexResult", "root": found.value})),
            None => body(ErrorType::XComNotFound.response(json!({
                "dag_id": request.dag_id,
                "run_id": request.run_id,
                "task_id": request.task_id,
                "key": request.key,
                "offset": offset,
            }))),
        }
    }

    fn variable(&self, key: &str) -> Result<Answer, StoreError> {
        match self.store.variable(key)? {
            Some(variable) => {
                self.masker.add(&Json::from(variable.value.as_str()), Some(key));
                body(json!({"type": "VariableResult", "key": key, "value": variable.value}))
            }
            None => body(ErrorType::VariableNotFound.response(json!({"key": key}))),
        }
    }

    fn variable_keys(
        &self,
        prefix: Option<String>,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<Answer, StoreError> {
        let prefix = prefix.unwrap_or_default();
        let (all, _) = self.store.variables(None, Page { limit: MAX_ROWS, offset: 0 })?;
        let keys: Vec<String> =
            all.into_iter().map(|variable| variable.key).filter(|key| key.starts_with(&prefix)).collect();
        let total = keys.len();
        let skip = usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX);
        let take = usize::try_from(limit.unwrap_or(1000)).unwrap_or(usize::MAX);
        let keys: Vec<String> = keys.into_iter().skip(skip).take(take).collect();
        body(json!({"type": "VariableKeysResult", "keys": keys, "total_entries": total}))
    }

    fn connection(&self, conn_id: &str) -> Result<Answer, StoreError> {
        let Some(connection) = self.store.connection(conn_id)? else {
            return body(ErrorType::ConnectionNotFound.response(json!({"conn_id": conn_id})));
        };
        self.masker.add_connection(connection.password.as_deref(), connection.extra.as_deref());
        body(json!({
            "type": "ConnectionResult",
            "conn_id": connection.connection_id,
            "conn_type": connection.conn_type,
            "host": connection.host,
            "schema": connection.schema,
            "login": connection.login,
            "password": connection.password,
            "port": connection.port,
            "extra": connection.extra,
        }))
    }

    fn dag_run(&self, key: &RunKey) -> Result<Answer, StoreError> {
        match self.store.run(key)? {
            Some(run) => body(with_type(self.run_fields(&run)?, "DagRunResult")),
            None => Ok(not_found(&format!("DagRun with dag_id={} and run_id={}", key.dag_id, key.run_id))),
        }
    }

    fn previous_run(&self, dag_id: &DagId, before: Timestamp, state: Option<&str>) -> Result<Answer, StoreError> {
        let states: Vec<DagRunState> = state.and_then(|state| state.parse().ok()).into_iter().collect();
        let filter = RunFilter { dag_id: Some(dag_id.clone()), states, ..RunFilter::default() };
        let order = [(RunOrder::LogicalDate, Direction::Descending)];
        let (runs, _) = self.store.runs(&filter, &order, Page { limit: MAX_ROWS, offset: 0 })?;
        let previous = runs.into_iter().find(|run| run.logical_date.is_some_and(|date| date < before));
        let previous = previous.map(|run| self.run_fields(&run)).transpose()?;
        body(json!({"type": "PreviousDagRunResult", "dag_run": previous}))
    }

    fn previous_successful_run(&self) -> Result<Answer, StoreError> {
        let previous = match &self.own {
            Some(own) => match own.logical_date {
                Some(before) => self.store.last_successful_run(&own.ti.run.dag_id, before)?,
                None => None,
            },
            None => None,
        };
        let mut fields = json!({"type": "PrevSuccessfulDagRunResult"});
        if let Some(run) = previous {
            fields["data_interval_start"] = moment(run.data_interval.map(|interval| interval.start));
            fields["data_interval_end"] = moment(run.data_interval.map(|interval| interval.end));
            fields["start_date"] = moment(run.start_date);
            fields["end_date"] = moment(run.end_date);
        }
        body(fields)
    }

    fn runs(
        &self,
        dag_id: &str,
        logical_dates: Option<&[Timestamp]>,
        run_ids: Option<&[String]>,
        states: Option<&[String]>,
    ) -> Result<Vec<DagRun>, StoreError> {
        let states = states.unwrap_or_default().iter().filter_map(|state| state.parse().ok()).collect();
        let filter = RunFilter { dag_id: Some(DagId::from(dag_id)), states, ..RunFilter::default() };
        let (runs, _) = self.store.runs(&filter, &[], Page { limit: MAX_ROWS, offset: 0 })?;
        Ok(runs
            .into_iter()
            .filter(|run| is_wanted(run.logical_date, logical_dates) && is_run_wanted(&run.key, run_ids))
            .collect())
    }

    /// The task instances that a filter means, beside its task group.
    fn task_instances(&self, filter: &TaskFilter, task_ids: &[String]) -> Result<Vec<TaskInstance>, StoreError> {
        let dag_id = DagId::from(filter.dag_id.as_str());
        let runs = self.runs(&filter.dag_id, filter.logical_dates.as_deref(), filter.run_ids.as_deref(), None)?;
        let mut found = Vec::new();
        for run in runs {
            let query = TaskInstanceFilter {
                dag_id: Some(dag_id.clone()),
                run_id: Some(run.key.run_id.clone()),
                task_ids: task_ids.to_vec(),
                map_index: filter.map_index.filter(|index| *index >= 0),
                ..TaskInstanceFilter::default()
            };
            found.extend(self.store.task_instances(&query, &[], Page { limit: MAX_ROWS, offset: 0 })?.0);
        }
        Ok(found)
    }

    /// The tasks of a task group, or an answer that there is no such group.
    fn group_tasks(&self, dag_id: &str, group: &str) -> Result<Result<Vec<String>, Answer>, StoreError> {
        let dag = self.store.dag(&DagId::from(dag_id))?;
        let version = dag.map(|dag| self.store.version(dag.version)).transpose()?.flatten();
        let tasks = version.and_then(|version| python::serialized::tasks_of_group(&version.serialized, group));
        Ok(tasks.ok_or_else(|| {
            Answer::Refused(server_error(404, &format!("Task group {group} not found in DAG {dag_id}")))
        }))
    }

    fn count_task_instances(
        &self,
        filter: &TaskFilter,
        states: Option<&[Option<String>]>,
    ) -> Result<Answer, StoreError> {
        let mut task_ids = filter.task_ids.clone().unwrap_or_default();
        if let Some(group) = &filter.task_group_id {
            let of_group = match self.group_tasks(&filter.dag_id, group)? {
                Ok(tasks) => tasks,
                Err(refused) => return Ok(refused),
            };
            // Both conditions hold.
            task_ids = if task_ids.is_empty() {
                of_group
            } else {
                task_ids.into_iter().filter(|task| of_group.contains(task)).collect()
            };
            if task_ids.is_empty() {
                return body(json!({"type": "TICount", "count": 0}));
            }
        }
        let wanted: Option<Vec<TaskState>> = states.filter(|states| !states.is_empty()).map(|states| {
            let state = |name: &Option<String>| match name.as_deref() {
                None | Some("null" | "None") => Some(TaskState::None),
                Some(name) => name.parse().ok(),
            };
            states.iter().filter_map(state).collect()
        });
        // Every instance of a mapped task asks how many it is one of: the store counts without reading them all.
        if let (None, Some([run_id]), None) = (&wanted, filter.run_ids.as_deref(), &filter.logical_dates) {
            let query = TaskInstanceFilter {
                dag_id: Some(DagId::from(filter.dag_id.as_str())),
                run_id: Some(run_id.as_str().into()),
                task_ids,
                map_index: filter.map_index.filter(|index| *index >= 0),
                ..TaskInstanceFilter::default()
            };
            let (_, count) = self.store.task_instances(&query, &[], Page { limit: 0, offset: 0 })?;
            return body(json!({"type": "TICount", "count": count}));
        }
        let is_counted = |ti: &TaskInstance| wanted.as_ref().is_none_or(|wanted| wanted.contains(&ti.state));
        let count = self.task_instances(filter, &task_ids)?.iter().filter(|ti| is_counted(ti)).count();
        body(json!({"type": "TICount", "count": count}))
    }

    fn task_states(&self, filter: &TaskFilter) -> Result<Answer, StoreError> {
        let mut task_ids = filter.task_ids.clone().unwrap_or_default();
        if let Some(group) = &filter.task_group_id {
            match self.group_tasks(&filter.dag_id, group)? {
                // Those of the group come on top.
                Ok(tasks) => task_ids.extend(tasks),
                Err(refused) => return Ok(refused),
            }
            if task_ids.is_empty() {
                return body(json!({"type": "TaskStatesResult", "task_states": {}}));
            }
        }
        let mut states: Map<String, Json> = Map::new();
        for ti in self.task_instances(filter, &task_ids)? {
            let name = if ti.map_index.is_mapped() {
                format!("{}_{}", ti.task_id, ti.map_index.0)
            } else {
                ti.task_id.to_string()
            };
            let of_run = states.entry(ti.run.run_id.to_string()).or_insert_with(|| Json::Object(Map::new()));
            of_run[name] = ti.state.name().map_or(Json::Null, Json::from);
        }
        body(json!({"type": "TaskStatesResult", "task_states": states}))
    }

    fn breadcrumbs(&self, run: &RunKey) -> Result<Answer, StoreError> {
        let finished = self.store.task_instances_of(run)?.into_iter().filter(|ti| ti.state.is_finished());
        let crumbs: Vec<Json> = finished
            .map(|ti| {
                json!({
                    "task_id": ti.task_id.as_str(),
                    "map_index": ti.map_index.0,
                    "state": ti.state.name(),
                    "operator": &*ti.operator,
                    "duration": ti.duration().map(model::operations::total_seconds),
                })
            })
            .collect();
        body(json!({"type": "TaskBreadcrumbsResult", "breadcrumbs": crumbs}))
    }

    fn previous_task_instance(
        &self,
        dag_id: &str,
        task_id: &str,
        before: Option<Timestamp>,
        map_index: i32,
        state: Option<&str>,
    ) -> Result<Answer, StoreError> {
        let wanted: Option<TaskState> = state.and_then(|state| state.parse().ok());
        let filter = RunFilter { dag_id: Some(DagId::from(dag_id)), ..RunFilter::default() };
        let order = [(RunOrder::LogicalDate, Direction::Descending)];
        let (runs, _) = self.store.runs(&filter, &order, Page { limit: MAX_ROWS, offset: 0 })?;
        let earlier = runs.into_iter().filter(|run| match before {
            Some(before) => run.logical_date.is_some_and(|date| date < before),
            None => true,
        });
        for run in earlier {
            let key = TaskInstanceKey {
                run: run.key.clone(),
                task_id: TaskId::from(task_id),
                map_index: MapIndex(map_index),
            };
            let found = self.store.task_instance(&key)?;
            if let Some(ti) = found.filter(|ti| wanted.is_none_or(|wanted| ti.state == wanted)) {
                let previous = json!({
                    "task_id": task_id,
                    "dag_id": dag_id,
                    "run_id": run.key.run_id.as_str(),
                    "logical_date": moment(run.logical_date),
                    "start_date": moment(ti.start_date),
                    "end_date": moment(ti.end_date),
                    "state": ti.state.name(),
                    "try_number": ti.try_number,
                    "map_index": map_index,
                    "duration": ti.duration().map(model::operations::total_seconds),
                });
                return body(json!({"type": "PreviousTIResult", "task_instance": previous}));
            }
        }
        body(json!({"type": "PreviousTIResult", "task_instance": null}))
    }

    fn dag(&self, dag_id: &DagId) -> Result<Answer, StoreError> {
        match self.store.dag(dag_id)? {
            Some(dag) => body(json!({
                "type": "DagResult",
                "dag_id": dag.dag_id.as_str(),
                "is_paused": dag.paused,
                "bundle_name": dag.bundle_name,
                "bundle_version": dag.bundle_version,
                "relative_fileloc": dag.relative_fileloc,
                "owners": dag.owners.join(", "),
                "tags": dag.tags,
                "next_dagrun": moment(dag.schedule.next_run.map(|next| next.logical_date())),
            })),
            None => Ok(not_found(&format!("The Dag with ID: `{dag_id}`"))),
        }
    }
}

fn not_found(what: &str) -> Answer {
    Answer::Refused(server_error(404, &format!("{what} was not found")))
}

fn with_type(mut fields: Json, name: &str) -> Json {
    fields["type"] = name.into();
    fields
}

/// The name of a request, for messages.
fn kind(request: &ToSupervisor) -> String {
    let text = format!("{request:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn is_wanted(date: Option<Timestamp>, wanted: Option<&[Timestamp]>) -> bool {
    wanted.filter(|wanted| !wanted.is_empty()).is_none_or(|wanted| date.is_some_and(|date| wanted.contains(&date)))
}

fn is_run_wanted(key: &RunKey, wanted: Option<&[String]>) -> bool {
    wanted.filter(|wanted| !wanted.is_empty()).is_none_or(|wanted| wanted.iter().any(|id| id == key.run_id.as_str()))
}

fn xcom_key(request: &XComRequest) -> XComKey {
    XComKey { run: request.run(), task_id: request.task_id(), map_index: request.map_index(), key: request.key.clone() }
}

/// The indexes of Python's slice of a list that is so long.
fn slice(length: u64, start: Option<i64>, stop: Option<i64>, step: Option<i64>) -> Vec<u64> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let step = step.filter(|step| *step != 0).unwrap_or(1);
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |index: i64| if index < 0 { index.saturating_add(length).max(low) } else { index.min(high) };
    let (mut index, stop) = if step > 0 {
        (start.map_or(0, bound), stop.map_or(length, bound))
    } else {
        (start.map_or(length - 1, bound), stop.map_or(-1, bound))
    };
    let mut sliced = Vec::new();
    while (step > 0 && index < stop) || (step < 0 && index > stop) {
        sliced.extend(u64::try_from(index).ok());
        index = index.saturating_add(step);
    }
    sliced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_those_of_python() {
        // Each line: start, stop, step and what `list(range(5))[start:stop:step]` gives.
        for (start, stop, step, want) in [
            (None, None, None, "[0,1,2,3,4]"),
            (Some(1), Some(3), None, "[1,2]"),
            (Some(-2), None, None, "[3,4]"),
            (None, Some(-2), None, "[0,1,2]"),
            (None, None, Some(2), "[0,2,4]"),
            (None, None, Some(-1), "[4,3,2,1,0]"),
            (Some(3), Some(0), Some(-2), "[3,1]"),
            (Some(10), None, None, "[]"),
            (Some(-10), Some(10), Some(3), "[0,3]"),
            (None, Some(-10), Some(-1), "[4,3,2,1,0]"),
            (Some(1), Some(-1), Some(-1), "[]"),
            (Some(i64::MIN), Some(i64::MAX), Some(i64::MAX), "[0]"),
            (Some(i64::MAX), Some(i64::MIN), Some(i64::MIN), "[4]"),
        ] {
            assert_eq!(Json::from(slice(5, start, stop, step)).to_string(), want, "{start:?}:{stop:?}:{step:?}");
        }
    }
}
