//! Runs that people end, put back into the queue, or delete (Airflow's `api.common.mark_tasks`).
//!
//! A run that is under way is changed as it stands. Any other is fetched first: the store has its task instances.

use std::collections::HashSet;

use crate::listeners::SET_BY_HAND;
use jiff::Timestamp;
use model::transition::{TaskTransition, next_state};
use model::{Change, Dag, DagId, DagRun, DagRunState, RunKey, TaskIndex, TaskState};

use crate::clear::Clear;
use crate::event::{Action, Decisions, LoadedRun, Need, ReplyId, RunRefusal, StopReason};
use crate::mark::Mark;
use crate::run_state::{Previous, RunSerial, TaskRef};
use crate::structure::NewestStructure;
use crate::{Scheduler, put};

/// Something that people want of a run.
#[derive(Debug)]
pub(crate) enum Wish {
    /// It is to end, or to be put back into the queue.
    State(DagRunState, ReplyId),
    Clear(Clear),
    Mark(Mark),
}

/// What people want of a run that is being fetched for it.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    wishes: Vec<Wish>,
    /// The run, if it was taken out of its queue.
    waiting: Option<DagRun>,
    /// The run, where its Dag's newest structure has been asked for.
    fetched: Option<Box<LoadedRun>>,
}

impl Wishes {
    pub(crate) fn add(&mut self, wish: Wish) {
        self.wishes.push(wish);
    }
}

impl Wish {
    fn wants_newest(&self, run: &DagRun) -> bool {
        matches!(self, Wish::Clear(clear) if clear.wants_newest(run))
    }
}

/// What becomes of a run's task instances when people end it.
struct Ending {
    /// By their places among those that were asked about.
    moves: Vec<(usize, TaskTransition)>,
    /// A teardown has not ended: the run goes on until it has.
    teardown_is_open: bool,
}

impl Scheduler {
    pub(crate) fn set_run_state(
        &mut self,
        key: &RunKey,
        state: DagRunState,
        reply: ReplyId,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        if let Some(serial) = self.run_serials.get(key).copied() {
            let run = match state {
                DagRunState::Queued => self.requeue_running(serial, now, decisions),
                _ => self.end_running(serial, state, now, decisions),
            };
            if let Some(run) = run {
                decisions.actions.push(Action::RunChanged { to: reply, answer: Ok(Some(Box::new(run))) });
            }
            return;
        }
        self.wish(key, Wish::State(state, reply));
    }

    /// Has a run fetched that is not under way, for somebody who wants something of it.
    pub(crate) fn wish(&mut self, key: &RunKey, wish: Wish) {
        if !self.wishes.contains_key(key) {
            if !self.is_loading(key) {
                self.needs.push(Need::Run(key.clone()));
            }
            let waiting = self.take_waiting(key);
            self.wishes.insert(key.clone(), Wishes { waiting, ..Wishes::default() });
        }
        self.wishes.entry(key.clone()).or_default().add(wish);
    }

    fn is_loading(&self, key: &RunKey) -> bool {
        self.dags.get(&key.dag_id).is_some_and(|entry| entry.loading.iter().any(|run| run.key == *key))
    }

    /// Takes a run that waits for its turn out of its queue.
    fn take_waiting(&mut self, key: &RunKey) -> Option<DagRun> {
        let entry = self.dags.get_mut(&key.dag_id)?;
        let position = entry.unavailable.iter().position(|run| run.key == *key);
        position.map(|position| entry.unavailable.remove(position)).or_else(|| entry.queue.remove(key))
    }

