//! Task logs: one file for each try, in Airflow's layout of folders and its JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use model::{Json, RunKey, TaskInstance};
use serde_json::{Map, json};

use crate::mask::Masker;

/// The longest log of one try. What comes after it is dropped, and the log says so.
pub const MAX_LOG: u64 = 64 * 1024 * 1024;
/// The longest single line; the rest of it is dropped.
const MAX_LINE: usize = 1024 * 1024;

/// The log file of a try, below the folder of logs: Airflow's default `log_filename_template`.
pub fn log_path(base: &Path, ti: &TaskInstance, try_number: u32) -> PathBuf {
    let mut path = base.join(format!("dag_id={}", ti.run.dag_id));
    path.push(format!("run_id={}", ti.run.run_id));
    path.push(format!("task_id={}", ti.task_id));
    if ti.map_index.is_mapped() {
        path.push(format!("map_index={}", ti.map_index.0));
    }
    path.push(format!("attempt={try_number}.log"));
    path
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }
}

/// Writes a try's log. Cheap to clone; clones write to the same file, whole lines at a time.
#[derive(Clone)]
pub struct TaskLog {
    file: Arc<Mutex<Sink>>,
    /// Nothing more is kept: lines need not even be made.
    is_closed: Arc<AtomicBool>,
    masker: Masker,
    /// What every line of the attempt repeats, as Airflow's lines do.
    identity: Arc<Map<String, Json>>,
}

struct Sink {
    place: Place,
    written: u64,
    /// Lines that are kept back to be written in one go.
    held: Vec<u8>,
    holds: u32,
}

/// Where lines go.
enum Place {
    /// Opened by the first line: what starts a process must not wait for that.
    NotOpen(PathBuf),
    Open(File),
    /// The disk takes nothing, or the log is full.
    Closed,
}

/// Keeps lines back while it lives, so that several become one write.
pub(crate) struct Hold<'a>(&'a TaskLog);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut sink = self.0.sink();
        sink.holds -= 1;
        if sink.holds == 0 && !sink.flush() {
            self.0.is_closed.store(true, Ordering::Relaxed);
        }
    }
}

impl TaskLog {
    /// The log of a try; its file is made by the first line. A later attempt of the same try (a rescheduled sensor) goes
    /// on in the same file. A disk that takes no log does not keep the task from running.
    pub fn open(base: &Path, ti: &TaskInstance, masker: Masker) -> Self {
        Self::at(log_path(base, ti, ti.try_number), ti, masker)
    }

    /// A log in the name of a try, in a file of its own.
    pub(crate) fn at(path: PathBuf, ti: &TaskInstance, masker: Masker) -> Self {
        let identity = json!({
            "ti_id": ti.id.to_string(),
            "dag_id": ti.run.dag_id.as_str(),
            "task_id": ti.task_id.as_str(),
            "run_id": ti.run.run_id.as_str(),
            "try_number": ti.try_number,
            "map_index": ti.map_index.0,
        });
        Self::named(path, identity, masker)
    }

    /// A log in the name of a run.
    pub(crate) fn of_run(path: PathBuf, run: &RunKey, masker: Masker) -> Self {
        Self::named(path, json!({"dag_id": run.dag_id.as_str(), "run_id": run.run_id.as_str()}), masker)
    }

    fn named(path: PathBuf, identity: Json, masker: Masker) -> Self {
        let identity = match identity {
            Json::Object(fields) => fields,
            _ => Map::new(),
        };
        let place = Place::NotOpen(path);
        let sink = Sink { place, written: 0, held: Vec::new(), holds: 0 };
        let is_closed = Arc::new(AtomicBool::new(false));
        Self { file: Arc::new(Mutex::new(sink)), is_closed, masker, identity: Arc::new(identity) }
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines that are written while the answer lives go to the file together.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.sink().holds += 1;
        Hold(self)
    }

    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    /// A line of the engine's own, or in the name of an operator that it runs.
    pub fn write(&self, level: Level, logger: &str, event: &str, more: &[(&str, Json)]) {
        if self.is_closed() {
            return;
        }
        let mut line = start(&now(), level.name(), event);
        for (key, value) in more {
            line.insert((*key).to_owned(), value.clone());
        }
        for (key, value) in self.identity.iter() {
            line.insert(key.clone(), value.clone());
        }
        line.insert("logger".into(), logger.into());
        self.put(Json::Object(line));
    }

