//! Backfills, and what must hold of them.

use engine::Input;
use engine::backfilling::BackfillRequest;
use jiff::SignedDuration;
use model::{Backfill, DagId, DagRun, DagRunState, Reprocess};
use scheduler::{BackfillRefusal, BackfillWish, Event, ReplyId};
use store::{BackfillStore, DagStore, Page, RunFilter, RunStore};

use crate::checks::{Check, ensure, read};
use crate::dags::asked_of;
use crate::world::{Pending, World};

impl World {
    pub(crate) fn plan_backfills(&mut self, number: usize) {
        let dag_id = self.dags[number].dag_id.clone();
        if self.rng.percent(20) {
            for _ in 0..self.rng.range(1, 3) {
                let at = self.random_moment(1500);
                self.schedule(at, Pending::Backfill(number));
                for _ in 0..self.rng.range(0, 2) {
                    let later = at.checked_add(SignedDuration::from_secs(self.rng.range(0, 400) as i64)).unwrap_or(at);
                    let wishes =
                        [BackfillWish::Pause, BackfillWish::Pause, BackfillWish::Unpause, BackfillWish::Cancel];
                    let wish = *self.rng.pick(&wishes);
                    self.schedule(later, Pending::SetBackfill(dag_id.clone(), wish));
                }
            }
            // In the end nobody wants it paused.
            for minutes in 0..20 {
                let at = self.end_of_faults().checked_add(SignedDuration::from_mins(minutes));
                self.schedule(at.unwrap_or(self.start), Pending::SetBackfill(dag_id.clone(), BackfillWish::Unpause));
            }
        }
    }

    pub(crate) fn ask_for_backfill(&mut self, number: usize) {
        if self.core.is_none() {
            return;
        }
        let dag = self.dags[number].newest().dag.clone();
        let back = |world: &mut Self| {
            let seconds = SignedDuration::from_secs(world.rng.range(0, 1200) as i64);
            world.now.checked_sub(seconds).unwrap_or(world.now)
        };
        let (one, other) = (back(self), back(self));
        let request = BackfillRequest {
            dag_id: dag.dag_id.clone(),
            from_date: one.min(other),
            to_date: one.max(other),
            backwards: self.rng.percent(30),
            conf: None,
            reprocess: *self.rng.pick(&Reprocess::ALL),
            max_active_runs: self.rng.range(1, 4) as i64,
            triggering_user: None,
            on_latest_version: self.rng.percent(50),
        };
        let asked = asked_of(&dag.timetable, request.from_date, request.to_date, self.now);
        let checked = request.check_dag(&dag).and_then(|()| request.check(&dag, self.now));
        let Ok(dates) = checked.and_then(|()| request.some_dates(&dag, self.now, asked)) else { return };
        // Runs that are there may run again.
        let filter = RunFilter { dag_id: Some(dag.dag_id.clone()), ..RunFilter::default() };
        for run in self.store.runs(&filter, &[], Page::ALL).map(|found| found.0).unwrap_or_default() {
            if dates.iter().any(|next| run.logical_date == Some(next.logical_date())) {
                if self.cleared.contains_key(&run.key)
                    || !run.state.is_finished()
                    || self.is_behind()
                    || self.has_news()
                {
                    self.by_hand.insert(run.key.clone());
                }
                self.cleared.entry(run.key).or_default();
            }
        }
        self.requests += 1;
        self.note(|| format!("somebody asks for a backfill of {} with {} dates: {request:?}", dag.dag_id, dates.len()));
        let reply = ReplyId(self.requests);
        self.tell(Input::Backfill { reply, request: Box::new(request), dates });
    }

