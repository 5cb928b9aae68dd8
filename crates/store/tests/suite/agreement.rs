//! A few hundred records from a seed in every back end, and a great many queries that all must answer alike.

use std::fmt::Debug;

use model::{DagRun, DagRunState, MapIndex, Partition, RunType, TaskInstance, TaskInstanceKey, TaskState};
use serde_json::json;
use store::memory::MemoryStore;
use store::{
    DagFilter, DagOrder, Direction, DurationRange, HitlFilter, HitlOrder, ImportedDag, ImportedFile, Page, RunFilter,
    RunOrder, Span, Store, TaskInstanceFilter, TaskInstanceOrder, TextFilter, Write, XCom, XComFilter, XComOrder,
};

use crate::fixtures::*;
use crate::hitl;

/// The same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, bound: u64) -> i64 {
        (self.next() % bound) as i64
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()].clone()
    }

    fn maybe<T>(&mut self, percent: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| value(self))
    }

    fn some_of<T: Clone>(&mut self, percent: u64, from: &[T]) -> Vec<T> {
        if !self.chance(percent) {
            return Vec::new();
        }
        (0..1 + self.below(3)).map(|_| self.pick(from)).collect()
    }

    fn span(&mut self, percent: u64, bound: u64) -> Span {
        if !self.chance(percent) {
            return Span::default();
        }
        let from = self.maybe(60, |random| at(random.below(bound)));
        let to = self.maybe(60, |random| at(random.below(bound)));
        Span { from, to, or_missing: self.chance(30) }
    }

    fn duration(&mut self, percent: u64) -> DurationRange {
        if !self.chance(percent) {
            return DurationRange::default();
        }
        DurationRange {
            from_micros: self.maybe(60, |random| random.below(40) * 1_000_000),
            to_micros: self.maybe(60, |random| random.below(40) * 1_000_000),
        }
    }

    fn page(&mut self) -> Page {
        match self.below(4) {
            0 => Page::ALL,
            1 => Page { limit: 1 + self.below(5) as u64, offset: 0 },
            2 => Page { limit: 1 + self.below(20) as u64, offset: self.below(200) as u64 },
            _ => Page { limit: u64::MAX, offset: self.below(50) as u64 },
        }
    }

    fn order<O: Clone>(&mut self, keys: &[O]) -> Vec<(O, Direction)> {
        let direction = [Direction::Ascending, Direction::Descending];
        (0..self.below(4)).map(|_| (self.pick(keys), self.pick(&direction))).collect()
    }
}

const NAMES: [&str; 8] = ["load", "Load_all", "extract.a", "extract-b", "ünder", "Z", "a%b", "notify\\x"];
const PATTERNS: [&str; 14] =
    ["a", "A", "_", "%", r"\_", r"\%", r"\\", "load | Z", "Ü", "x_r", "e%a", "", "manual", "1|2|3"];
const PREFIXES: [&str; 10] = ["l", "Load_", "extract.", "e|Z", "~", "", "ü", "manual__", "scheduled__1", "dag_1"];
const USERS: [&str; 3] = ["admin", "Bob", "eve_1"];

fn name(random: &mut Random) -> String {
    random.pick(&NAMES).to_owned()
}

fn some_dags(random: &mut Random) -> Vec<Write> {
    let mut writes = Vec::new();
    for number in 0..30 {
        let dag_id = format!("dag_{number}");
        let version_id = number * 10;
        for version in 0..1 + random.below(3) as u128 {
            let found = ImportedDag {
                display_name: name(random),
                owners: (0..1 + random.below(2)).map(|_| name(random)).collect(),
                tags: (0..random.below(3)).map(|_| name(random)).collect(),
                paused_upon_creation: random.chance(50),
                bundle_version: random.maybe(70, |random| format!("v{}", random.below(2))),
                timetable_type: random.pick(&["Cron", "Delta", "Null"]).to_owned(),
                unproven: random.chance(30),
                facts: json!({"number": number}),
                ..dag(&dag_id, version_id + version, &format!("h{version}"))
            };
            let errors = if random.chance(20) { vec![(dag_id.clone(), "trace".into())] } else { Vec::new() };
            let bundle_name = random.pick(&["main", "other"]).to_owned();
            let found = ImportedFile { bundle_name, errors, ..file(&format!("{dag_id}.py"), vec![found]) };
            writes.push(Write::Imported(Box::new(found)));
        }
        if random.chance(10) {
            writes.push(imported(&format!("{dag_id}.py"), Vec::new()));
        }
    }
    writes
}

