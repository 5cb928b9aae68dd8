//! What the scheduler decided, written down.

use std::fmt::Write;

use jiff::Timestamp;
use model::partition::PartitionChange;
use model::{Change, MapIndex, TaskInstanceKey, TaskState};
use scheduler::{Action, WeightOf};

use super::Play;
use super::read::clock;
use crate::toy::{Step, told};

impl Play {
    /// Writes down what changed: the last state of each run and task instance at each moment.
    pub(super) fn show(&mut self, steps: &[(Timestamp, Step)]) {
        for (at, step) in steps {
            let at = clock(*at);
            let mut last: Vec<(TaskInstanceKey, TaskState, u32)> = Vec::new();
            let mut ended = Vec::new();
            for change in step.changes.iter().chain(&step.lazy_changes) {
                match change {
                    Change::NotSuspended(_)
                    | Change::HitlTold(_)
                    | Change::CallbackDue(_)
                    | Change::DeadlineGone(_)
                    | Change::DeadlineMissed(_) => {}
                    Change::Deadline(deadline) => {
                        let Some(moment) = deadline.at else { continue };
                        let name = self.names.get(&deadline.run).map_or("the run", String::as_str);
                        writeln!(self.out, "  {at}  {name} is to succeed by {}", clock(moment)).unwrap();
                    }
                    Change::HitlAnswered { key, response, untold } => {
                        let when = if *untold { ", which is still to be told" } else { "" };
                        let told = told(response);
                        let (task, answer) = (self.name(key), told.as_str().unwrap_or_default());
                        writeln!(self.out, "  {at}  {task} is answered: {answer}{when}").unwrap();
                    }
                    Change::Suspended(suspension) => {
                        let trigger = suspension.trigger.as_ref().map(|trigger| trigger.id);
                        self.triggers.extend(trigger.map(|trigger| (suspension.key.clone(), trigger)));
                    }
                    Change::TaskInstance(ti) => {
                        last.retain(|(key, ..)| *key != ti.key());
                        last.push((ti.key(), ti.state, ti.try_number));
                    }
                    Change::Run(run) if run.state.is_finished() => ended.push(run),
                    Change::Run(run) => self.show_run(&at, run),
                    Change::Paused { dag_id, paused } => {
                        let word = if *paused { "paused" } else { "unpaused" };
                        writeln!(self.out, "  {at}  {dag_id} {word}").unwrap();
                    }
                    Change::DagWarning { dag_id, warning: None, .. } => {
                        writeln!(self.out, "  {at}  {dag_id} has no warning").unwrap();
                    }
                    Change::DagWarning { dag_id, warning: Some(warning), .. } => {
                        let warning = warning.replace('\n', " ");
                        writeln!(self.out, "  {at}  {dag_id} has a warning: {warning}").unwrap();
                    }
                    Change::AssetEvent(event) => {
                        let name = &event.update.asset.key.name;
                        writeln!(self.out, "  {at}  event {} of {name}", event.id).unwrap();
                    }
                    Change::Partition(change) => {
                        writeln!(self.out, "  {at}  {}", partition_text(change)).unwrap();
                    }
                    Change::AssetQueued { dag_id, queued } => {
                        writeln!(self.out, "  {at}  {} waits for {dag_id}", queued.key.name).unwrap();
                    }
                    Change::AssetsUnqueued { dag_id, assets } => {
                        let names: Vec<&str> = assets.iter().map(|key| key.name.as_str()).collect();
                        writeln!(self.out, "  {at}  {} no longer waits for {dag_id}", names.join(" ")).unwrap();
                    }
                    Change::AssetCursor { dag_id, cursor } => {
                        let told = cursor.map_or("nothing".to_owned(), |cursor| format!("what comes after {cursor}"));
                        writeln!(self.out, "  {at}  {dag_id} is told of {told}").unwrap();
                    }
                    Change::AssetEventsTaken { run, .. } => {
                        let events: Vec<String> = self.toy.consumed[run].iter().map(ToString::to_string).collect();
                        writeln!(self.out, "  {at}  {} is told of {}", self.names[run], events.join(" ")).unwrap();
                    }
                    Change::Backfill(backfill) => {
                        let word = match backfill.completed_at {
                            Some(_) => "completed",
                            None if backfill.is_paused => "paused",
                            None => "under way",
                        };
                        writeln!(self.out, "  {at}  backfill {} of {} {word}", backfill.id, backfill.dag_id).unwrap();
                    }
                    Change::DagDeleted(dag_id) => writeln!(self.out, "  {at}  {dag_id} deleted").unwrap(),
                    Change::RunDeleted(key) => {
                        writeln!(self.out, "  {at}  {} deleted", self.names[key]).unwrap();
                        self.shown.retain(|ti, _| ti.run != *key);
                        self.shown_runs.remove(key);
                    }
                    Change::Expanded { run, task_id } => {
                        let (run, task_id) = (run.clone(), task_id.clone());
                        self.shown.remove(&TaskInstanceKey { run, task_id, map_index: MapIndex::NONE });
                    }
                    Change::ArchivedTry(_) | Change::Forgotten(_) | Change::Schedule { .. } => {}
                }
            }
            for (key, state, try_number) in last {
                let before = self.shown.insert(key.clone(), (state, try_number)).unwrap_or((TaskState::None, 0));
                if before != (state, try_number) {
                    let which = if try_number > 1 { format!(" (try {try_number})") } else { String::new() };
                    writeln!(self.out, "  {at}  {} {state}{which}", self.name(&key)).unwrap();
                }
            }
            ended.into_iter().for_each(|run| self.show_run(&at, run));
            for action in &step.actions {
                self.show_action(&at, action);
            }
        }
    }

