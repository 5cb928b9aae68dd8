//! What the trigger runner says and asks, over the frames of the Task SDK.

use std::sync::Arc;

use jiff::Timestamp;
use model::{Json, TriggerId};
use python::import::{Answer, Answers};
use python::message::{ToSupervisor, server_error};
use python::{FrameError, FrameReader, FrameWriter};
use scheduler::{ArmTrigger, TriggerEvent, TriggeredEnd};
use serde_json::json;
use store::{Write, XCom, XComKey};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::workload::{watch_workload, workload};
use super::{Wanted, ids};
use crate::answers::StoreAnswers;
use crate::mask::Masker;
use crate::{Inner, Report, Reports, Worker};

/// What the log of a task says whose trigger has lost its arguments.
const LOCKED: &str = "The arguments of the trigger can't be decrypted: the Fernet key that encrypted them is not among \
                      those of [core] fernet_key. Put that key behind the others there (new,old), or clear the task.";

pub(super) struct Conversation<'a, R> {
    worker: &'a Worker<R>,
    answers: StoreAnswers,
    writer: FrameWriter<OwnedWriteHalf>,
}

impl<'a, R: Reports> Conversation<'a, R> {
    pub(super) fn new(worker: &'a Worker<R>, masker: Masker, writer: OwnedWriteHalf) -> Self {
        let answers = StoreAnswers {
            store: Arc::clone(&worker.inner.store),
            masker,
            own: None,
            max_map_length: worker.inner.options.max_map_length,
        };
        Self { worker, answers, writer: FrameWriter::new(writer) }
    }

    /// Lets the runner begin, and answers it until it closes the connection.
    pub(super) async fn hold(&mut self, mut reader: FrameReader<OwnedReadHalf>) -> Result<(), FrameError> {
        self.writer.answer(0, Some(&json!({"type": "StartTriggerer"}))).await?;
        while let Some(frame) = reader.read().await? {
            self.worker.inner.triggers.state().heard = Instant::now();
            if frame.body.get("type").and_then(Json::as_str) == Some("TriggerStateChanges") {
                self.changes(frame.id, &frame.body).await?;
            } else {
                self.ask_store(frame.id, frame.body).await?;
            }
        }
        Ok(())
    }

    /// Triggers have fired, failed or finished. The answer says what is to run and what is not.
    async fn changes(&mut self, id: i64, changes: &Json) -> Result<(), FrameError> {
        let list = |name: &str| changes.get(name).and_then(Json::as_array).into_iter().flatten();
        let parts = |entry: &Json| Some((TriggerId(entry.get(0)?.as_i64()?), entry.get(1)?.clone()));
        let mut persisted = Vec::new();
        for entry in list("events") {
            if let Some((trigger, event)) = parts(entry)
                && !self.fired(trigger, event).await
            {
                continue;
            }
            persisted.extend(entry.get(2).and_then(Json::as_i64));
        }
        for (trigger, traceback) in list("failures").filter_map(parts) {
            let traceback = traceback
                .as_array()
                .map(|lines| lines.iter().filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>());
            self.failed(trigger, traceback).await;
        }
        let (mut create, cancel) = self.worker.inner.triggers.sync(&ids(changes.get("finished")));
        let is_locked = |wanted: &mut Wanted| matches!(wanted, Wanted::Task(armed) if armed.trigger.kwargs.is_null());
        for locked in create.extract_if(.., is_locked) {
            if let Wanted::Task(locked) = locked {
                self.locked(&locked).await;
            }
        }
        let answer = json!({
            "type": "TriggerStateSync",
            "to_create": self.workloads(create).await,
            "to_cancel": cancel.iter().map(|id| id.0).collect::<Vec<_>>(),
            "events_persisted": (!persisted.is_empty()).then_some(persisted),
        });
        self.writer.answer(id, Some(&answer)).await
    }

    /// What the runner is told of triggers. One that can't be described is tried again in a while.
    async fn workloads(&self, create: Vec<Wanted>) -> Vec<Json> {
        let worker = self.worker.clone();
        let described = tokio::task::spawn_blocking(move || {
            let Inner { options, store, triggers, .. } = &*worker.inner;
            let describe = |wanted: Wanted| match wanted {
                Wanted::Watcher(watch) => Some(watch_workload(&watch)),
                Wanted::Task(armed) => match workload(&armed, &options.hostname, &**store) {
                    Ok(workload) => Some(workload),
                    Err(error) => {
                        tracing::error!(%error, "{} waits for a trigger whose Dag can't be read", armed.ti.key());
                        triggers.postpone(armed.trigger.id);
                        None
                    }
                },
            };
            create.into_iter().filter_map(describe).collect()
        });
        described.await.unwrap_or_default()
    }

