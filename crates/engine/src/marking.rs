//! Which task instances people mean when they give some a state, and what is to go on then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Dag, DagRun, MapIndex, RunId, RunKey, TaskId, TaskIndex, TaskInstance, TaskState};
use scheduler::{Mark, MarkAs, ReplyId};
use store::{Page, RunFilter, Span, Store, StoreError};

use crate::selection::{Named, Selection};

/// What is meant beside the task itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relatives {
    pub upstream: bool,
    pub downstream: bool,
    pub future: bool,
    pub past: bool,
}

/// Tasks of a run that are given a state together.
#[derive(Clone, Debug)]
pub struct Meant {
    pub run: RunKey,
    pub tasks: Named,
}

/// What is to be marked, and what is to go on then.
#[derive(Debug)]
pub struct Plan {
    /// Task instances that are not in the state yet.
    pub marked: Vec<TaskInstance>,
    /// Tasks below, of which what has failed runs again.
    resume: Vec<TaskId>,
    /// The runs with something to go on.
    resumed_runs: BTreeSet<RunKey>,
}

impl Plan {
    /// What the scheduler is to be asked for, run by run.
    pub fn marks(self, mark_as: MarkAs) -> Vec<Mark> {
        let mut by_run: BTreeMap<RunKey, Vec<(TaskId, Option<MapIndex>)>> =
            self.resumed_runs.iter().map(|run| (run.clone(), Vec::new())).collect();
        for ti in self.marked {
            by_run.entry(ti.run).or_default().push((ti.task_id, Some(ti.map_index)));
        }
        let mark = |(run, tasks): (RunKey, _)| {
            let resume = if self.resumed_runs.contains(&run) { self.resume.clone() } else { Vec::new() };
            Mark { reply: ReplyId(0), run, mark_as, tasks, resume }
        };
        by_run.into_iter().map(mark).collect()
    }
}

/// What giving the tasks a state means (`set_task_instance_state`). Blocks.
pub fn plan(
    store: &dyn Store,
    dag: &Arc<Dag>,
    meant: &Meant,
    mark_as: MarkAs,
    relatives: Relatives,
) -> Result<Plan, StoreError> {
    let mut tasks = meant.tasks.clone();
    let own: BTreeSet<TaskIndex> = tasks.ids().iter().filter_map(|id| dag.find(id)).collect();
    for task in &own {
        tasks.whole.extend(flat_relatives(dag, *task, relatives));
    }
    let runs = runs_of(store, dag, &meant.run, relatives)?;
    let all = |tasks: Named, states: Vec<TaskState>, run: &RunId| {
        let (dag, run) = (Arc::clone(dag), Some(run.clone()));
        Selection { dag, run, from: None, to: None, tasks: Some(tasks), states }.find(store)
    };
    let mut marked = Vec::new();
    for run in &runs {
        let found = all(tasks.clone(), Vec::new(), &run.run_id)?;
        marked.extend(found.into_iter().filter(|ti| ti.state != state_of(mark_as)));
    }
    let resume = below(dag, &own);
    let mut resumed_runs: BTreeSet<RunKey> = runs.into_iter().collect();
    if relatives.future || relatives.past {
        // Of runs that are not marked too, if they are in the span.
        resumed_runs.extend(failed_in_span(store, dag, &meant.run, relatives, &resume)?);
    }
    Ok(Plan { marked, resume, resumed_runs })
}

pub fn state_of(mark_as: MarkAs) -> TaskState {
    match mark_as {
        MarkAs::Success => TaskState::Success,
        MarkAs::Failed => TaskState::Failed,
        MarkAs::Skipped => TaskState::Skipped,
    }
}

/// `find_task_relatives`: teardowns below are left as they are.
fn flat_relatives(dag: &Dag, task: TaskIndex, relatives: Relatives) -> Vec<String> {
    let mut found = Vec::new();
    if relatives.downstream {
        let below = dag.flat_relatives(task, false).into_iter().filter(|task| !dag.task(*task).is_teardown);
        found.extend(below);
    }
    if relatives.upstream {
        found.extend(dag.flat_relatives(task, true));
    }
    found.into_iter().map(|task| dag.task(task).task_id.to_string()).collect()
}

/// What is below some tasks, with the setups and teardowns that belong to it.
fn below(dag: &Dag, own: &BTreeSet<TaskIndex>) -> Vec<TaskId> {
    let found = dag.relatives(own, false, true);
    found.into_iter().filter(|task| !own.contains(task)).map(|task| dag.task(task).task_id.clone()).collect()
}

/// The runs that are meant (`get_run_ids`): those of the timetable, before and after the one that is named. Blocks.
fn runs_of(store: &dyn Store, dag: &Dag, run: &RunKey, relatives: Relatives) -> Result<Vec<RunKey>, StoreError> {
    let logical_date = store.run(run)?.and_then(|run| run.logical_date);
    let Some(logical_date) = logical_date.filter(|_| relatives.future || relatives.past) else {
        return Ok(vec![run.clone()]);
    };
    let timetable = &dag.timetable;
    if timetable.can_be_scheduled() && !timetable.is_periodic() {
        return Ok(vec![run.clone()]);
    }
    let (from, to) = span(logical_date, relatives);
    let runs: Vec<DagRun> = dated_runs(store, dag, from, to)?;
    let dates: Vec<Timestamp> = runs.iter().filter_map(|run| run.logical_date).collect();
    let (first, last) = (dates.iter().min().copied(), dates.iter().max().copied().unwrap_or(logical_date));
    let of_timetable: BTreeSet<Timestamp> =
        timetable.between(first, last, Timestamp::now()).map(|next| next.logical_date()).collect();
    let is_meant =
        |date: Timestamp| !timetable.can_be_scheduled() || date == logical_date || of_timetable.contains(&date);
    Ok(runs.into_iter().filter(|run| run.logical_date.is_some_and(is_meant)).map(|run| run.key).collect())
}

fn span(logical_date: Timestamp, relatives: Relatives) -> (Option<Timestamp>, Option<Timestamp>) {
    (Some(logical_date).filter(|_| !relatives.past), Some(logical_date).filter(|_| !relatives.future))
}

fn dated_runs(
    store: &dyn Store,
    dag: &Dag,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Vec<DagRun>, StoreError> {
    let logical_date = Span { from, to, or_missing: false };
    let filter = RunFilter { dag_id: Some(dag.dag_id.clone()), logical_date, ..RunFilter::default() };
    let order = [(store::RunOrder::LogicalDate, store::Direction::Ascending)];
    let (mut runs, _) = store.runs(&filter, &order, Page::ALL)?;
    runs.retain(|run| run.logical_date.is_some());
    Ok(runs)
}

/// Runs of a span of dates in which some of these tasks have failed. Blocks.
fn failed_in_span(
    store: &dyn Store,
    dag: &Arc<Dag>,
    run: &RunKey,
    relatives: Relatives,
    tasks: &[TaskId],
) -> Result<BTreeSet<RunKey>, StoreError> {
    let Some(logical_date) = store.run(run)?.and_then(|run| run.logical_date) else {
        return Ok(BTreeSet::new());
    };
    let (from, to) = span(logical_date, relatives);
    let selection = Selection {
        dag: Arc::clone(dag),
        run: None,
        from,
        to,
        tasks: Some(Named::tasks(tasks.iter().map(TaskId::as_str))),
        states: vec![TaskState::Failed, TaskState::UpstreamFailed],
    };
    Ok(selection.find(store)?.into_iter().map(|ti| ti.run).collect())
}
