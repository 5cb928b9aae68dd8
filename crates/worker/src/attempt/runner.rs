//! An attempt by the official task runner, in a child of the warm Python helper.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use process::{Exit, kill_tree, signal_group};
use python::{ChildSockets, ForkedChild, FrameError, Job};
use scheduler::Outcome;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::conversation::{Conversation, TalkError, Told};
use super::streams::{DRAIN, Stream, drain, forward};
use super::{Attempt, End, MARK, SIGTERM, TASK_LOGGER, sleep_until};
use crate::log::{Level, TaskLog};
use crate::{KILL_GRACE, Reports, Stop};

/// The runner ends a task at its `execution_timeout` itself. One that is deaf to that is ended from outside so much
/// later.
const TIMEOUT_GRACE: Duration = Duration::from_secs(30);
/// Pause before a process that could not be forked is asked for again.
const FORK_PAUSE: Duration = Duration::from_secs(1);
/// How often a task instance may be lost together with the Python helper before it is held to be the reason.
const MAX_LOSSES: u32 = 3;

pub(super) async fn run<R: Reports>(
    attempt: &mut Attempt<'_, R>,
    reason: Option<&str>,
    acknowledged: oneshot::Receiver<()>,
) {
    if let Some(reason) = reason {
        let operator = &attempt.start.ti.operator_name;
        let event = format!("Running this {operator} with the official task runner: {reason}");
        attempt.log.info(TASK_LOGGER, &event);
    }
    let Some(child) = fork(attempt).await else {
        return attempt.report_end(End::new(Outcome::Interrupted)).await;
    };
    let (pid, sockets, exited) = child.split();
    let ChildSockets { requests, stdout, stderr, logs } = sockets;
    let mut streams = vec![
        forward(stdout, attempt.log.clone(), Stream::Stdout),
        forward(stderr, attempt.log.clone(), Stream::Stderr),
        forward(logs, attempt.log.clone(), Stream::Log),
    ];
    attempt.report_started(attempt.started(pid)).await;
    let (reader, writer) = requests.into_split();
    let has_ended = Arc::new(Notify::new());
    let mut conversation = Conversation::new(attempt, writer, acknowledged, Arc::clone(&has_ended));
    let ended = {
        let talk = conversation.hold(reader);
        Leash { attempt, pid, exited, ended: None, clock: Clock::running(attempt) }.watch(talk, &has_ended).await
    };
    let Conversation { told, streams: more, .. } = conversation;
    streams.extend(more);
    if ended.is_violent() {
        attempt.kill_leftovers().await;
    }
    // What the task left running goes on after a normal end, as in Airflow.
    drain(streams).await;
    conclude(attempt, ended, told).await;
}

/// A process for the attempt; `None` if it is not wanted any more.
async fn fork<R: Reports>(attempt: &Attempt<'_, R>) -> Option<ForkedChild> {
    let env = HashMap::from([(MARK.to_owned(), attempt.start.attempt.to_string())]);
    let job = Job::Task { env };
    let mut told = false;
    let tries = async {
        loop {
            match attempt.worker.inner.helper.fork(&job).await {
                Ok(child) => return child,
                Err(error) if !told => {
                    let event = format!("{error}; this is tried again until it can be done");
                    attempt.log.write(Level::Error, TASK_LOGGER, &event, &[]);
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(FORK_PAUSE).await;
        }
    };
    tokio::select! {
        child = tries => Some(child),
        stop = attempt.stop_wanted() => {
            attempt.log_stop(stop);
            None
        }
    }
}

/// How the process came to its end.
#[derive(Debug)]
enum Ended {
    Exited(Exit),
    Nonsense(FrameError),
    NoStart(String),
    Stopped(Stop),
    Overtime,
    TimedOut,
}

impl Ended {
    /// Whether the process had no chance to clean up behind itself.
    fn is_violent(&self) -> bool {
        !matches!(self, Ended::Exited(Exit::Code(_)))
    }
}

/// What the process is given time for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its task's work.
    Running,
    /// What comes after the end of the task: callbacks, listeners.
    Overtime,
    /// To end as it was asked to.
    Ending,
    /// Nothing more: it was killed.
    Killed,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    phase: Phase,
    until: Option<Instant>,
}

impl Clock {
    fn running<R: Reports>(attempt: &Attempt<'_, R>) -> Self {
        let timeout = attempt.execution_timeout();
        Self { phase: Phase::Running, until: timeout.map(|timeout| Instant::now() + timeout + TIMEOUT_GRACE) }
    }

    fn after(phase: Phase, time: Duration) -> Self {
        Self { phase, until: Some(Instant::now() + time) }
    }
}

/// Holds a process from its start to its end.
struct Leash<'a, R> {
    attempt: &'a Attempt<'a, R>,
    pid: u32,
    exited: oneshot::Receiver<Exit>,
    /// What is already plain.
    ended: Option<Ended>,
    clock: Clock,
}

