//! What the runner is told, and when.

use jiff::Timestamp;
use model::{
    DagRun, DagRunState, MapIndex, RunKey, RunType, TaskInstance, TaskInstanceId, TaskState, Trigger, TriggeredBy,
    VersionId,
};
use serde_json::json;
use uuid::Uuid;

use super::*;

fn armed(id: i64) -> Wanted {
    let version = VersionId(Uuid::from_u128(1));
    let run = DagRun {
        key: RunKey::new("d", "r"),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Cli,
        triggering_user: None,
        state: DagRunState::Running,
        logical_date: None,
        data_interval: None,
        run_after: Timestamp::UNIX_EPOCH,
        queued_at: None,
        start_date: None,
        end_date: None,
        last_scheduling_decision: None,
        conf: Arc::new(json!({})),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version,
        bundle_version: None,
    };
    let ti = TaskInstance {
        id: TaskInstanceId(Uuid::from_u128(2)),
        run: run.key.clone(),
        task_id: "t".into(),
        map_index: MapIndex::NONE,
        state: TaskState::Deferred,
        try_number: 1,
        max_tries: 0,
        version,
        operator: "Own".into(),
        operator_name: "Own".into(),
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
    };
    let trigger = Arc::new(Trigger {
        id: TriggerId(id),
        classpath: "own.Trigger".into(),
        kwargs: json!({}),
        queue: None,
        created_at: Timestamp::UNIX_EPOCH,
        timer: None,
    });
    Wanted::Task(Arc::new(ArmTrigger { trigger, ti, run, timeout: None, should_retry: false, starts_task: false }))
}

fn told(triggers: &Triggers, finished: &[i64]) -> (Vec<i64>, Vec<i64>) {
    let finished: Vec<TriggerId> = finished.iter().copied().map(TriggerId).collect();
    let (create, cancel) = triggers.sync(&finished);
    (create.iter().map(|wanted| wanted.id().0).collect(), cancel.iter().map(|id| id.0).collect())
}

#[test]
fn the_runner_is_told_once_and_a_new_one_of_all_that_have_not_fired() {
    let triggers = Triggers::default();
    assert!(triggers.arm(armed(1)), "somebody must keep a runner");
    assert!(!triggers.arm(armed(2)) && !triggers.arm(armed(3)), "one is enough");
    assert_eq!(told(&triggers, &[]), (vec![1, 2, 3], vec![]));
    assert_eq!(told(&triggers, &[]), (vec![], vec![]));
    assert!(triggers.answered(TriggerId(1)));
    assert!(!triggers.answered(TriggerId(1)), "only its first event counts");
    // One that has ended without a word runs again; one that has fired does not.
    assert_eq!(told(&triggers, &[1, 2]), (vec![2], vec![]));
    triggers.forget_runner();
    assert_eq!(told(&triggers, &[]), (vec![2, 3], vec![]));
}

#[test]
fn what_nobody_waits_for_is_cancelled_until_it_has_finished() {
    let triggers = Triggers::default();
    triggers.arm(armed(1));
    triggers.arm(armed(2));
    triggers.disarm(TriggerId(2));
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]), "2 is not even begun");
    triggers.disarm(TriggerId(1));
    assert!(!triggers.answered(TriggerId(1)), "its event comes too late");
    assert_eq!(told(&triggers, &[]), (vec![], vec![1]));
    assert_eq!(told(&triggers, &[1]), (vec![], vec![]));
    assert!(triggers.known(TriggerId(1)).is_some(), "its last lines are on their way");
    told(&triggers, &[]);
    assert!(triggers.known(TriggerId(1)).is_none());
}

#[test]
fn a_runner_is_given_up_only_while_nobody_needs_it() {
    let triggers = Triggers::default();
    assert!(triggers.arm(armed(1)));
    assert!(!triggers.release());
    triggers.disarm(TriggerId(1));
    assert!(triggers.release());
    assert!(triggers.arm(armed(2)), "the next one needs a new runner");
}

fn watch(id: i64) -> Wanted {
    let Wanted::Task(armed) = armed(id) else { unreachable!() };
    Wanted::Watcher(Arc::new(WatchTrigger { trigger: Arc::clone(&armed.trigger), name: "w".into(), assets: vec![] }))
}

#[tokio::test(start_paused = true)]
async fn a_trigger_of_a_watcher_is_started_again_after_pauses_that_grow() {
    let triggers = Triggers::default();
    triggers.arm(watch(1));
    let second = |seconds: u64| tokio::time::advance(Duration::from_secs(seconds));
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]));
    assert_eq!(told(&triggers, &[1]), (vec![], vec![]), "it has ended, and rests for a second");
    second(1).await;
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]));
    triggers.failed(TriggerId(1));
    second(1).await;
    assert_eq!(told(&triggers, &[1]), (vec![], vec![]), "a failure that has also finished counts once");
    second(1).await;
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]));
    // It has fired: that it ends then is no fault.
    triggers.works(TriggerId(1));
    assert_eq!(told(&triggers, &[1]), (vec![], vec![]));
    second(1).await;
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]));
    // A new runner is told of it at once; nobody is, when nobody needs it.
    triggers.failed(TriggerId(1));
    triggers.forget_runner();
    assert_eq!(told(&triggers, &[]), (vec![1], vec![]));
    triggers.disarm(TriggerId(1));
    assert_eq!(told(&triggers, &[]), (vec![], vec![1]));
    assert_eq!(told(&triggers, &[1]), (vec![], vec![]));
    second(100).await;
    assert_eq!(told(&triggers, &[]), (vec![], vec![]));
}
