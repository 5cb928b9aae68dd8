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
        let (columns, lines) = size_of_terminal();
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        self.frame += 1;
        let done = tasks.iter().filter(|ti| ti.state.is_finished()).count();
        let since = run.start_date.map(|start| seconds_until(start, run.end_date)).unwrap_or_default();
        let title = format!("{}  {}  {done} of {} tasks  {since:.1} s", run.key, run.state, tasks.len());
        // A line that the terminal broke in two, or one that left its top, could not be drawn again.
        out.push_str(&format!("{}\n", cli::cut(&title, columns)));
        let room = MAX_ROWS.min(lines.saturating_sub(3)).max(1);
        let mut shown: Vec<&TaskInstance> = tasks.iter().collect();
        let more = shown.len().saturating_sub(room);
        if more > 0 {
            // What goes on comes first where not all can be shown.
            shown.sort_by_key(|ti| (!ti.state.is_executing(), ti.state.is_finished()));
            shown.truncate(room);
        }
        let width = shown.iter().map(|ti| name_of(ti).len()).max().unwrap_or(0);
        for ti in &shown {
            let time =
                ti.start_date.map(|start| format!("{:8.2} s", seconds_until(start, ti.end_date))).unwrap_or_default();
            let row = format!("{:15} {time:10} {:width$}", ti.state.to_string(), name_of(ti));
            out.push_str(&format!(
                "  {} {}\n",
                self.mark(ti.state),
                cli::cut(row.trim_end(), columns.saturating_sub(4))
            ));
        }
        if more > 0 {
            out.push_str(&format!("  … {more} more\n"));
        }
        self.drawn = 1 + shown.len() + usize::from(more > 0);
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

/// Columns and lines; the usual ones where the terminal does not say.
fn size_of_terminal() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
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