impl<R: Reports> Leash<'_, R> {
    /// Follows the process to its end, and sees to it that there is one. The conversation goes on until then: whoever
    /// is asked to end may have something to ask for, too.
    async fn watch(mut self, talk: impl Future<Output = Result<(), TalkError>>, has_ended: &Notify) -> Ended {
        let mut talk = pin!(talk);
        let mut is_talking = true;
        let attempt = self.attempt;
        let exit = loop {
            let may_stop = matches!(self.clock.phase, Phase::Running | Phase::Overtime);
            tokio::select! {
                exit = &mut self.exited => break exit.unwrap_or(Exit::Unknown),
                talked = &mut talk, if is_talking => {
                    is_talking = false;
                    self.silent(talked).await;
                }
                () = has_ended.notified(), if self.clock.phase == Phase::Running => self.begin_overtime(),
                stop = attempt.stop_wanted(), if may_stop => {
                    attempt.log_stop(stop);
                    self.end(Ended::Stopped(stop));
                }
                () = sleep_until(self.clock.until) => {
                    if self.time_is_up().await {
                        break Exit::Unknown;
                    }
                }
            }
        };
        if is_talking {
            // What it said last is still on its way. Something that it started may keep the connection open, though.
            let _ = tokio::time::timeout(DRAIN, talk).await;
        }
        self.ended.unwrap_or(Ended::Exited(exit))
    }

    /// The conversation is over.
    async fn silent(&mut self, talked: Result<(), TalkError>) {
        match talked {
            Ok(()) | Err(TalkError::Frame(FrameError::Io(_))) if self.clock.phase == Phase::Running => {
                self.begin_overtime();
            }
            Ok(()) | Err(TalkError::Frame(FrameError::Io(_))) => {}
            Err(error) => {
                self.ended.get_or_insert(match error {
                    TalkError::Frame(error) => Ended::Nonsense(error),
                    TalkError::NoStart(reason) => Ended::NoStart(reason),
                });
                self.kill().await;
            }
        }
    }

    fn begin_overtime(&mut self) {
        self.clock = Clock::after(Phase::Overtime, self.attempt.worker.inner.options.overtime);
    }

    /// Asks the process and what it started to end.
    fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        signal_group(self.pid, SIGTERM);
        self.clock = Clock::after(Phase::Ending, KILL_GRACE);
    }

    async fn kill(&mut self) {
        let pid = self.pid;
        let _ = tokio::task::spawn_blocking(move || kill_tree(pid)).await;
        self.clock = Clock::after(Phase::Killed, KILL_GRACE);
    }

    /// Returns whether there is nothing more to wait for.
    async fn time_is_up(&mut self) -> bool {
        let log = &self.attempt.log;
        match self.clock.phase {
            Phase::Running => {
                let event = "The task has not ended by itself after its execution_timeout; it is ended from outside";
                log.write(Level::Error, TASK_LOGGER, event, &[]);
                self.end(Ended::TimedOut);
            }
            Phase::Overtime => {
                let event =
                    "The task has ended, but its process has not within [core] task_success_overtime; it is ended";
                log.write(Level::Warning, TASK_LOGGER, event, &[]);
                self.end(Ended::Overtime);
            }
            Phase::Ending => {
                log.write(
                    Level::Warning,
                    TASK_LOGGER,
                    "The process did not end when it was asked to; it is killed",
                    &[],
                );
                self.kill().await;
            }
            Phase::Killed => {
                log.write(Level::Error, TASK_LOGGER, "The process could not be killed; it is left to the system", &[]);
                return true;
            }
        }
        false
    }
}

