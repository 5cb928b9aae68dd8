//! Decide, commit, act: one step of the engine, without threads and without a clock.
//!
//! The simulation drives the very same code.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use model::timetable::NextRun;
use model::{AttemptId, Change, DagId, Outlets, RunKey, TaskInstanceKey, TriggerId};
use scheduler::{
    Action, Config, Decisions, Event, IdSource, Need, NewRun, Outcome, Refusal, ReplyId, Scheduler, Trigger,
    TriggerError, TriggerEvent,
};
use store::{DagFilter, DagRecord, Page, RunExists, Store, StoreError, Write};

use crate::assets::{found, partitions_of, queued, resolve};
use crate::backfilling::BackfillRequest;
use crate::facts::facts_of;
use crate::hitl::{self, AnswerRequest};
use crate::lookup::{DagSource, Lookup};

/// What the engine is told.
#[derive(Debug)]
pub enum Input {
    Event(Event),
    /// Somebody asks for a run; the answer is an [`Action::Reply`].
    Trigger(Box<TriggerRequest>),
    /// Somebody asks for a backfill of these dates; the answer is an [`Action::BackfillChanged`].
    Backfill {
        reply: ReplyId,
        request: Box<BackfillRequest>,
        dates: Vec<NextRun>,
    },
    /// An attempt ended, and leaves something to be written together with its end.
    AttemptEnded {
        attempt: AttemptId,
        /// Its start, if that was not told before.
        started: Option<Started>,
        at: Timestamp,
        outcome: Outcome,
        rendered_map_index: Option<String>,
        writes: Vec<Write>,
        /// The assets that it produced, if it has succeeded.
        outlets: Outlets,
    },
    /// A trigger has fired, and may leave something to be written together with that.
    TriggerFired {
        trigger: TriggerId,
        event: TriggerEvent,
        writes: Vec<Write>,
    },
    /// Somebody answers what a task has asked people.
    Answer(Box<AnswerRequest>),
    /// These Dags were imported, or their files are gone: the store has what is known of them.
    DagsChanged(Vec<DagId>),
}

/// Where and when an attempt began.
#[derive(Clone, Debug)]
pub struct Started {
    pub at: Timestamp,
    pub hostname: Arc<str>,
    pub unixname: Arc<str>,
    pub pid: u32,
}

#[derive(Clone, Debug)]
pub struct TriggerRequest {
    pub reply: ReplyId,
    pub dag_id: DagId,
    pub run: NewRun,
}

/// A step that is under way. It is kept when the store fails in the middle of it, and taken up again where it stopped:
/// the scheduler has moved on by then, and what it decided must not be lost.
#[derive(Default)]
struct Work {
    inputs: VecDeque<Input>,
    events: Vec<Event>,
    needs: VecDeque<Need>,
    decisions: Decisions,
    /// What attempts left to be written together with their end.
    own_writes: Vec<Write>,
    refused: Vec<Action>,
    ended: HashSet<AttemptId>,
    /// Task instances that were answered.
    answered: HashSet<TaskInstanceKey>,
    stepped: bool,
    /// What the store must have before it answers the needs.
    early_writes: Vec<Write>,
    /// The whole batch, once everything is decided.
    writes: Option<Vec<Write>>,
}

pub struct Core<S: ?Sized, D> {
    scheduler: Scheduler,
    store: Arc<S>,
    lookup: Lookup<S, D>,
    /// Writes that may wait for the next commit.
    lazy: HashMap<TaskInstanceKey, Write>,
    work: Option<Work>,
}

