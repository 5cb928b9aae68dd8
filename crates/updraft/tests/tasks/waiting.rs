//! Tasks that wait outside of their process.

use crate::support::{TestRun, context, dag_file, shown};

#[test]
fn tasks_leave_their_process_and_go_on_in_another_one() {
    let context = context();
    context.write_dag("waiting.py", &dag_file("waiting.py"));
    let run = TestRun::new(&context, "waiting.py", &[], &[]);
    let wanted = [
        ("moment", "success", 1, "Pausing task as DEFERRED."),
        ("moment_that_ends", "success", 1, "Pausing task as DEFERRED."),
        ("delta", "success", 1, "Pausing task as DEFERRED."),
        ("waits", "success", 1, "Pausing task as DEFERRED."),
        ("never_fires", "failed", 2, "TaskDeferralTimeout: Trigger timeout"),
    ];
    for (task, state, tries, text) in wanted {
        let log = run.log(task, tries);
        assert_eq!(run.tasks[task], (state.to_owned(), tries), "{task}:\n{}\n{}", shown(&log), run.stderr);
        assert!(shown(&log).contains(text), "{task} does not say {text:?}:\n{}", shown(&log));
    }
    assert_eq!(run.tasks.len(), wanted.len());
    let began = |task: &str| run.log(task, 1).iter().filter(|line| line.event == "::group::Pre Execute").count();
    assert_eq!((began("waits"), began("delta"), began("moment_that_ends")), (3, 2, 1));
}