    pub(crate) fn set_backfill(&mut self, dag_id: DagId, wish: BackfillWish) {
        if self.core.is_none() {
            self.soon(5000, Pending::SetBackfill(dag_id, wish));
            return;
        }
        let open = self.store.open_backfills().unwrap_or_default();
        let Some(backfill) = open.into_iter().find(|backfill| backfill.dag_id == dag_id) else { return };
        if wish == BackfillWish::Cancel {
            // Some of its runs fail without having begun.
            let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
            for run in self.store.runs(&filter, &[], Page::ALL).map(|found| found.0).unwrap_or_default() {
                if run.backfill.is_some_and(|place| place.id == backfill.id) {
                    self.by_hand.insert(run.key);
                }
            }
        }
        self.note(|| format!("somebody wants {wish:?} of backfill {}", backfill.id));
        self.requests += 1;
        let reply = ReplyId(self.requests);
        self.tell(Input::Event(Event::SetBackfill { dag_id, id: backfill.id, wish, reply }));
    }

    pub(crate) fn told_of_backfill(&mut self, answer: Result<Box<Backfill>, BackfillRefusal>) {
        match answer {
            Ok(backfill) => {
                self.note(|| format!("{backfill:?}"));
                self.promised_backfills.insert(backfill.id);
            }
            Err(refusal) => self.note(|| format!("no backfill: {refusal}")),
        }
    }
}

fn runs_of(world: &World, backfill: &Backfill) -> Result<Vec<DagRun>, crate::checks::Violation> {
    let filter = RunFilter { dag_id: Some(backfill.dag_id.clone()), ..RunFilter::default() };
    let mut runs = read(world.store.runs(&filter, &[], Page::ALL))?.0;
    runs.retain(|run| run.backfill.is_some_and(|place| place.id == backfill.id));
    Ok(runs)
}

/// As many runs at once as the backfill lets.
pub(crate) fn limit(world: &World, run: &DagRun) -> Check {
    let Some(place) = run.backfill else { return Ok(()) };
    let Some(backfill) = read(world.store.backfill(place.id))?.filter(|backfill| backfill.completed_at.is_none())
    else {
        return Ok(());
    };
    let running = runs_of(world, &backfill)?.iter().filter(|run| run.state == DagRunState::Running).count();
    ensure(running as i64 <= backfill.max_active_runs, || {
        format!("{running} runs of backfill {} at once, and {} may", backfill.id, backfill.max_active_runs)
    })
}

/// No run of a backfill waits although it may begin, and none is passed by a later one.
pub(crate) fn nobody_waits_for_nothing(world: &World) -> Check {
    for backfill in read(world.store.open_backfills())? {
        let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == backfill.dag_id) else { continue };
        let record = read(world.store.dag(&sim.dag_id))?;
        let is_held = record.is_none_or(|record| record.paused || record.stale) || sim.broken || world.is_draining();
        let runs = runs_of(world, &backfill)?;
        let running = runs.iter().filter(|run| run.state == DagRunState::Running).count() as i64;
        let waiting = runs.iter().find(|run| run.state == DagRunState::Queued);
        let may_begin = !backfill.is_paused && !is_held && running < backfill.max_active_runs;
        ensure(!(may_begin && waiting.is_some()), || {
            format!("{:?} of backfill {} waits, and there is room", waiting.map(|run| &run.key), backfill.id)
        })?;
        let is_open = runs.iter().any(|run| !run.state.is_finished());
        ensure(is_open || is_held, || format!("backfill {} has nothing to do, and is not complete", backfill.id))?;
    }
    Ok(())
}

/// Whether a run may wait for ever: its backfill waits for runs that wait for people.
pub(crate) fn may_wait(world: &World, run: &DagRun) -> bool {
    let open = run.backfill.and_then(|place| world.store.backfill(place.id).ok().flatten());
    open.filter(|backfill| backfill.completed_at.is_none()).is_some_and(|backfill| {
        let running = runs_of(world, &backfill).unwrap_or_default();
        running.iter().filter(|run| run.state == DagRunState::Running).count() as i64 >= backfill.max_active_runs
    })
}

/// What people were told of exists, and has an end when its runs have.
pub(crate) fn at_the_end(world: &World) -> Check {
    for id in &world.promised_backfills {
        ensure(read(world.store.backfill(*id))?.is_some(), || format!("backfill {id} was promised and is lost"))?;
    }
    nobody_waits_for_nothing(world)
}