/// Reports the end, if the child has not told it, and says in the log what happened.
async fn conclude<R: Reports>(attempt: &Attempt<'_, R>, ended: Ended, told: Told) {
    let log = &attempt.log;
    if told.reported {
        if let Ended::Exited(exit) = &ended
            && *exit != Exit::Code(0)
        {
            log_exit(log, *exit);
        }
        return;
    }
    let Told { rendered_map_index, writes, outcome, .. } = told;
    let outcome = match (ended, outcome) {
        (Ended::Stopped(Stop::Decided(_)), _) => return,
        (Ended::Stopped(Stop::Cleared | Stop::Interrupted), _) => Outcome::Interrupted,
        // What is told only by the process's end.
        (_, Some(outcome)) => outcome,
        (Ended::Exited(Exit::Unknown), None) => lost(attempt),
        (Ended::Exited(Exit::Code(0)), None) => {
            let event = "The process ended without saying how the task ended; that counts as a failure";
            log.write(Level::Error, TASK_LOGGER, event, &[]);
            Outcome::Failed
        }
        (Ended::Exited(exit), None) => {
            log_exit(log, exit);
            Outcome::Failed
        }
        (Ended::Overtime, None) => {
            let event = "The process closed its connection without saying how the task ended; that counts as a failure";
            log.write(Level::Error, TASK_LOGGER, event, &[]);
            Outcome::Failed
        }
        (Ended::Nonsense(error), None) => {
            let event = "The process broke the task protocol and was killed";
            log.write(Level::Error, TASK_LOGGER, event, &[("reason", error.to_string().into())]);
            Outcome::Failed
        }
        (Ended::NoStart(reason), None) => {
            log.write(Level::Error, TASK_LOGGER, &reason, &[]);
            Outcome::Failed
        }
        (Ended::TimedOut, None) => Outcome::Failed,
    };
    if outcome != Outcome::Interrupted {
        attempt.worker.forget_losses(&attempt.key());
    }
    attempt.report_end(End { rendered_map_index, writes, ..End::new(outcome) }).await;
}

/// The process went with the Python helper. That is hardly the task's fault, unless it happens again and again.
fn lost<R: Reports>(attempt: &Attempt<'_, R>) -> Outcome {
    let losses = attempt.worker.count_loss(attempt.key());
    let (event, outcome) = if losses < MAX_LOSSES {
        ("The process was lost with the Python helper that it came from; the task runs again", Outcome::Interrupted)
    } else {
        ("The process was lost with the Python helper again and again; that counts as a failure", Outcome::Failed)
    };
    attempt.log.write(Level::Error, TASK_LOGGER, event, &[]);
    outcome
}

fn log_exit(log: &TaskLog, exit: Exit) {
    match exit {
        Exit::Code(code) => {
            log.write(Level::Warning, TASK_LOGGER, "Process exited abnormally", &[("exit_code", code.into())]);
        }
        Exit::Signal(signal) => {
            let hint = match signal {
                9 => " Most often that is the system's doing, for want of memory.",
                11 => " It crashed in compiled code.",
                _ => "",
            };
            let level = if signal == 9 || signal == 11 { Level::Critical } else { Level::Error };
            let event = format!("Process terminated by signal.{hint}");
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unknown", nix::sys::signal::Signal::as_str);
            log.write(level, TASK_LOGGER, &event, &[("signal", (-signal).into()), ("signal_name", name.into())]);
        }
        Exit::Unknown => log.write(Level::Error, TASK_LOGGER, "The process was lost", &[]),
    }
}