    fn show_run(&mut self, at: &str, run: &model::DagRun) {
        if !self.names.contains_key(&run.key) {
            let made_by_hand = run.run_type == model::RunType::Manual;
            let number = 1 + self.names.keys().filter(|key| key.dag_id == run.key.dag_id).count();
            let name = if made_by_hand { run.key.run_id.to_string() } else { format!("{}@{number}", run.key.dag_id) };
            if let Some(interval) = run.data_interval {
                let (start, end) = (clock(interval.start), clock(interval.end));
                writeln!(self.out, "  {at}  {name} is about {start} to {end}").unwrap();
            }
            if let Some(partition) = &run.partition {
                writeln!(self.out, "  {at}  {name} is about {}", partition.key).unwrap();
            }
            self.names.insert(run.key.clone(), name);
        }
        if self.shown_runs.insert(run.key.clone(), run.state) != Some(run.state) {
            writeln!(self.out, "  {at}  {} {}", self.names[&run.key], run.state).unwrap();
        }
    }

    fn show_action(&mut self, at: &str, action: &Action) {
        let text = match action {
            Action::Start(start) => {
                self.started.insert(start.attempt, start.ti.key());
                let Some(next) = &start.suspension else { return };
                format!("{} goes on with {}({})", self.name(&start.ti.key()), next.next_method, next.next_kwargs)
            }
            Action::AskTimetable(ask) => {
                let last = ask.last.map_or_else(|| "none".to_owned(), |last| clock(last.start));
                format!("the timetable of {} is asked; the last run was about {last}", ask.dag_id)
            }
            Action::AskMapper(ask) => format!("the mapper of {} is asked about event {}", ask.dag_id, ask.event),
            Action::DagProblem { dag_id, message } => {
                format!("{dag_id}: {}", message.lines().last().unwrap_or_default())
            }
            Action::AskWeights(asked) => {
                let of = |of: &WeightOf| format!("{} after {} tries", of.task_id, of.tries);
                let all: Vec<String> = asked.instances.iter().map(of).collect();
                format!("{} is asked what weighs: {}", asked.strategy, all.join(", "))
            }
            Action::Arm(arm) => format!("{} waits for trigger {}", self.name(&arm.ti.key()), arm.trigger.id),
            Action::Disarm(trigger) => format!("nobody waits for trigger {trigger} any more"),
            Action::Stop { attempt, reason } => {
                let stopped = self.started.get(attempt).cloned();
                format!("{} is stopped: {reason:?}", stopped.map_or_else(|| attempt.to_string(), |key| self.name(&key)))
            }
            Action::Call { callback, .. } => {
                let of = callback.of.as_ref().map(|of| format!(" of {}", of.task_id)).unwrap_or_default();
                format!("{:?} is called{of}: {}", callback.call, callback.message)
            }
            Action::RunFinished { run, reason } if *reason != run.state.name() => {
                format!("{} ended: {reason}", self.names[&run.key])
            }
            Action::AutoPaused { dag_id, failed_runs } => format!("{dag_id} has failed {failed_runs} times"),
            Action::Stuck { ti, obstacle } => format!("{} is stuck: {obstacle}", self.name(&ti.key())),
            Action::Reply { answer: Err(error), .. } => format!("refused: {error}"),
            Action::BackfillChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::TasksChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::RunChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::Refused(refusal) => format!("refused: {refusal:?}"),
            _ => return,
        };
        writeln!(self.out, "  {at}  {text}").unwrap();
    }

    fn name(&self, key: &TaskInstanceKey) -> String {
        let instance = if key.map_index.is_mapped() { format!("[{}]", key.map_index.0) } else { String::new() };
        format!("{}.{}{instance}", self.names.get(&key.run).map_or("?", String::as_str), key.task_id)
    }
}

fn partition_text(change: &PartitionChange) -> String {
    match change {
        PartitionChange::Unmapped { dag_id, event } => format!("{dag_id} asks about event {event}"),
        PartitionChange::Mapped { dag_id, event } => format!("{dag_id} knows about event {event}"),
        PartitionChange::Pending { pending, event, .. } => {
            format!("{} has event {event} for {}", pending.dag_id, pending.key)
        }
        PartitionChange::Taken { dag_id, key, .. } => format!("{dag_id} has a run of {key}"),
        PartitionChange::Dropped { dag_id, keys } => format!("{dag_id} drops {}", keys.join(" ")),
    }
}