    /// A trigger whose arguments can't be decrypted fails, as in Airflow.
    async fn locked(&self, armed: &ArmTrigger) {
        let trigger = armed.trigger.id;
        tracing::error!("{} can't go on: the arguments of its trigger can't be decrypted", armed.ti.key());
        if self.worker.inner.triggers.answered(trigger) {
            let traceback = Some(vec![LOCKED.to_owned()]);
            self.worker.inner.reports.report(Report::TriggerFailed { trigger, traceback }).await;
        }
    }

    /// Returns whether the event has got where it belongs: that of a watcher is durable then.
    async fn fired(&self, trigger: TriggerId, mut event: Json) -> bool {
        let (triggers, reports) = (&self.worker.inner.triggers, &self.worker.inner.reports);
        match triggers.known(trigger) {
            Some(Wanted::Watcher(_)) => {
                triggers.works(trigger);
                let payload = event.get_mut("payload").map_or(Json::Null, Json::take);
                return reports.watched(trigger, payload).await;
            }
            // A second event of the same trigger finds nobody who waits.
            Some(Wanted::Task(armed)) if triggers.answered(trigger) => {
                let (event, writes) = read_event(&armed, event);
                reports.report(Report::TriggerFired { trigger, event, writes }).await;
            }
            _ => {}
        }
        true
    }

    async fn failed(&self, trigger: TriggerId, traceback: Option<Vec<String>>) {
        let (triggers, reports) = (&self.worker.inner.triggers, &self.worker.inner.reports);
        // Errors like to tell with which password they came about.
        let masked = |lines: Vec<String>| lines.iter().map(|line| self.answers.masker.mask(line)).collect();
        let traceback: Option<Vec<String>> = traceback.map(masked);
        if let Some(Wanted::Watcher(watch)) = triggers.known(trigger) {
            triggers.failed(trigger);
            let lines = traceback.unwrap_or_default();
            tracing::warn!("a trigger of the watcher {} has failed:\n{}", watch.name, lines.concat().trim_end());
            let reason = lines.last().map_or("it says no more", |last| last.trim()).to_owned();
            reports.report(Report::WatcherFailed { trigger, reason }).await;
        } else if triggers.answered(trigger) {
            reports.report(Report::TriggerFailed { trigger, traceback }).await;
        }
    }

    async fn ask_store(&mut self, id: i64, body: Json) -> Result<(), FrameError> {
        let kind = body.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
        let request: ToSupervisor = match serde_json::from_value(body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("This version of Updraft does not answer {kind} of triggers: {error}");
                return self.writer.refuse(id, &server_error(400, &message)).await;
            }
        };
        let (answers, reports) = (self.answers.clone(), self.worker.inner.reports.clone());
        let answer = move || match request {
            ToSupervisor::UpdateHITLDetail { ti_id, chosen_options, params_input } => answers
                .answer_for_people(&reports, ti_id, chosen_options, params_input)
                .unwrap_or_else(|error| Answer::Refused(server_error(500, &error.to_string()))),
            request => answers.answer(request),
        };
        match tokio::task::spawn_blocking(answer).await {
            Ok(Answer::Done) => self.writer.answer(id, None).await,
            Ok(Answer::Body(body)) => self.writer.answer(id, Some(&body)).await,
            Ok(Answer::Refused(error)) => self.writer.refuse(id, &error).await,
            Err(error) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
        }
    }
}

/// An event, and the XComs that a trigger leaves when it ends its task (`airflow/triggers/base.py`).
fn read_event(armed: &ArmTrigger, mut event: Json) -> (TriggerEvent, Vec<Write>) {
    let end = match event.get("task_instance_state").and_then(Json::as_str) {
        Some("success") => TriggeredEnd::Success,
        Some("failed") => TriggeredEnd::Failed,
        Some("skipped") => TriggeredEnd::Skipped,
        _ => return (TriggerEvent::Resume(event.get_mut("payload").map_or(Json::Null, Json::take)), Vec::new()),
    };
    let xcoms = event.get_mut("xcoms").map_or(Json::Null, Json::take);
    let at = model::operations::to_microseconds(Timestamp::now());
    let write = |(key, value): (String, Json)| {
        let ti = &armed.ti;
        let key = XComKey { run: ti.run.clone(), task_id: ti.task_id.clone(), map_index: ti.map_index, key };
        Write::XCom(Box::new(XCom { key, value, at, mapped_length: None, dag_result: false }))
    };
    let writes = match xcoms {
        Json::Object(xcoms) => xcoms.into_iter().map(write).collect(),
        _ => Vec::new(),
    };
    (TriggerEvent::End(end), writes)
}
