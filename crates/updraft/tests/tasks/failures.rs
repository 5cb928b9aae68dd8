//! Attempts that end badly: each has the right outcome, and a log that says what happened.

use crate::support::{Line, TestRun, context, dag_file, shown};

#[test]
fn tasks_are_tried_again_as_the_configuration_says() {
    let context = context();
    context.write_dag(
        "plain.py",
        "from airflow.providers.standard.operators.bash import BashOperator\nfrom airflow.sdk import DAG\n\
         with DAG('plain'):\n\
         \x20   BashOperator(task_id='by_default', bash_command='exit 1')\n\
         \x20   BashOperator(task_id='once', bash_command='exit 1', retries=0)\n",
    );
    let env = [("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "2"), ("AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY", "0")];
    let run = TestRun::new(&context, "plain.py", &[], &env);
    let tries = |task: &str| (run.tasks[task].0.as_str(), run.tasks[task].1);
    assert_eq!((tries("by_default"), tries("once")), (("failed", 3), ("failed", 1)), "{}", run.stderr);
}

#[test]
fn every_bad_end_is_an_outcome_with_a_log_line() {
    let context = context();
    context.write_dag("failures.py", &dag_file("failures.py"));
    let run = TestRun::new(&context, "failures.py", &[], &[("AIRFLOW__CORE__TASK_SUCCESS_OVERTIME", "1")]);
    // The state and the number of tries of each task, and what its last log says: a line, or an exception.
    let wanted = [
        ("raises", "failed", 2, "ValueError: no luck"),
        ("third_time_lucky", "success", 3, "try 3 of 3"),
        ("fails_for_good", "failed", 1, "AirflowFailException: never again"),
        ("skips", "skipped", 1, "Skipping task."),
        ("exits", "failed", 2, "Task exited"),
        ("exits_with_success", "failed", 1, "The process ended without saying how the task ended"),
        ("exits_at_once", "failed", 1, "Process exited abnormally"),
        ("is_killed", "success", 2, "Returned value was: survived"),
        ("crashes", "failed", 1, "Process terminated by signal. It crashed in compiled code."),
        ("speaks_nonsense", "failed", 1, "The process broke the task protocol and was killed"),
        ("speaks_half_nonsense", "failed", 1, "The process broke the task protocol and was killed"),
        ("closes_the_connection", "failed", 1, "Process exited abnormally"),
        ("closes_the_connection_and_hangs", "failed", 1, "The process closed its connection without saying"),
        ("leaves_a_daemon", "success", 1, "Returned value was: left"),
        ("leaves_a_program", "failed", 1, "Killed a process that the task had left behind"),
        ("takes_too_long", "failed", 1, "AirflowTaskTimeout: Timeout, PID"),
        ("writes_a_lot", "success", 1, "The log has reached 64 MiB; what follows is not kept"),
        ("then", "success", 1, "Returned value was: done"),
        ("kills_the_fork_server", "success", 2, "Returned value was: 2"),
    ];
    let says = |line: &Line, text: &str| {
        line.event.contains(text)
            || line.exceptions.iter().any(|(kind, value)| format!("{kind}: {value}").contains(text))
    };
    for (task, state, tries, text) in wanted {
        let log = run.log(task, tries);
        let start = &log[..log.len().min(60)];
        assert_eq!(run.tasks[task], (state.to_owned(), tries), "{task}:\n{}\n{}", shown(start), run.stderr);
        assert!(log.iter().any(|line| says(line, text)), "{task} does not say {text:?}:\n{}", shown(start));
    }
    assert_eq!(run.tasks.len(), wanted.len());
    assert_eq!(run.state, "success", "its last task decides");

    let killed = run.log("is_killed", 1);
    let line = killed.iter().find(|line| line.event.starts_with("Process terminated by signal.")).unwrap();
    assert_eq!((line.level.as_str(), line.fields["signal"].as_i64()), ("critical", Some(-9)));
    let lost = run.log("kills_the_fork_server", 1);
    assert!(lost.iter().any(|line| line.event.contains("was lost with the Python helper")), "{}", shown(&lost));
    assert_eq!(run.log("exits_at_once", 1).last().unwrap().fields["exit_code"], 7);
    let size = std::fs::metadata(run.log_path("writes_a_lot", 1)).unwrap().len();
    assert!((64 << 20..66 << 20).contains(&size), "{size}");
    let home = context.home();
    let left = testkit::below(&format!("AIRFLOW_HOME={}", home.display()));
    assert!(left.is_empty(), "processes survive: {left:?}");
}

#[test]
fn what_a_task_asks_and_nobody_knows_fails_it_and_is_named() {
    let context = context();
    context.write_dag(
        "later.py",
        r#"
from airflow.sdk import DAG, task

with DAG("later"):
    @task
    def asks_what_a_later_version_answers():
        from airflow.sdk.execution_time.comms import _RequestFrame
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        frame = _RequestFrame(id=next(SUPERVISOR_COMMS.id_counter), body={"type": "GetWhatIsToCome"})
        SUPERVISOR_COMMS.socket.sendall(frame.as_bytes())
        return SUPERVISOR_COMMS._get_response()

    asks_what_a_later_version_answers()
"#,
    );
    let run = TestRun::new(&context, "later.py", &[], &[]);
    let task = "asks_what_a_later_version_answers";
    let log = run.log(task, 1);
    assert_eq!(run.tasks[task], ("failed".to_owned(), 1), "{}", shown(&log));
    let says_so = |line: &Line| line.level == "error" && line.event.contains("does not answer GetWhatIsToCome");
    assert!(log.iter().any(says_so), "{}", shown(&log));
}
