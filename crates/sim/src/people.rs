//! People: they ask for runs, pause Dags, change pools, and write and lose files.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Input, TriggerRequest, facts_to_json};
use jiff::{SignedDuration, Timestamp};
use model::{DagId, DagRun, DagRunState, RunId, RunType, TriggeredBy};
use scheduler::{Clear, Event, Mark, MarkAs, NewRun, ReplyId};
use serde_json::json;
use store::{Commit, DagStore, ImportedDag, ImportedFile, Page, Pool, PoolStore, RunFilter, RunStore, Write};

use crate::assets;
use crate::dags::{POOLS, SimDag};
use crate::world::{Pending, World};

impl World {
    /// Sets the scene, and decides what people are going to do.
    pub(crate) fn prepare(&mut self) {
        for (name, slots) in POOLS {
            self.write(vec![Write::Pool(pool(name, Some(slots)))]);
        }
        for number in 0..self.dags.len() {
            let lines = self.dags[number].describe();
            self.note(|| lines.join("\n  "));
            self.import(number);
            self.plan_runs(number);
            self.plan_pauses(number);
            self.plan_edits(number);
            self.plan_changes_of_runs(number);
            self.plan_clears(number);
            self.plan_backfills(number);
        }
        for (name, slots) in POOLS {
            if self.rng.percent(15) {
                let at = self.random_moment(1200);
                let changed = [None, Some(0), Some(1), Some(slots + 2)];
                let changed = *self.rng.pick(&changed);
                self.schedule(at, Pending::Pool(name, changed));
                self.schedule(self.end_of_faults(), Pending::Pool(name, Some(slots)));
            }
        }
        for _ in 0..self.rng.range(0, 2) {
            let at = self.random_moment(1500);
            self.schedule(at, Pending::Drain);
        }
        self.schedule(self.start, Pending::Restart);
    }

    fn plan_runs(&mut self, number: usize) {
        for _ in 0..self.rng.range(0, 4) {
            let at = self.random_moment(1200);
            let (dag_id, run) = (self.dags[number].dag_id.clone(), self.new_run(at));
            self.schedule(at, Pending::Trigger(dag_id.clone(), Box::new(run.clone())));
            if self.rng.percent(10) {
                // Somebody else has the same idea, or the network has it twice.
                let later = self.random_moment(1200).max(at);
                self.schedule(later, Pending::Trigger(dag_id, Box::new(run)));
            }
        }
    }

    fn new_run(&mut self, at: Timestamp) -> NewRun {
        self.requests += 1;
        let later = |world: &mut Self, chance| {
            let seconds = if world.rng.percent(chance) { world.rng.range(0, 300) as i64 } else { 0 };
            at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
        };
        let run_after = later(self, 10);
        let logical_date = later(self, 10);
        NewRun {
            run_id: RunId::from(format!("manual__{}", self.requests)),
            run_type: RunType::Manual,
            triggered_by: TriggeredBy::RestApi,
            triggering_user: None,
            logical_date: self.rng.percent(60).then_some(logical_date),
            data_interval: None,
            run_after,
            conf: Arc::new(json!({})),
            note: None,
            partition: crate::partitions::of_run(&mut self.rng),
        }
    }

    fn plan_pauses(&mut self, number: usize) {
        let dag_id = self.dags[number].dag_id.clone();
        if self.rng.percent(15) {
            let at = self.random_moment(600);
            self.schedule(at, Pending::Pause(dag_id.clone(), true));
            let later = at.checked_add(SignedDuration::from_secs(self.rng.range(1, 900) as i64)).unwrap_or(at);
            self.schedule(later, Pending::Pause(dag_id.clone(), false));
        }
        // Whatever became of that, in the end nobody wants it paused; and if it pauses itself, people insist.
        for minutes in 0..40 {
            let at = self.end_of_faults().checked_add(SignedDuration::from_mins(10 * (minutes + 3)));
            self.schedule(at.unwrap_or(self.start), Pending::Pause(dag_id.clone(), false));
        }
    }

    fn plan_edits(&mut self, number: usize) {
        for _ in 0..self.rng.range(0, 5).saturating_sub(3) {
            let at = self.random_moment(1500);
            self.schedule(at, Pending::Edit(number));
        }
        for lose in [Pending::Vanish(number), Pending::Break(number)] {
            if self.rng.percent(12) {
                let at = self.random_moment(1200);
                self.schedule(at, lose);
                let later = at.checked_add(SignedDuration::from_secs(self.rng.range(0, 600) as i64)).unwrap_or(at);
                self.schedule(later, Pending::Repair(number));
            }
        }
    }

