//! A run as it goes: redrawn in a terminal, a line for each change elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;

use anyhow::Result;
use jiff::Timestamp;
use model::operations::total_seconds;
use model::{DagRun, DagRunState, TaskInstance, TaskState};

use crate::output;

/// Task instances that the terminal shows at once.
const MAX_ROWS: usize = 30;

pub struct LiveView {
    is_terminal: bool,
    with_color: bool,
    drawn: usize,
    told: HashMap<String, TaskState>,
    frame: usize,
}

impl LiveView {
    /// For standard output as it is.
    pub fn new(plain: bool) -> Self {
        let is_terminal = std::io::stdout().is_terminal() && !plain;
        let with_color = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self { is_terminal, with_color, drawn: 0, told: HashMap::new(), frame: 0 }
    }

    /// Shows how things stand. Task instances come in the order in which they are to be shown.
    pub fn show(&mut self, run: &DagRun, tasks: &[TaskInstance]) -> Result<()> {
        if self.is_terminal { self.draw(run, tasks) } else { self.tell_changes(tasks) }
    }

    fn draw(&mut self, run: &DagRun, tasks: &[TaskInstance]) -> Result<()> {
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        self.frame += 1;
        let done = tasks.iter().filter(|ti| ti.state.is_finished()).count();
        let since = run.start_date.map(|start| seconds_until(start, run.end_date)).unwrap_or_default();
        let title = format!("{}  {}  {done} of {} tasks  {since:.1} s", run.key, run.state, tasks.len());
        out.push_str(&format!("\x1b[2K{title}\n"));
        let width = tasks.iter().map(|ti| name_of(ti).len()).max().unwrap_or(0);
        // What goes on comes first where not all can be shown.
        let mut shown: Vec<&TaskInstance> = tasks.iter().collect();
        if shown.len() > MAX_ROWS {
            shown.sort_by_key(|ti| (!ti.state.is_executing(), ti.state.is_finished()));
            shown.truncate(MAX_ROWS);
        }
        for ti in &shown {
            let time =
                ti.start_date.map(|start| format!("{:8.2} s", seconds_until(start, ti.end_date))).unwrap_or_default();
            out.push_str(&format!(
                "\x1b[2K  {} {:width$}  {:15} {time}\n",
                self.mark(ti.state),
                name_of(ti),
                ti.state.to_string()
            ));
        }
        self.drawn = shown.len() + 1;
        output::print(&out)
    }

    fn mark(&self, state: TaskState) -> String {
        const SPINNER: [&str; 4] = ["|", "/", "-", "\\"];
        let (mark, color) = match state {
            TaskState::Success => ("+", "32"),
            TaskState::Failed => ("x", "31"),
            TaskState::UpstreamFailed => ("x", "33"),
            TaskState::Skipped | TaskState::Removed => ("-", "35"),
            TaskState::Running => (SPINNER[self.frame % SPINNER.len()], "36"),
            TaskState::UpForRetry | TaskState::UpForReschedule => ("~", "33"),
            _ => (".", "90"),
        };
        if self.with_color { format!("\x1b[{color}m{mark}\x1b[0m") } else { mark.to_owned() }
    }

    fn tell_changes(&mut self, tasks: &[TaskInstance]) -> Result<()> {
        for ti in tasks {
            let name = name_of(ti);
            let before = self.told.insert(name.clone(), ti.state);
            let news = before != Some(ti.state) && ti.state != TaskState::None && ti.state != TaskState::Queued;
            if !news {
                continue;
            }
            let time = match (ti.start_date, ti.end_date) {
                (Some(start), Some(end)) if ti.state.is_finished() => {
                    format!(" in {:.3} s", total_seconds(end.duration_since(start)))
                }
                _ => String::new(),
            };
            let try_number = if ti.try_number > 1 { format!(" (try {})", ti.try_number) } else { String::new() };
            let now = Timestamp::now().strftime("%H:%M:%S%.3f");
            output::print_line(&format!("{now}  {name} {}{time}{try_number}", ti.state))?;
        }
        Ok(())
    }
}

/// A task instance's name as people see it.
pub fn name_of(ti: &TaskInstance) -> String {
    if ti.map_index.is_mapped() { format!("{}[{}]", ti.task_id, ti.map_index.0) } else { ti.task_id.to_string() }
}

fn seconds_until(start: Timestamp, end: Option<Timestamp>) -> f64 {
    total_seconds(end.unwrap_or_else(Timestamp::now).duration_since(start)).max(0.0)
}

/// The last words on a run.
pub fn summary(run: &DagRun) -> String {
    let seconds = run.duration().map(total_seconds).unwrap_or_default();
    match run.state {
        DagRunState::Success => format!("{} succeeded in {seconds:.3} s", run.key),
        state => format!("{} is {state} after {seconds:.3} s", run.key),
    }
}