fn some_run(random: &mut Random, number: i64) -> DagRun {
    let dag_id = format!("dag_{}", random.below(33));
    let made = if random.chance(60) {
        // Only every number once, so that no date is taken.
        dated_run(&dag_id, &format!("scheduled__{number}"), (number * 37) % 500)
    } else {
        DagRun { run_after: at(random.below(500)), ..run(&dag_id, &format!("manual__{}{number}", name(random))) }
    };
    let start = random.below(500);
    DagRun {
        state: random.pick(&DagRunState::ALL),
        run_type: random.pick(RunType::ALL),
        triggering_user: random.maybe(70, |random| random.pick(&USERS).to_owned()),
        queued_at: random.maybe(80, |random| at(random.below(500))),
        start_date: random.maybe(80, |_| at(start)),
        end_date: random.maybe(60, |random| at(start + random.below(60))),
        last_scheduling_decision: random.maybe(50, |random| at(random.below(600))),
        conf: std::sync::Arc::new(json!({"name": name(random), "n": [random.below(3), {"x": null}]})),
        version: version(random.below(320) as u128),
        partition: random.maybe(50, |random| Partition {
            key: name(random),
            date: random.maybe(60, |random| at(random.below(500))),
        }),
        bundle_version: random.maybe(70, |random| format!("v{}", random.below(2))),
        ..made
    }
}

fn some_task(random: &mut Random, run: &DagRun, task_id: &str, index: i32, id: u128) -> TaskInstance {
    let start = random.below(500);
    TaskInstance {
        map_index: MapIndex(index),
        state: random.pick(&TaskState::ALL),
        try_number: random.below(3) as u32,
        version: version(random.below(320) as u128),
        operator: name(random).into(),
        operator_name: name(random).into(),
        pool: random.pick(&["default_pool", "Big_Pool", "x"]).into(),
        queue: random.pick(&["default", "gpu"]).into(),
        executor: random.maybe(50, |random| random.pick(&["Local", "Kube"]).into()),
        scheduled_at: random.maybe(80, |random| at(random.below(500))),
        queued_at: random.maybe(80, |random| at(random.below(500))),
        start_date: random.maybe(80, |_| at(start)),
        end_date: random.maybe(60, |random| at(start + random.below(40))),
        rendered_map_index: random.maybe(40, name),
        ..ti(&run.key, task_id, id)
    }
}

fn fill(random: &mut Random) -> Vec<Vec<Write>> {
    let mut batches = vec![some_dags(random)];
    let mut id = 0;
    for number in 0..300 {
        let made = some_run(random, number);
        let mut batch = vec![put_run(&made)];
        for task_id in NAMES.iter().take(random.below(5) as usize) {
            let indexes = if random.chance(20) { 0..3 } else { -1..0 };
            for index in indexes {
                id += 1;
                batch.push(put_ti(&some_task(random, &made, task_id, index, id)));
                if random.chance(40) {
                    let mut entry = XCom { at: at(random.below(300)), ..xcom(&made.key, task_id, &name(random)) };
                    entry.key.map_index = MapIndex(index);
                    batch.push(put_xcom(&entry));
                }
                if random.chance(40) {
                    batch.extend(some_question(random, &made, task_id, index));
                }
            }
        }
        // Runs and tries go on: some change after they were made.
        if random.chance(30) {
            batch.push(put_run(&DagRun { state: random.pick(&DagRunState::ALL), ..made.clone() }));
            id += 1;
            batch.push(put_ti(&some_task(random, &made, NAMES[0], -1, id)));
        }
        batches.push(batch);
    }
    batches
}