    fn plan_changes_of_runs(&mut self, number: usize) {
        if !self.rng.percent(20) {
            return;
        }
        let dag_id = self.dags[number].dag_id.clone();
        for _ in 0..self.rng.range(1, 4) {
            // Most happens in the beginning.
            let latest = if self.rng.percent(60) { 200 } else { 1500 };
            let at = self.random_moment(latest);
            let states = [DagRunState::Success, DagRunState::Failed, DagRunState::Failed, DagRunState::Queued];
            let state = *self.rng.pick(&states);
            let change = if self.rng.percent(25) {
                Pending::Delete(dag_id.clone())
            } else {
                Pending::SetState(dag_id.clone(), state)
            };
            self.schedule(at, change);
        }
    }

    fn plan_clears(&mut self, number: usize) {
        if !self.rng.percent(25) {
            return;
        }
        let dag_id = self.dags[number].dag_id.clone();
        for _ in 0..self.rng.range(1, 5) {
            let latest = if self.rng.percent(40) { 200 } else { 1700 };
            let at = self.random_moment(latest);
            let change =
                if self.rng.percent(25) { Pending::Mark(dag_id.clone()) } else { Pending::Clear(dag_id.clone()) };
            self.schedule(at, change);
        }
    }

    pub(crate) fn mark(&mut self, dag_id: &DagId) {
        let Some(run) = self.some_run(dag_id).filter(|_| self.core.is_some()) else { return };
        let Ok(task_instances) = self.store.task_instances_of(&run.key) else { return };
        let mark_as = *self.rng.pick(&[MarkAs::Success, MarkAs::Failed, MarkAs::Skipped]);
        let (mut tasks, mut resume) = (Vec::new(), Vec::new());
        for ti in task_instances {
            if self.rng.percent(if ti.state.is_executing() { 60 } else { 25 }) {
                tasks.push((ti.task_id, Some(ti.map_index)));
            } else if self.rng.percent(50) {
                resume.push(ti.task_id);
            }
        }
        self.by_hand.insert(run.key.clone());
        self.cleared.entry(run.key.clone()).or_default();
        self.note(|| format!("somebody marks {tasks:?} of {} as {mark_as:?}, and {resume:?} go on", run.key));
        self.requests += 1;
        let mark = Mark { reply: ReplyId(self.requests), run: run.key, mark_as, tasks, resume };
        self.tell(Input::Event(Event::Mark(Box::new(mark))));
    }

    pub(crate) fn clear(&mut self, dag_id: &DagId) {
        let Some(run) = self.some_run(dag_id).filter(|_| self.core.is_some()) else { return };
        let Ok(task_instances) = self.store.task_instances_of(&run.key) else { return };
        let share = *self.rng.pick(&[20, 50, 100]);
        let mut tasks = Vec::new();
        for ti in task_instances {
            if self.rng.percent(share) {
                tasks.push((ti.task_id, Some(ti.map_index)));
            }
        }
        let restart_run = self.rng.percent(85);
        let was_cleared = self.cleared.contains_key(&run.key);
        if !restart_run || !run.state.is_finished() || was_cleared || self.is_behind() || self.has_news() {
            // What it comes to depends on what was under way.
            self.by_hand.insert(run.key.clone());
        }
        self.cleared.entry(run.key.clone()).or_default();
        self.note(|| {
            let names: Vec<&str> = tasks.iter().map(|(task, _)| task.as_str()).collect();
            format!("somebody clears {} of {}", names.join(" "), run.key)
        });
        self.requests += 1;
        if restart_run && !tasks.is_empty() {
            self.unanswered_clears.insert(self.requests);
        }
        let (on_latest_version, keep_running) = (self.rng.percent(30), self.rng.percent(20));
        self.tell(Input::Event(Event::Clear(Box::new(Clear {
            reply: ReplyId(self.requests),
            run: run.key,
            tasks,
            restart_run,
            on_latest_version,
            keep_running,
        }))));
    }

