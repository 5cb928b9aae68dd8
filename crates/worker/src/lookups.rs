//! What templates read while they are rendered without Python.

use model::{DagRun, Json, MapIndex, RunKey, TaskId};
use store::{Store, StoreError, XComKey};
use template::{Connection, LookupError, Lookups, PreviousRun, XComQuery};

use crate::mask::Masker;

pub(crate) struct StoreLookups<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) masker: &'a Masker,
    pub(crate) run: &'a DagRun,
    /// A secrets back end that is asked before anything else.
    pub(crate) secrets_backend: Option<&'a str>,
}

fn unavailable(error: StoreError) -> LookupError {
    LookupError::Unavailable(error.to_string())
}

impl StoreLookups<'_> {
    /// A secrets back end is a Python class, and comes before the environment and the store.
    fn needs_backend(&self) -> Result<(), LookupError> {
        match self.secrets_backend {
            Some(class) => Err(LookupError::NeedsPython(format!("the secrets back end {class}"))),
            None => Ok(()),
        }
    }
}

impl Lookups for StoreLookups<'_> {
    fn xcom(&self, query: &XComQuery<'_>) -> Result<Option<Json>, LookupError> {
        let key = XComKey {
            run: RunKey::new(query.dag_id, query.run_id),
            task_id: TaskId::from(query.task_id),
            map_index: query.map_index.map_or(MapIndex::NONE, MapIndex),
            key: query.key.to_owned(),
        };
        let found =
            if query.include_prior_dates { self.store.xcom_with_prior_dates(&key) } else { self.store.xcom(&key) };
        Ok(found.map_err(unavailable)?.map(|xcom| xcom.value))
    }

    fn xcoms(&self, query: &XComQuery<'_>) -> Result<Vec<Json>, LookupError> {
        let run = RunKey::new(query.dag_id, query.run_id);
        let found = self.store.xcoms(&run, Some(&TaskId::from(query.task_id)), None, Some(query.key));
        Ok(found.map_err(unavailable)?.into_iter().map(|xcom| xcom.value).collect())
    }

    /// Environment variables come before the store, as in Airflow.
    fn variable(&self, key: &str) -> Result<Option<String>, LookupError> {
        self.needs_backend()?;
        let from_env = std::env::var(format!("AIRFLOW_VAR_{}", key.to_uppercase())).ok();
        let value = match from_env {
            Some(value) => Some(value),
            None => self.store.variable(key).map_err(unavailable)?.map(|variable| variable.value),
        };
        if let Some(value) = &value {
            self.masker.add(&Json::from(value.as_str()), Some(key));
        }
        Ok(value)
    }

    fn connection(&self, conn_id: &str) -> Result<Option<Connection>, LookupError> {
        self.needs_backend()?;
        let variable = format!("AIRFLOW_CONN_{}", conn_id.to_uppercase());
        if std::env::var_os(&variable).is_some() {
            // Environment variables come first, and the many forms of their texts are Python's to read.
            return Err(LookupError::NeedsPython(format!("the connection in ${variable}")));
        }
        let Some(found) = self.store.connection(conn_id).map_err(unavailable)? else { return Ok(None) };
        self.masker.add_connection(found.password.as_deref(), found.extra.as_deref());
        Ok(Some(Connection {
            conn_id: found.connection_id,
            conn_type: Some(found.conn_type),
            host: found.host,
            schema: found.schema,
            login: found.login,
            password: found.password,
            port: found.port,
            extra: found.extra,
        }))
    }

    fn previous_successful_run(&self) -> Result<PreviousRun, LookupError> {
        let Some(before) = self.run.logical_date else { return Ok(PreviousRun::default()) };
        let found = self.store.last_successful_run(&self.run.key.dag_id, before).map_err(unavailable)?;
        Ok(found.map_or_else(PreviousRun::default, |run| PreviousRun {
            data_interval_start: run.data_interval.map(|interval| interval.start),
            data_interval_end: run.data_interval.map(|interval| interval.end),
            start_date: run.start_date,
            end_date: run.end_date,
        }))
    }
}