    pub fn info(&self, logger: &str, event: &str) {
        self.write(Level::Info, logger, event, &[]);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// A line that a child wrote to its standard output or error.
    pub fn stream(&self, logger: &str, level: Level, text: &[u8]) {
        if self.is_closed() {
            return;
        }
        let text = String::from_utf8_lossy(text);
        let mut line = start(&now(), level.name(), text.trim_end());
        line.insert("logger".into(), logger.into());
        self.put(Json::Object(line));
    }

    /// A line of the child's own log: JSON as the SDK writes it.
    pub fn record(&self, line: &[u8]) {
        if self.is_closed() {
            return;
        }
        let Ok(Json::Object(mut fields)) = serde_json::from_slice(line) else {
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.stream("task.log", Level::Info, line);
            }
            return;
        };
        let mut text = |key: &str| fields.shift_remove(key).and_then(|value| value.as_str().map(str::to_owned));
        let timestamp = text("timestamp").unwrap_or_else(now);
        let level = text("level").unwrap_or_else(|| "info".into());
        let mut line = start(&timestamp, &level, &text("event").unwrap_or_default());
        if let Some(exception) = fields.shift_remove("exception") {
            line.insert("error_detail".into(), exception);
        }
        line.extend(fields);
        self.put(Json::Object(line));
    }

    fn put(&self, mut line: Json) {
        self.masker.redact(&mut line, None);
        if let Some(event) = line.get_mut("event")
            && let Some(text) = event.as_str().filter(|text| text.len() > MAX_LINE)
        {
            let end = (0..=MAX_LINE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            *event = format!("{} … ({} bytes were cut off)", &text[..end], text.len() - end).into();
        }
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        let mut sink = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !sink.write(&bytes) {
            self.is_closed.store(true, Ordering::Relaxed);
        }
    }
}

impl Sink {
    /// Returns whether there is room for more.
    fn write(&mut self, line: &[u8]) -> bool {
        if matches!(self.place, Place::Closed) {
            return false;
        }
        self.held.extend_from_slice(line);
        if self.holds > 0 && self.held.len() < MAX_LINE { true } else { self.flush() }
    }

    /// Writes what was kept back.
    fn flush(&mut self) -> bool {
        let lines = std::mem::take(&mut self.held);
        if lines.is_empty() {
            return !matches!(self.place, Place::Closed);
        }
        let result = self.file().and_then(|file| file.write_all(&lines));
        self.written += lines.len() as u64;
        let is_full = self.written >= MAX_LOG;
        match (result, &mut self.place) {
            (Ok(()), Place::Open(file)) if is_full => {
                let event = format!("The log has reached {} MiB; what follows is not kept", MAX_LOG / (1024 * 1024));
                let mut last = Json::Object(start(&now(), Level::Warning.name(), &event)).to_string();
                last.push('\n');
                // Whether or not there is room for it: the log ends here.
                let _ = file.write_all(last.as_bytes());
                self.place = Place::Closed;
            }
            (Ok(()), _) => return true,
            (Err(error), _) => {
                tracing::error!(%error, "a task's log can't be written; the task itself goes on");
                self.place = Place::Closed;
            }
        }
        false
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if let Place::NotOpen(path) = &self.place {
            let open = || OpenOptions::new().create(true).append(true).open(path);
            let file = match open() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(folder) = path.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    open()?
                }
                file => file?,
            };
            self.written = file.metadata().map_or(0, |metadata| metadata.len());
            if self.written >= MAX_LOG {
                return Err(io::Error::other("it is full"));
            }
            self.place = Place::Open(file);
        }
        match &mut self.place {
            Place::Open(file) => Ok(file),
            Place::NotOpen(_) | Place::Closed => Err(io::Error::other("it is closed")),
        }
    }
}

fn start(timestamp: &str, level: &str, event: &str) -> Map<String, Json> {
    let mut line = Map::new();
    line.insert("timestamp".into(), timestamp.into());
    line.insert("level".into(), level.into());
    line.insert("event".into(), event.into());
    line
}

fn now() -> String {
    let now = Timestamp::now();
    format!("{now:.6}")
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and gives each line that is whole now, without its end.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.partial.is_empty() {
                line(&rest[..end]);
            } else {
                self.partial.extend_from_slice(&rest[..end]);
                line(&std::mem::take(&mut self.partial));
            }
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        // A line without end must not grow without bound.
        if self.partial.len() > 2 * MAX_LINE {
            line(&std::mem::take(&mut self.partial));
        }
    }

    /// What is left when the stream has ended.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&std::mem::take(&mut self.partial));
        }
    }
}