    /// A run was fetched. Does what people want of it, if they want anything; otherwise it is given back.
    pub(crate) fn grant_wishes(
        &mut self,
        loaded: LoadedRun,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> Option<LoadedRun> {
        let key = loaded.run.key.clone();
        let Some(wishes) = self.wishes.get_mut(&key) else { return Some(loaded) };
        if wishes.wishes.iter().any(|wish| wish.wants_newest(&loaded.run)) {
            wishes.fetched = Some(Box::new(loaded));
            self.needs.push(Need::Structure { run: key });
            return None;
        }
        let wishes = self.wishes.remove(&key).unwrap_or_default();
        self.fulfil(loaded, wishes.wishes, now, decisions);
        None
    }

    /// The newest structure of a Dag is there. Does what people want with it, if it was for that that it was asked for;
    /// otherwise it is given back.
    pub(crate) fn grant_with_newest(
        &mut self,
        key: &RunKey,
        newest: Option<NewestStructure>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> Option<NewestStructure> {
        let Some(wishes) = self.wishes.remove(key) else { return newest };
        if let Some(mut loaded) = wishes.fetched {
            if let Some(NewestStructure { structure, skips, lengths }) = newest {
                loaded.run.version = structure.version;
                loaded.run.bundle_version.clone_from(&structure.bundle_version);
                *loaded = LoadedRun { structure, skips, lengths, ..*loaded };
            }
            self.fulfil(*loaded, wishes.wishes, now, decisions);
            return None;
        }
        if let (Some(serial), Some(newest)) = (self.run_serials.get(key).copied(), newest) {
            self.upgrade(serial, newest, now, decisions);
        }
        for wish in wishes.wishes {
            match (wish, self.run_serials.get(key).copied()) {
                (Wish::Clear(clear), Some(serial)) => self.clear_under_way(serial, &clear, now, decisions),
                // It has ended meanwhile.
                (wish, _) => self.wish(key, wish),
            }
        }
        None
    }

    fn fulfil(&mut self, mut loaded: LoadedRun, wishes: Vec<Wish>, now: Timestamp, decisions: &mut Decisions) {
        for wish in wishes {
            match wish {
                Wish::Clear(clear) => self.clear_fetched(&mut loaded, &clear, now, decisions),
                Wish::Mark(mark) => self.mark_fetched(&mut loaded, &mark, now, decisions),
                Wish::State(state, to) => {
                    match state {
                        DagRunState::Queued => requeue(&mut loaded.run, now),
                        _ => end_fetched(&mut loaded, state, now, decisions),
                    }
                    put(decisions, &loaded.run, Change::Run);
                    if loaded.run.state == state {
                        let dag = std::sync::Arc::clone(&loaded.structure.dag);
                        self.tell_of_end(&dag, &loaded.run, SET_BY_HAND, now, decisions);
                    }
                    let answer = Ok(Some(Box::new(loaded.run.clone())));
                    decisions.actions.push(Action::RunChanged { to, answer });
                }
            }
        }
        let run = loaded.run;
        self.forget_previous(&run.key);
        let dag_id = run.key.dag_id.clone();
        self.backfills_touched.insert(dag_id.clone());
        if run.state == DagRunState::Queued {
            self.new_run_before_others(&run);
            self.enqueue_run(run, now);
        }
        self.start_queued_runs(&dag_id, now);
        self.look_for_room(&dag_id, now);
    }

    /// The structure of a run that was fetched for people's wishes can't be read.
    pub(crate) fn refuse_wishes(&mut self, key: &RunKey, decisions: &mut Decisions) {
        let Wishes { wishes, waiting, .. } = self.wishes.remove(key).unwrap_or_default();
        for wish in wishes {
            let refusal = RunRefusal::NoStructure(key.dag_id.clone());
            decisions.actions.push(match wish {
                Wish::State(_, to) => Action::RunChanged { to, answer: Err(refusal) },
                Wish::Clear(Clear { reply: to, .. }) | Wish::Mark(Mark { reply: to, .. }) => {
                    Action::TasksChanged { to, answer: Err(refusal) }
                }
            });
        }
        if let (Some(run), Some(entry)) = (waiting, self.dags.get_mut(&key.dag_id)) {
            entry.unavailable.push(run);
        }
    }

    /// A run that is under way goes on at once, as one that has just left the queue.
    fn requeue_running(&mut self, serial: RunSerial, now: Timestamp, decisions: &mut Decisions) -> Option<DagRun> {
        let state = self.runs.get_mut(&serial)?;
        let mut queued = state.run.clone();
        requeue(&mut queued, now);
        state.run = DagRun { state: DagRunState::Running, start_date: Some(now), ..queued.clone() };
        put(decisions, &state.run, Change::Run);
        let timeout = crate::runs::timeout_of(state);
        if let Some(at) = timeout {
            self.timers.set(at, crate::timers::Timer::RunTimeout(serial));
        }
        let (dag, run) = (std::sync::Arc::clone(&state.dag), state.run.clone());
        self.tell_of_start(&dag, &run, now, decisions);
        Some(queued)
    }

    fn end_running(
        &mut self,
        serial: RunSerial,
        end: DagRunState,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> Option<DagRun> {
        let state = self.runs.get(&serial)?;
        let refs = state.refs(serial);
        let states: Vec<_> = refs.iter().map(|task| (task.task, state.ti(*task).state)).collect();
        let ending = ending(&state.dag, &states, end);
        for (place, transition) in ending.moves {
            self.force(refs[place], transition, StopReason::SetByHand, now, decisions);
        }
        if ending.teardown_is_open {
            return self.runs.get(&serial).map(|state| state.run.clone());
        }
        self.finish_run(serial, end, SET_BY_HAND, None, now, decisions)
    }

    pub(crate) fn delete_run(&mut self, key: &RunKey, reply: ReplyId, now: Timestamp, decisions: &mut Decisions) {
        if self.wishes.contains_key(key) || self.is_loading(key) || self.run_serials.contains_key(key) {
            decisions.actions.push(Action::RunChanged { to: reply, answer: Err(RunRefusal::Running(key.clone())) });
            return;
        }
        self.take_waiting(key);
        decisions.changes.push(Change::RunDeleted(key.clone()));
        self.deadlines.forget(|run| run == key);
        decisions.actions.push(Action::RunChanged { to: reply, answer: Ok(None) });
        self.forget_previous(key);
        self.backfills_touched.insert(key.dag_id.clone());
        self.start_queued_runs(&key.dag_id, now);
        self.look_for_room(&key.dag_id, now);
    }

    /// Forgets a Dag with all its runs; what is on its way to a worker is stopped (`api.common.delete_dag`).
    pub(crate) fn delete_dag(&mut self, dag_id: &DagId, reply: ReplyId, decisions: &mut Decisions) {
        let started = self.dags.get(dag_id).map(|entry| entry.started.clone()).unwrap_or_default();
        let states = || started.iter().filter_map(|serial| self.runs.get(serial).map(|state| (*serial, state)));
        let tasks: Vec<_> = states().flat_map(|(serial, state)| state.refs(serial)).collect();
        let of = |task: &TaskRef| self.runs.get(&task.run).map(|state| state.ti(*task));
        if tasks.iter().filter_map(of).any(|ti| ti.state == TaskState::Running) {
            let answer = Err(RunRefusal::TasksRunning(dag_id.clone()));
            decisions.actions.push(Action::RunChanged { to: reply, answer });
            return;
        }
        let instance = |task: &TaskRef| self.runs.get(&task.run).map(|state| state.instance(*task));
        let queued = tasks.iter().filter_map(instance).filter_map(|instance| instance.attempt);
        decisions.actions.extend(queued.map(|attempt| Action::Stop { attempt, reason: StopReason::Removed }));
        for task in tasks {
            decisions.actions.extend(self.let_go(task).map(Action::Disarm));
        }
        for serial in started {
            self.runs.remove(&serial);
        }
        self.run_serials.retain(|key, _| key.dag_id != *dag_id);
        self.dags.remove(dag_id);
        self.assets.dag_deleted(dag_id);
        self.partitions.forget(dag_id);
        self.look_at_watchers(dag_id, self.moment, decisions);
        self.deadlines.forget(|run| run.dag_id == *dag_id);
        decisions.changes.push(Change::DagDeleted(dag_id.clone()));
        decisions.actions.push(Action::RunChanged { to: reply, answer: Ok(None) });
    }

    /// Runs of the same Dag ask again which run is before them, and how it ended.
    pub(crate) fn forget_previous(&mut self, key: &RunKey) {
        let Some(entry) = self.dags.get(&key.dag_id) else { return };
        for serial in &entry.started {
            let Some(state) = self.runs.get_mut(serial) else { continue };
            if matches!(&state.previous, Previous::Finished(previous) if previous.key == *key) {
                state.previous = Previous::Unknown;
                self.dirty.extend(state.refs(*serial));
            }
        }
    }
}

/// Ends a run that is not under way.
fn end_fetched(loaded: &mut LoadedRun, state: DagRunState, now: Timestamp, decisions: &mut Decisions) {
    let LoadedRun { run, structure, task_instances, suspensions, .. } = loaded;
    let known = |task_id: &str| structure.dag.find(task_id);
    let (places, states): (Vec<usize>, Vec<_>) = task_instances
        .iter()
        .enumerate()
        .filter_map(|(place, ti)| Some((place, (known(ti.task_id.as_str())?, ti.state))))
        .unzip();
    let ending = ending(&structure.dag, &states, state);
    for (place, transition) in ending.moves {
        let ti = &mut task_instances[places[place]];
        let Ok(next) = next_state(ti.state, transition) else { continue };
        ti.state = next;
        ti.start_date = ti.start_date.or(Some(now));
        ti.end_date = ti.end_date.or(Some(now));
        put(decisions, ti, Change::TaskInstance);
        let gone = suspensions.extract_if(.., |suspension| suspension.key == ti.key());
        decisions.changes.extend(gone.map(|suspension| Change::NotSuspended(suspension.key)));
    }
    if !ending.teardown_is_open {
        if !run.state.is_finished() {
            run.end_date = Some(now);
        }
        run.state = state;
    }
}

fn requeue(run: &mut DagRun, now: Timestamp) {
    run.queued_at = Some(now);
    if run.state != DagRunState::Queued {
        run.state = DagRunState::Queued;
        run.start_date = None;
        run.end_date = None;
    }
}

/// What Airflow's `_set_dag_run_terminal_state` does to task instances: those that wait are skipped, those that run get the
/// state of the run, and so do all other instances of their tasks; teardowns go on.
fn ending(dag: &Dag, states: &[(TaskIndex, TaskState)], end: DagRunState) -> Ending {
    let is_running = |state: TaskState| {
        matches!(
            state,
            TaskState::Running | TaskState::Deferred | TaskState::UpForReschedule | TaskState::AwaitingInput
        )
    };
    let mark = if end == DagRunState::Success { TaskTransition::MarkSuccess } else { TaskTransition::MarkFailed };
    let is_teardown = |task: TaskIndex| dag.task(task).is_teardown;
    let running: HashSet<TaskIndex> = states
        .iter()
        .filter(|(task, state)| is_running(*state) && !is_teardown(*task))
        .map(|(task, _)| *task)
        .collect();
    let transition = |(task, state): &(TaskIndex, TaskState)| {
        if is_teardown(*task) {
            None
        } else if running.contains(task) {
            Some(mark)
        } else {
            (!state.is_finished()).then_some(TaskTransition::MarkSkipped)
        }
    };
    Ending {
        moves: states.iter().enumerate().filter_map(|(place, of)| Some((place, transition(of)?))).collect(),
        teardown_is_open: states.iter().any(|(task, state)| is_teardown(*task) && !state.is_finished()),
    }
}
