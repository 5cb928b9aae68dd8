//! Every trigger rule over every mix of upstream states, through the scheduler itself.

use std::sync::Arc;

use jiff::Timestamp;
use model::timetable::Timetable;
use model::{
    Change, Dag, DagBuilder, DagRun, DagRunState, Json, MapIndex, RunKey, RunType, Task, TaskInstance, TaskInstanceId,
    TaskState, TriggerRule, TriggeredBy,
};
use scheduler::{Action, Config, Event, LoadedRun};

use crate::oracle::{Expected, Upstream, expected, expected_of_setups};
use crate::toy::{Step, Toy, beginning};

/// A deferred task instance stands for all that have not ended: the scheduler leaves it where it is.
const STATES: [Option<TaskState>; 7] = [
    Some(TaskState::Success),
    Some(TaskState::Failed),
    Some(TaskState::Skipped),
    Some(TaskState::UpstreamFailed),
    Some(TaskState::Removed),
    Some(TaskState::Deferred),
    None,
];

/// `states` to the power of `count`.
fn mixes<T: Copy>(states: &[T], count: usize) -> Vec<Vec<T>> {
    (0..count).fold(vec![Vec::new()], |mixes, _| {
        let longer = |mix: Vec<T>| states.iter().map(move |state| mix.iter().copied().chain([*state]).collect());
        mixes.into_iter().flat_map(longer).collect()
    })
}

/// Loads a run whose task instances are in these states (those of tasks that have none are missing), and says what
/// becomes of the one task that has not begun.
fn what_happens(dag: &Arc<Dag>, state_of: impl Fn(&str) -> Option<TaskState>, task: &str) -> Expected {
    let mut toy = Toy::new(Config::default());
    toy.import(dag, false);
    let structure = toy.dags[&dag.dag_id].structure.clone();
    let run = run_of(dag, beginning(), structure.version);
    let task_instances = dag
        .tasks()
        .iter()
        .zip(1..)
        .filter_map(|(task, number)| Some(task_instance(&run, task, number, state_of(task.task_id.as_str())?)));
    let task_instances = task_instances.collect();
    let loaded = LoadedRun { task_instances, run, structure, skips: vec![], lengths: vec![], suspensions: vec![] };
    let steps = toy.tell(Event::RunLoaded(Box::new(loaded)));
    fate(&steps, task)
}

fn fate(steps: &[Step], task: &str) -> Expected {
    for step in steps {
        let started = |action: &Action| matches!(action, Action::Start(start) if start.ti.task_id.as_str() == task);
        if step.actions.iter().any(started) {
            return Expected::Runs;
        }
        for change in &step.changes {
            if let Change::TaskInstance(ti) = change
                && ti.task_id.as_str() == task
            {
                return Expected::Becomes(ti.state);
            }
        }
    }
    Expected::Waits
}

fn run_of(dag: &Dag, at: Timestamp, version: model::VersionId) -> DagRun {
    DagRun {
        key: RunKey::new(dag.dag_id.clone(), "r"),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::RestApi,
        triggering_user: None,
        state: DagRunState::Running,
        logical_date: None,
        data_interval: None,
        run_after: at,
        queued_at: Some(at),
        start_date: Some(at),
        end_date: None,
        last_scheduling_decision: None,
        conf: Arc::new(Json::Null),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version,
        bundle_version: None,
    }
}

fn task_instance(run: &DagRun, task: &Task, number: u128, state: TaskState) -> TaskInstance {
    TaskInstance {
        id: TaskInstanceId(uuid::Uuid::from_u128(number)),
        run: run.key.clone(),
        task_id: task.task_id.clone(),
        map_index: MapIndex::NONE,
        state,
        try_number: 0,
        max_tries: 0,
        version: run.version,
        operator: "".into(),
        operator_name: "".into(),
        pool: "default_pool".into(),
        pool_slots: 1,
        queue: "default".into(),
        priority_weight: 1,
        executor: None,
        scheduled_at: None,
        queued_at: None,
        start_date: None,
        end_date: None,
        hostname: None,
        unixname: None,
        pid: None,
        rendered_map_index: None,
        retry_delay_override: None,
        reschedule_date: None,
    }
}

/// `z` below as many upstreams as there are flags, which say which of them are setups.
fn fan_in(rule: TriggerRule, setups: &[bool]) -> Arc<Dag> {
    let mut builder = DagBuilder::new("d", Timetable::Null);
    for (position, is_setup) in setups.iter().enumerate() {
        let mut task = Task::new(format!("u{position}"));
        task.is_setup = *is_setup;
        builder.task(task);
        builder.edge(format!("u{position}"), "z");
    }
    let mut task = Task::new("z");
    task.trigger_rule = rule;
    // Only teardowns may have the rule that is made for them.
    task.is_teardown = rule == TriggerRule::AllDoneSetupSuccess;
    builder.task(task);
    builder.build().unwrap()
}