fn some_question(random: &mut Random, run: &DagRun, task_id: &str, index: i32) -> Vec<Write> {
    let key = TaskInstanceKey { map_index: MapIndex(index), ..ti_key(&run.key, task_id) };
    let mut asked = hitl::asked(&key, &name(random), random.below(200));
    asked.question.body = random.maybe(60, name);
    let mut writes = vec![hitl::put(&asked)];
    if random.chance(60) {
        let by = random.maybe(70, |random| random.pick(&USERS));
        writes.push(hitl::answer(&key, &hitl::response(by, random.below(200)), random.chance(20)));
    }
    writes
}

fn some_dag_ids() -> Vec<String> {
    (0..10).map(|number| format!("dag_{number}")).collect()
}

fn run_filter(random: &mut Random) -> RunFilter {
    RunFilter {
        dag_id: random.maybe(15, |random| format!("dag_{}", random.below(33)).into()),
        dag_ids: random.some_of(10, &some_dag_ids()),
        dag_id_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        dag_id_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        run_id_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        run_id_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        triggering_user_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        triggering_user_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        partition_key_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        partition_key_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        partition_date: random.span(8, 500),
        states: random.some_of(20, &DagRunState::ALL),
        run_types: random.some_of(15, RunType::ALL),
        version_numbers: random.some_of(10, &[1, 2, 3]),
        bundle_version: random.maybe(8, |random| format!("v{}", random.below(2))),
        conf_contains: random.maybe(8, |random| random.pick(&["\"n\": [1, {", "load", "ü", "a%"]).into()),
        logical_date: random.span(10, 500),
        run_after: random.span(10, 500),
        start_date: random.span(10, 500),
        end_date: random.span(10, 500),
        updated_at: random.span(10, 600),
        duration: random.duration(10),
    }
}

fn task_filter(random: &mut Random) -> TaskInstanceFilter {
    let names: Vec<String> = NAMES.iter().map(|name| name.to_string()).collect();
    let pools: Vec<String> = ["default_pool", "Big_Pool"].map(str::to_owned).to_vec();
    TaskInstanceFilter {
        dag_id: random.maybe(15, |random| format!("dag_{}", random.below(33)).into()),
        dag_ids: random.some_of(5, &some_dag_ids()),
        dag_id_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        dag_id_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        run_id: None,
        run_ids: random.some_of(5, &(0..40).map(|number| format!("scheduled__{number}")).collect::<Vec<_>>()),
        run_id_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        run_id_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        task_ids: random.some_of(10, &names),
        task_id_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        task_id_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        states: random.some_of(30, &TaskState::ALL),
        pools: random.some_of(5, &pools),
        pool_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        pool_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        queues: random.some_of(5, &["gpu".to_owned()]),
        queue_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        queue_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        executors: random.some_of(5, &["Local".to_owned()]),
        operators: random.some_of(5, &names),
        operator_name_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        operator_name_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        version_numbers: random.some_of(5, &[1, 2, 3]),
        try_numbers: random.some_of(5, &[0, 1]),
        map_index: random.maybe(5, |random| random.below(3) as i32 - 1),
        map_indexes: random.some_of(5, &[-1, 0, 2]),
        mapped_only: random.chance(5),
        rendered_map_index_pattern: random.maybe(5, |random| random.pick(&PATTERNS).into()),
        rendered_map_index_prefix: random.maybe(5, |random| random.pick(&PREFIXES).into()),
        start_date: random.span(5, 500),
        end_date: random.span(5, 500),
        logical_date: random.span(5, 500),
        run_after: random.span(5, 500),
        updated_at: random.span(5, 500),
        duration: random.duration(5),
    }
}

fn dag_filter(random: &mut Random) -> DagFilter {
    let names: Vec<String> = NAMES.iter().map(|name| name.to_string()).collect();
    let states: Vec<Option<DagRunState>> = DagRunState::ALL.into_iter().map(Some).chain([None]).collect();
    DagFilter {
        paused: random.maybe(10, |random| random.chance(50)),
        exclude_stale: random.chance(30),
        dag_id_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        dag_id_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        display_name_pattern: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        display_name_prefix: random.maybe(8, |random| random.pick(&PREFIXES).into()),
        tags: random.some_of(15, &names),
        all_tags: random.chance(30),
        owners: random.some_of(10, &PATTERNS.map(str::to_owned)),
        bundle_name: random.maybe(8, |random| random.pick(&["main", "none"]).into()),
        bundle_version: random.maybe(8, |_| "v1".into()),
        has_import_errors: random.maybe(10, |random| random.chance(50)),
        timetable_types: random.some_of(10, &["Cron".to_owned(), "Null".to_owned()]),
        last_run_state: random.maybe(10, |random| random.pick(&DagRunState::ALL)),
        last_run_states: random.some_of(10, &states),
        last_run_start: random.span(10, 500),
        last_run_end: random.span(10, 500),
        dag_ids: random.some_of(10, &["dag_1".to_owned(), "dag_20".to_owned()]),
        any_run_state: random.maybe(10, |random| random.pick(&DagRunState::ALL)),
        awaits_people: random.maybe(5, |random| random.chance(50)),
    }
}