    /// Some run of a Dag that the store has; rather one that is under way.
    fn some_run(&mut self, dag_id: &DagId) -> Option<DagRun> {
        let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
        let (runs, _) = self.store.runs(&filter, &[], Page::ALL).ok()?;
        let (open, ended): (Vec<DagRun>, Vec<DagRun>) = runs.into_iter().partition(|run| !run.state.is_finished());
        let among = if open.is_empty() || self.rng.percent(30) { ended } else { open };
        (!among.is_empty()).then(|| self.rng.pick(&among).clone())
    }

    pub(crate) fn set_state(&mut self, dag_id: DagId, state: DagRunState) {
        let Some(run) = self.some_run(&dag_id).filter(|_| self.core.is_some()) else { return };
        self.note(|| format!("somebody sets {} to {state}", run.key));
        self.requests += 1;
        self.by_hand.insert(run.key.clone());
        self.tell(Input::Event(Event::SetRunState { run: run.key, state, reply: ReplyId(self.requests) }));
    }

    pub(crate) fn delete(&mut self, dag_id: DagId) {
        let Some(run) = self.some_run(&dag_id).filter(|_| self.core.is_some()) else { return };
        self.note(|| format!("somebody deletes {}", run.key));
        self.requests += 1;
        // Whether it is deleted nobody knows if the engine dies; and its id may be given to another run.
        self.promised.remove(&run.key);
        if self.unanswered.values().any(|(dag_id, asked)| (dag_id, &asked.run_id) == (&run.key.dag_id, &run.key.run_id))
        {
            self.withdrawn.insert(run.key.clone());
        }
        self.cleared.remove(&run.key);
        self.tries.retain(|(ti, _), _| ti.run != run.key);
        self.rescheduled.retain(|ti, _| ti.run != run.key);
        self.answers.retain(|ti, _| ti.run != run.key);
        self.asked.retain(|ti| ti.run != run.key);
        self.thinned.insert(dag_id);
        self.tell(Input::Event(Event::DeleteRun { run: run.key, reply: ReplyId(self.requests) }));
    }

    pub(crate) fn trigger(&mut self, dag_id: DagId, run: Box<NewRun>) {
        if self.core.is_none() {
            self.soon(1000, Pending::Trigger(dag_id, run));
            return;
        }
        self.requests += 1;
        self.note(|| format!("somebody asks for {dag_id}/{}", run.run_id));
        let reply = ReplyId(self.requests);
        self.unanswered.insert(self.requests, (dag_id.clone(), run.clone()));
        self.tell(Input::Trigger(Box::new(TriggerRequest { reply, dag_id, run: *run })));
    }

    pub(crate) fn pause(&mut self, dag_id: DagId, paused: bool) {
        if self.core.is_none() {
            self.soon(1000, Pending::Pause(dag_id, paused));
            return;
        }
        let is_paused = self.store.dag(&dag_id).is_ok_and(|record| record.is_some_and(|record| record.paused));
        if !paused && !is_paused && self.unconfirmed.is_empty() {
            // There is nothing to do.
            return;
        }
        for sim in self.dags.iter_mut().filter(|sim| sim.dag_id == dag_id) {
            sim.held_back = true;
        }
        self.requests += 1;
        self.unconfirmed.insert(self.requests, (dag_id.clone(), paused));
        let reply = ReplyId(self.requests);
        self.tell(Input::Event(Event::DagPaused { dag_id, paused, reply }));
    }

    /// Pools are the API's: it writes, and then tells the engine.
    pub(crate) fn change_pool(&mut self, name: &'static str, slots: Option<u32>) {
        self.note(|| format!("pool {name} has {slots:?} slots now"));
        let is_known = self.pools_in_store().contains_key(name);
        match slots {
            None if is_known => self.write(vec![Write::DeletePool(name.into())]),
            None => {}
            Some(_) => self.write(vec![Write::Pool(pool(name, slots))]),
        }
        self.tell(Input::Event(match slots {
            None => Event::PoolGone { name: name.into() },
            Some(_) => Event::PoolChanged { name: name.into(), slots, include_deferred: false },
        }));
    }