/// The oracle is nobody's copy; that it says what Airflow's own code says is checked here.
#[test]
fn the_oracle_agrees_with_the_recording_of_airflow() {
    let letter = |outcome| match outcome {
        Expected::Waits => '.',
        Expected::Runs => 'R',
        Expected::Becomes(state) => state.name().unwrap().chars().next().unwrap(),
    };
    let lines: Vec<&str> = include_str!("../golden/trigger_rules.txt").lines().collect();
    assert_eq!(lines.len(), TriggerRule::ALL.len() * 9);
    for line in lines {
        let [rule, kinds, theirs] = *line.split_whitespace().collect::<Vec<_>>() else { panic!("{line}") };
        let ours: String = mixes(&STATES, kinds.len())
            .iter()
            .map(|mix| {
                let upstreams = mix.iter().zip(kinds.chars());
                let upstreams = upstreams.map(|(state, kind)| Upstream { state: *state, is_setup: kind == 's' });
                letter(expected(rule.parse().unwrap(), &upstreams.collect::<Vec<_>>()))
            })
            .collect();
        assert_eq!(ours, theirs, "{rule} {kinds}");
    }
}

fn number(name: &str) -> usize {
    name[1..].parse().unwrap()
}

#[test]
fn every_rule_over_every_mix_of_up_to_four_upstreams() {
    let mut cases = 0;
    for rule in TriggerRule::ALL {
        for count in 0..=4 {
            let dag = fan_in(rule, &vec![false; count]);
            for mix in mixes(&STATES, count) {
                let upstreams: Vec<_> = mix.iter().map(|state| Upstream { state: *state, is_setup: false }).collect();
                let state_of = |name: &str| if name == "z" { Some(TaskState::None) } else { mix[number(name)] };
                let got = what_happens(&dag, state_of, "z");
                assert_eq!(got, expected(rule, &upstreams), "{rule} over {mix:?}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 13 * (1 + 7 + 49 + 343 + 2401));
}

#[test]
fn every_rule_with_setups_among_three_upstreams() {
    for rule in TriggerRule::ALL {
        for setups in mixes(&[false, true], 3) {
            let dag = fan_in(rule, &setups);
            for mix in mixes(&STATES, 3) {
                let upstreams: Vec<_> = mix
                    .iter()
                    .zip(&setups)
                    .map(|(state, is_setup)| Upstream { state: *state, is_setup: *is_setup })
                    .collect();
                let state_of = |name: &str| if name == "z" { Some(TaskState::None) } else { mix[number(name)] };
                let got = what_happens(&dag, state_of, "z");
                assert_eq!(got, expected(rule, &upstreams), "{rule} over {mix:?}, setups {setups:?}");
            }
        }
    }
}

/// `u0 >> m >> z`, with `u0` a setup whose teardown comes after `z`, and `u1` beside `m`.
#[test]
fn a_task_also_needs_the_setups_that_are_not_directly_above_it() {
    for rule in TriggerRule::ALL {
        let mut builder = DagBuilder::new("d", Timetable::Null);
        for (name, is_setup, is_teardown) in
            [("u0", true, false), ("u1", true, false), ("m", false, false), ("z", false, false), ("t", false, true)]
        {
            let mut task = Task::new(name);
            (task.is_setup, task.is_teardown) = (is_setup, is_teardown);
            task.trigger_rule = if name == "z" { rule } else { TriggerRule::AllSuccess };
            builder.task(task);
        }
        for (above, below) in [("u0", "m"), ("u1", "m"), ("m", "z"), ("z", "t"), ("u0", "t"), ("u1", "t")] {
            builder.edge(above, below);
        }
        let dag = builder.build().unwrap();
        for mix in mixes(&STATES, 3) {
            let state_of = |name: &str| match name {
                "u0" => mix[0],
                "u1" => mix[1],
                "m" => mix[2],
                "z" => Some(TaskState::None),
                _ => None,
            };
            let direct = expected(rule, &[Upstream { state: mix[2], is_setup: false }]);
            let wanted = match (rule, expected_of_setups(&mix[..2])) {
                // A task that waits for nothing does not wait for setups either.
                (TriggerRule::Always, _) => Expected::Runs,
                (_, Expected::Becomes(state)) => Expected::Becomes(state),
                (_, Expected::Waits) if direct == Expected::Runs => Expected::Waits,
                _ => direct,
            };
            assert_eq!(what_happens(&dag, state_of, "z"), wanted, "{rule} over u0, u1, m: {mix:?}");
        }
    }
}

/// `s >> a >> b >> t` with `s >> t`: the teardown waits for `a` too, which is not directly above it.
#[test]
fn a_teardown_waits_for_everything_between_its_setup_and_itself() {
    let mut builder = DagBuilder::new("d", Timetable::Null);
    for name in ["s", "a", "b", "t"] {
        let mut task = Task::new(name);
        (task.is_setup, task.is_teardown) = (name == "s", name == "t");
        task.trigger_rule = if name == "t" { TriggerRule::AllDoneSetupSuccess } else { TriggerRule::AllSuccess };
        builder.task(task);
    }
    for (above, below) in [("s", "a"), ("a", "b"), ("b", "t"), ("s", "t")] {
        builder.edge(above, below);
    }
    let dag = builder.build().unwrap();
    for mix in mixes(&STATES, 3) {
        let state_of = |name: &str| match name {
            "s" => mix[0],
            "a" => mix[1],
            "b" => mix[2],
            _ => Some(TaskState::None),
        };
        let direct = [Upstream { state: mix[0], is_setup: true }, Upstream { state: mix[2], is_setup: false }];
        let wanted = match expected(TriggerRule::AllDoneSetupSuccess, &direct) {
            Expected::Runs if !mix[1].is_some_and(TaskState::is_finished) => Expected::Waits,
            direct => direct,
        };
        assert_eq!(what_happens(&dag, state_of, "t"), wanted, "s, a, b: {mix:?}");
    }
}