fn xcom_filter(random: &mut Random) -> XComFilter {
    let text = |random: &mut Random, percent| TextFilter {
        pattern: random.maybe(percent, |random| random.pick(&PATTERNS).into()),
        prefix: random.maybe(percent, |random| random.pick(&PREFIXES).into()),
    };
    XComFilter {
        dag_id: random.maybe(20, |random| format!("dag_{}", random.below(33)).into()),
        run_id: None,
        task_id: random.maybe(10, |random| name(random).into()),
        map_index: random.maybe(10, |random| random.below(3) - 1),
        key: random.maybe(10, name),
        keys: text(random, 10),
        dag_display_names: text(random, 8),
        run_ids: text(random, 8),
        task_ids: text(random, 8),
        logical_date: random.span(10, 500),
        run_after: random.span(10, 500),
    }
}

fn hitl_filter(random: &mut Random) -> HitlFilter {
    let text = |random: &mut Random, percent| TextFilter {
        pattern: random.maybe(percent, |random| random.pick(&PATTERNS).into()),
        prefix: random.maybe(percent, |random| random.pick(&PREFIXES).into()),
    };
    let users = USERS.map(str::to_owned);
    HitlFilter {
        dag_id: random.maybe(15, |random| format!("dag_{}", random.below(33)).into()),
        run_id: None,
        dag_ids: text(random, 5),
        task_id: random.maybe(10, name),
        task_ids: text(random, 8),
        map_index: random.maybe(10, |random| random.below(3) - 1),
        states: random.some_of(20, &TaskState::ALL),
        answered: random.maybe(20, |random| random.chance(50)),
        user_ids: random.some_of(5, &users.clone().map(|name| format!("id of {name}"))),
        user_names: random.some_of(10, &users),
        subject: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        body: random.maybe(8, |random| random.pick(&PATTERNS).into()),
        created_at: random.span(10, 200),
    }
}

/// Asks all stores the same and wants the answer of the first from all of them.
fn ask<T: PartialEq + Debug>(
    stores: &[&dyn Store],
    question: &dyn Debug,
    ask: impl Fn(&dyn Store) -> store::Result<T>,
) -> T {
    let expected = ask(stores[0]).unwrap_or_else(|error| panic!("{question:?}: {error}"));
    for other in &stores[1..] {
        let found = ask(*other).unwrap_or_else(|error| panic!("{question:?}: {error}"));
        assert!(found == expected, "{question:?}\n{found:#?}\nis not\n{expected:#?}");
    }
    expected
}

const RUN_ORDERS: [RunOrder; 14] = [
    RunOrder::Id,
    RunOrder::State,
    RunOrder::DagId,
    RunOrder::RunId,
    RunOrder::LogicalDate,
    RunOrder::RunAfter,
    RunOrder::StartDate,
    RunOrder::EndDate,
    RunOrder::RunType,
    RunOrder::Duration,
    RunOrder::UpdatedAt,
    RunOrder::Conf,
    RunOrder::IntervalEnd,
    RunOrder::PartitionDate,
];

const TASK_ORDERS: [TaskInstanceOrder; 14] = [
    TaskInstanceOrder::Id,
    TaskInstanceOrder::State,
    TaskInstanceOrder::Duration,
    TaskInstanceOrder::StartDate,
    TaskInstanceOrder::EndDate,
    TaskInstanceOrder::MapIndex,
    TaskInstanceOrder::TaskId,
    TaskInstanceOrder::RunAfter,
    TaskInstanceOrder::LogicalDate,
    TaskInstanceOrder::TryNumber,
    TaskInstanceOrder::IntervalStart,
    TaskInstanceOrder::IntervalEnd,
    TaskInstanceOrder::RenderedMapIndex,
    TaskInstanceOrder::Operator,
];