impl<S: Store + ?Sized, D: DagSource> Core<S, D> {
    pub fn new(config: Config, ids: IdSource, store: Arc<S>, dags: D) -> Self {
        Self {
            scheduler: Scheduler::new(config, ids),
            lookup: Lookup::new(Arc::clone(&store), dags),
            store,
            lazy: HashMap::new(),
            work: None,
        }
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Takes up what the store has: pools, Dags, and every run that was under way when the last process ended.
    pub fn recover(&mut self, now: Timestamp) -> Result<Vec<Action>, StoreError> {
        let mut events = vec![
            Event::TriggersFrom(self.store.last_trigger()?),
            found(&*self.store)?,
            Event::DeadlinesFound(self.store.deadlines()?),
            Event::BackfillsFrom(self.store.last_backfill()?),
        ];
        for pool in self.store.pools(None, Page::ALL)?.0 {
            events.push(pool_event(&pool));
        }
        let in_files = DagFilter { exclude_stale: true, ..DagFilter::default() };
        let mut seen = HashSet::new();
        for record in self.store.dags(&in_files, &[], Page::ALL)?.0 {
            events.extend(changed(&record, "the Dag is left out until it is imported again"));
            seen.insert(record.dag_id);
        }
        let runs = self.store.active_runs()?;
        let backfills = self.store.open_backfills()?;
        let mut gone = Vec::new();
        for dag_id in runs.iter().map(|run| &run.key.dag_id).chain(backfills.iter().map(|backfill| &backfill.dag_id)) {
            if seen.insert(dag_id.clone())
                && let Some(record) = self.store.dag(dag_id)?
            {
                events.extend(changed(&record, "the Dag's runs wait until it is imported again"));
                gone.push(Event::DagGone(dag_id.clone()));
            }
        }
        let readable: HashSet<DagId> = events.iter().filter_map(known_dag).cloned().collect();
        // Before their runs, so that these are known as such.
        events.extend(backfills.into_iter().map(|backfill| Event::BackfillFound(Box::new(backfill))));
        for run in runs.into_iter().filter(|run| readable.contains(&run.key.dag_id)) {
            events.extend(self.lookup.take_up(run)?);
        }
        // When all runs that count against a Dag's limit are known.
        events.extend(queued(&*self.store)?);
        for dag_id in &readable {
            events.extend(partitions_of(&*self.store, dag_id)?);
        }
        // Last, because a Dag that is gone is forgotten unless it has runs.
        events.append(&mut gone);
        let refused = self.callbacks_left()?;
        self.work = Some(Work { events, refused, ..Work::default() });
        self.retry(now)
    }

    /// The callbacks that the last process owed.
    fn callbacks_left(&self) -> Result<Vec<Action>, StoreError> {
        let mut left = Vec::new();
        for callback in self.store.callbacks()? {
            left.push(Action::Call { callback: Box::new(callback), run: None });
        }
        Ok(left)
    }

    /// Takes the inputs, decides, makes the decisions durable, and returns what is to be done now.
    ///
    /// On an error nothing is lost: the step is kept, and [`Self::retry`] goes on with it. Inputs of further steps
    /// come after it.
    pub fn step(&mut self, inputs: Vec<Input>, now: Timestamp) -> Result<Vec<Action>, StoreError> {
        self.work.get_or_insert_default().inputs.extend(inputs);
        self.retry(now)
    }

    /// Whether a step waits for the store.
    pub fn is_behind(&self) -> bool {
        self.work.is_some()
    }

    /// Goes on with a step that an error of the store stopped, and then with what was told meanwhile.
    ///
    /// When this gives actions while [`Self::is_behind`], they are to be done, and it must be called again.
    pub fn retry(&mut self, now: Timestamp) -> Result<Vec<Action>, StoreError> {
        let mut actions = Vec::new();
        while let Some(mut work) = self.work.take() {
            match self.advance(&mut work, now) {
                Ok(()) => {
                    actions.append(&mut work.decisions.actions);
                    actions.append(&mut work.refused);
                    if !work.inputs.is_empty() {
                        self.work = Some(Work { inputs: work.inputs, ..Work::default() });
                    }
                }
                Err(error) => {
                    self.work = Some(work);
                    if actions.is_empty() {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(actions)
    }

    /// Whether there are writes that wait for company.
    pub fn has_lazy_writes(&self) -> bool {
        !self.lazy.is_empty()
    }

    /// Commits the writes that waited for company.
    pub fn flush_lazy(&mut self, now: Timestamp) -> Result<Vec<Action>, StoreError> {
        if self.work.is_none() {
            let writes = self.lazy.drain().map(|(_, write)| write).collect();
            self.work = Some(Work { writes: Some(writes), ..Work::default() });
        }
        self.retry(now)
    }

    fn advance(&mut self, work: &mut Work, now: Timestamp) -> Result<(), StoreError> {
        if let Some(writes) = &work.writes {
            // All is decided; what came since is the next step's.
            return self.commit(writes);
        }
        // What is told while a step is under way waits for the next one: the store that answers questions about it
        // does not know yet what this step decides.
        while !work.stepped
            && let Some(input) = work.inputs.front()
        {
            if let Input::Answer(request) = input {
                match hitl::check(&*self.store, request, &mut work.answered)? {
                    Ok(event) => work.events.push(event),
                    Err(refused) => work.refused.push(refused),
                }
            } else {
                self.take(input, &mut work.events, &mut work.own_writes, &mut work.refused, &mut work.ended)?;
            }
            work.inputs.pop_front();
        }
        loop {
            self.commit_before_asking(work)?;
            while let Some(need) = work.needs.front() {
                work.events.extend(self.lookup.answer(need)?);
                work.needs.pop_front();
            }
            if work.stepped && work.events.is_empty() {
                break;
            }
            let events = std::mem::take(&mut work.events);
            work.needs = self.scheduler.step(events, now, &mut work.decisions).into();
            work.stepped = true;
        }
        let own = std::mem::take(&mut work.own_writes);
        let writes = work.writes.insert(self.gather_writes(&mut work.decisions, own));
        self.commit(writes)
    }

    /// The store answers the scheduler's questions: it must know what the scheduler has decided so far. Nothing is
    /// done about those decisions before the step is complete.
    fn commit_before_asking(&mut self, work: &mut Work) -> Result<(), StoreError> {
        if work.needs.is_empty() {
            return Ok(());
        }
        let own = std::mem::take(&mut work.own_writes);
        work.early_writes.extend(self.gather_writes(&mut work.decisions, own));
        self.commit(&work.early_writes)?;
        work.early_writes.clear();
        Ok(())
    }

    /// Turns one input into events and writes.
    fn take(
        &mut self,
        input: &Input,
        events: &mut Vec<Event>,
        writes: &mut Vec<Write>,
        refused: &mut Vec<Action>,
        ended: &mut HashSet<AttemptId>,
    ) -> Result<(), StoreError> {
        match input {
            Input::Event(event) => events.push(event.clone()),
            Input::Trigger(request) => match self.check_trigger(request)? {
                Ok(event) => events.push(event),
                Err(reply) => refused.push(reply),
            },
            Input::Backfill { reply, request, dates } => {
                events.push(Event::BackfillsFrom(self.store.last_backfill()?));
                match self.lookup.backfill(&*self.store, *reply, request, dates)? {
                    Ok(event) => events.push(event),
                    Err(refusal) => refused.push(refusal),
                }
            }
            Input::AttemptEnded { attempt, started, at, outcome, rendered_map_index, writes: own, outlets } => {
                if !self.scheduler.is_current(*attempt) || ended.contains(attempt) {
                    refused.push(Action::Refused(Refusal::StaleAttempt { attempt: *attempt, message: "ended" }));
                    return Ok(());
                }
                // What may fail comes first: an input is taken once more after an error, and must be as new then.
                let updates = match outcome {
                    Outcome::Success if !outlets.is_empty() => Some(resolve(&*self.store, outlets)?),
                    _ => None,
                };
                let decision = match (outcome, self.scheduler.instance_of_branch(*attempt)) {
                    (Outcome::Success, Some(branch)) => self.lookup.decision_of(&branch)?,
                    _ => None,
                };
                ended.insert(*attempt);
                writes.extend_from_slice(own);
                events.extend(started.clone().map(|Started { at, hostname, unixname, pid }| Event::AttemptStarted {
                    attempt: *attempt,
                    at,
                    hostname,
                    unixname,
                    pid,
                }));
                let decided = decision.map(|decision| Event::BranchDecided { attempt: *attempt, decision });
                events.extend(decided);
                events.extend(updates.map(|updates| Event::AssetsUpdated { attempt: *attempt, updates }));
                events.push(Event::AttemptEnded {
                    attempt: *attempt,
                    at: *at,
                    outcome: outcome.clone(),
                    rendered_map_index: rendered_map_index.clone(),
                });
            }
            Input::TriggerFired { trigger, event, writes: own } => {
                let is_first =
                    self.scheduler.is_awaited(*trigger) && !events.iter().any(|event| is_of(event, *trigger));
                if is_first {
                    writes.extend_from_slice(own);
                }
                events.push(Event::TriggerFired { trigger: *trigger, event: event.clone() });
            }
            // Taken before.
            Input::Answer(_) => {}
            Input::DagsChanged(dag_ids) => {
                for dag_id in dag_ids {
                    let more = self.dag_events(dag_id, events)?;
                    events.extend(more);
                }
            }
        }
        Ok(())
    }

    /// The batch of a step: what waited for company, what was decided, what attempts left.
    fn gather_writes(&mut self, decisions: &mut Decisions, own: Vec<Write>) -> Vec<Write> {
        for change in decisions.lazy_changes.drain(..) {
            if let Change::TaskInstance(ti) = &change {
                self.lazy.insert(ti.key(), Write::Decision(change));
            }
        }
        let changes = last_of_each(std::mem::take(&mut decisions.changes));
        if changes.is_empty() && own.is_empty() {
            return Vec::new();
        }
        // What these changes say of a task instance, they say better.
        for change in &changes {
            match change {
                Change::TaskInstance(ti) => drop(self.lazy.remove(&ti.key())),
                Change::RunDeleted(run) => self.lazy.retain(|key, _| key.run != *run),
                Change::DagDeleted(dag_id) => self.lazy.retain(|key, _| key.run.dag_id != *dag_id),
                _ => {}
            }
        }
        let lazy = self.lazy.drain().map(|(_, write)| write);
        lazy.chain(in_writing_order(changes).into_iter().map(Write::Decision)).chain(own).collect()
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        match self.store.commit(writes.to_vec()) {
            Err(error) if !error.is_temporary() => {
                // Trying again would fail again. The decisions stand; what attempts left goes with them if it can.
                tracing::error!(%error, "a batch can't be written as it is; writing its decisions alone");
                let decisions = writes.iter().filter(|write| matches!(write, Write::Decision(_))).cloned().collect();
                match self.store.commit(decisions) {
                    Err(error) if !error.is_temporary() => {
                        tracing::error!(%error, "decisions can't be written and are given up; this is a bug");
                        Ok(())
                    }
                    result => result,
                }
            }
            result => result,
        }
    }

    /// What the store alone can say about a request for a run.
    fn check_trigger(&mut self, request: &TriggerRequest) -> Result<Result<Event, Action>, StoreError> {
        let TriggerRequest { reply, dag_id, run } = request.clone();
        let refuse = |error| Ok(Err(Action::Reply { to: reply, answer: Err(error) }));
        let key = RunKey { dag_id: dag_id.clone(), run_id: run.run_id.clone() };
        match self.store.run_exists(&key, run.logical_date)? {
            RunExists::SameId => return refuse(TriggerError::RunIdTaken { dag_id, run_id: key.run_id }),
            RunExists::SameLogicalDate => {
                let logical_date = run.logical_date.unwrap_or_default();
                return refuse(TriggerError::LogicalDateTaken { dag_id, logical_date });
            }
            RunExists::No => {}
        }
        match self.lookup.newest(&dag_id)? {
            Some(structure) => Ok(Ok(Event::Trigger(Box::new(Trigger { reply, run, structure })))),
            None => refuse(TriggerError::UnknownDag(dag_id)),
        }
    }

    /// What the store says about a Dag. `pending` has happened but is not decided yet.
    fn dag_events(&mut self, dag_id: &DagId, pending: &[Event]) -> Result<Vec<Event>, StoreError> {
        let Some(record) = self.store.dag(dag_id)? else { return Ok(vec![Event::DagGone(dag_id.clone())]) };
        let is_known =
            self.scheduler.knows(dag_id) || pending.iter().filter_map(known_dag).any(|known| known == dag_id);
        let mut events = Vec::new();
        if !record.stale || !is_known {
            let event = changed(&record, "the Dag keeps its last good schedule");
            events.extend(event.map(|event| with_pending_pause(event, pending)));
        }
        // The runs of a Dag whose facts could not be read before.
        if !is_known && !events.is_empty() {
            let open = self.store.open_backfills()?.into_iter().filter(|backfill| backfill.dag_id == *dag_id);
            events.extend(open.map(|backfill| Event::BackfillFound(Box::new(backfill))));
            for run in self.lookup.active_runs_of(dag_id)? {
                events.extend(self.lookup.take_up(run)?);
            }
        }
        if !is_known && !events.is_empty() {
            events.extend(partitions_of(&*self.store, dag_id)?);
        }
        if record.stale {
            events.push(Event::DagGone(dag_id.clone()));
        }
        Ok(events)
    }
}

/// The facts of a Dag for the scheduler, unless they can't be read.
fn changed(record: &DagRecord, otherwise: &str) -> Option<Event> {
    match facts_of(record) {
        Ok(facts) => Some(Event::DagChanged(Box::new(facts))),
        Err(error) => {
            tracing::error!(dag_id = %record.dag_id, %error, "{otherwise}");
            None
        }
    }
}

/// The Dag whose facts an event brings.
fn known_dag(event: &Event) -> Option<&DagId> {
    match event {
        Event::DagChanged(facts) => Some(&facts.dag_id),
        _ => None,
    }
}

/// The store does not know yet what was asked for in this very step.
fn with_pending_pause(event: Event, pending: &[Event]) -> Event {
    let Event::DagChanged(mut facts) = event else { return event };
    let asked_for = pending.iter().rev().find_map(|event| match event {
        Event::DagPaused { dag_id, paused, .. } if *dag_id == facts.dag_id => Some(*paused),
        _ => None,
    });
    facts.paused = asked_for.unwrap_or(facts.paused);
    Event::DagChanged(facts)
}

/// Leaves out what a later change of the same batch replaces: a task with thousands of instances makes and moves each of
/// them in one step.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Change> = changes
        .into_iter()
        .rev()
        .filter(|change| match change {
            Change::TaskInstance(ti) => seen.insert((ti.run.clone(), ti.task_id.clone(), ti.map_index)),
            _ => true,
        })
        .collect();
    kept.reverse();
    kept
}

/// Runs before their task instances, which refer to them.
fn in_writing_order(changes: Vec<Change>) -> Vec<Change> {
    let (mut runs, others): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| matches!(change, Change::Run(_)));
    runs.extend(others);
    runs
}

/// What the scheduler must know of a pool.
pub fn pool_event(pool: &store::Pool) -> Event {
    Event::PoolChanged {
        name: pool.name.as_str().into(),
        slots: u32::try_from(pool.slots).ok(),
        include_deferred: pool.include_deferred,
    }
}

/// Whether an event is news of this trigger.
fn is_of(event: &Event, trigger: TriggerId) -> bool {
    matches!(event, Event::TriggerFired { trigger: other, .. } | Event::TriggerFailed { trigger: other, .. }
        if *other == trigger)
}