    pub(crate) fn pools_in_store(&self) -> BTreeMap<&'static str, Option<u32>> {
        let known = self.store.pools(None, Page::ALL).map(|(pools, _)| pools).unwrap_or_default();
        let slots = |name: &str| known.iter().find(|pool| pool.name == name).map(|pool| pool.slots as u32);
        POOLS.iter().filter_map(|(name, _)| Some((*name, Some(slots(name)?)))).collect()
    }

    pub(crate) fn edit(&mut self, number: usize) {
        let (seed, start) = (self.seed, self.start);
        self.dags[number].edit(&mut self.rng, seed, start);
        let newest = self.dags[number].newest().clone();
        self.versions.add(newest.id, &newest.dag);
        if self.dags[number].gone || self.dags[number].broken {
            // It is in the file when the file is back.
            return;
        }
        let lines = self.dags[number].describe();
        self.note(|| format!("somebody writes {} anew:\n  {}", newest.dag.dag_id, lines.join("\n  ")));
        self.import(number);
    }

    pub(crate) fn vanish(&mut self, number: usize) {
        let sim = &mut self.dags[number];
        (sim.gone, sim.held_back) = (true, true);
        let dag_id = sim.dag_id.clone();
        self.note(|| format!("the file of {dag_id} is gone"));
        let relative_fileloc = format!("{dag_id}.py");
        self.write(vec![Write::FileGone { bundle_name: "sim".into(), relative_fileloc }]);
        self.tell(Input::DagsChanged(vec![dag_id]));
    }

    pub(crate) fn break_file(&mut self, number: usize) {
        let sim = &mut self.dags[number];
        if sim.gone {
            return;
        }
        sim.broken = true;
        let dag_id = sim.dag_id.clone();
        self.note(|| format!("the file of {dag_id} is broken"));
        self.write(vec![Write::Imported(Box::new(file_of(&self.dags[number], self.now)))]);
        self.tell(Input::DagsChanged(vec![dag_id]));
    }

    pub(crate) fn repair(&mut self, number: usize) {
        let sim = &mut self.dags[number];
        (sim.gone, sim.broken) = (false, false);
        let dag_id = sim.dag_id.clone();
        self.note(|| format!("the file of {dag_id} is back"));
        self.import(number);
    }

    fn import(&mut self, number: usize) {
        let dag_id = self.dags[number].dag_id.clone();
        self.write(vec![Write::Imported(Box::new(file_of(&self.dags[number], self.now)))]);
        self.tell(Input::DagsChanged(vec![dag_id]));
    }

    /// Writes as all but the engine do: again and again until it has worked.
    pub(crate) fn write(&mut self, writes: Vec<Write>) {
        // An error that trying again does not mend says that it has been written already.
        while let Err(error) = self.store.commit(writes.clone()) {
            if !error.is_temporary() {
                return;
            }
        }
    }
}

fn pool(name: &str, slots: Option<u32>) -> Pool {
    let slots = slots.map_or(-1, i64::from);
    Pool { name: name.into(), slots, description: None, include_deferred: false }
}

fn file_of(sim: &SimDag, at: Timestamp) -> ImportedFile {
    let errors = if sim.broken { vec![("sim.py".to_owned(), "SyntaxError".to_owned())] } else { Vec::new() };
    ImportedFile {
        bundle_name: "sim".into(),
        relative_fileloc: format!("{}.py", sim.dag_id),
        fingerprint: json!(null),
        at,
        duration: SignedDuration::ZERO,
        dags: if sim.broken { Vec::new() } else { vec![imported(sim)] },
        errors,
    }
}

fn imported(sim: &SimDag) -> ImportedDag {
    let version = sim.newest();
    let dag = &version.dag;
    ImportedDag {
        dag_id: dag.dag_id.clone(),
        display_name: dag.dag_id.to_string(),
        description: None,
        paused_upon_creation: false,
        bundle_version: sim.bundled.then(|| version.id.to_string()),
        relative_fileloc: String::new(),
        fileloc: String::new(),
        owners: Vec::new(),
        tags: Vec::new(),
        timetable_type: String::new(),
        timetable_summary: None,
        timetable_description: None,
        max_active_tasks: dag.limits.max_active_tasks,
        max_active_runs: dag.limits.max_active_runs,
        max_consecutive_failed_dag_runs: dag.limits.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: false,
        allowed_run_types: None,
        unproven: false,
        assets: assets::of_dag(sim),
        aliases: Vec::new(),
        facts: facts_to_json(dag, &sim.timetable, None, true, true),
        version: version.id,
        hash: version.id.to_string(),
        serialized: json!(null),
        extras: json!(null),
    }
}