const DAG_ORDERS: [DagOrder; 5] =
    [DagOrder::DagId, DagOrder::DisplayName, DagOrder::NextRun, DagOrder::LastRunState, DagOrder::LastRunStart];

const XCOM_ORDERS: [XComOrder; 7] = [
    XComOrder::Key,
    XComOrder::DagId,
    XComOrder::RunId,
    XComOrder::TaskId,
    XComOrder::MapIndex,
    XComOrder::At,
    XComOrder::RunAfter,
];

const HITL_ORDERS: [HitlOrder; 13] = [
    HitlOrder::Id,
    HitlOrder::Subject,
    HitlOrder::CreatedAt,
    HitlOrder::RespondedAt,
    HitlOrder::UserId,
    HitlOrder::UserName,
    HitlOrder::DagId,
    HitlOrder::RunId,
    HitlOrder::RunAfter,
    HitlOrder::TaskId,
    HitlOrder::RenderedMapIndex,
    HitlOrder::Operator,
    HitlOrder::State,
];

#[test]
fn all_back_ends_give_the_same_answers() {
    let (sqlite, _alive) = temporary_sqlite();
    let memory = MemoryStore::new();
    let stores: [&dyn Store; 2] = [&memory, &sqlite];
    let random = &mut Random(20_260_101);
    for batch in fill(random) {
        let results = stores.map(|store| store.commit(batch.clone()).map_err(|error| error.to_string()));
        assert_eq!(results[0], results[1]);
    }
    let mut found = [0; 5];
    for _ in 0..400 {
        let (filter, order, page) = (run_filter(random), random.order(&RUN_ORDERS), random.page());
        found[0] += ask(&stores, &(&filter, &order, page), |store| store.runs(&filter, &order, page)).0.len();
        let (filter, order, page) = (task_filter(random), random.order(&TASK_ORDERS), random.page());
        found[1] += ask(&stores, &(&filter, &order, page), |store| store.task_instances(&filter, &order, page)).0.len();
        let (filter, order, page) = (dag_filter(random), random.order(&DAG_ORDERS), random.page());
        found[2] += ask(&stores, &(&filter, &order, page), |store| store.dags(&filter, &order, page)).0.len();
        let (filter, order, page) = (xcom_filter(random), random.order(&XCOM_ORDERS), random.page());
        found[3] += ask(&stores, &(&filter, &order, page), |store| store.list_xcoms(&filter, &order, page)).0.len();
        let (filter, order, page) = (hitl_filter(random), random.order(&HITL_ORDERS), random.page());
        found[4] += ask(&stores, &(&filter, &order, page), |store| store.hitl_details(&filter, &order, page)).0.len();
    }
    assert!(found.iter().all(|found| *found > 300), "the filters let too little through to compare: {found:?}");
    same_by_key(&stores, random);
}

fn same_by_key(stores: &[&dyn Store], random: &mut Random) {
    ask(stores, &"pool usage", |store| store.pool_usage());
    ask(stores, &"active runs", |store| store.active_runs());
    let (runs, _) = ask(stores, &"runs", |store| store.runs(&RunFilter::default(), &[], Page::ALL));
    for run in &runs {
        let dag_id = &run.key.dag_id;
        ask(stores, &run.key, |store| store.task_instances_of(&run.key));
        ask(stores, &run.key, |store| store.xcoms(&run.key, None, None, None));
        let date = at(random.below(500));
        ask(stores, &(dag_id, date), |store| store.run_before(dag_id, date, false));
        ask(stores, &(dag_id, date), |store| store.run_before(dag_id, date, true));
        ask(stores, &(dag_id, date), |store| store.last_successful_run(dag_id, date));
        let task_id = name(random).into();
        ask(stores, &(dag_id, &task_id, date), |store| store.task_ran_before(dag_id, &task_id, date));
        for key in NAMES {
            let key = xcom_key(&run.key, "load", key);
            ask(stores, &key, |store| store.xcom_with_prior_dates(&key));
        }
    }
}
