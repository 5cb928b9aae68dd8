//! The lines of a log file, in the order of their moments.
//!
//! Lines of one log are nearly in order already. As in Airflow, a window of some thousand lines puts them right, and
//! lines that follow each other and are the same are shown once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use super::message::{Form, LineReader, Message};

/// Lines in the window, and those that leave it at once when it is full (`HEAP_DUMP_SIZE`).
const WINDOW: usize = 5000;
const LEAVING: usize = WINDOW / 2;
/// Bytes in the window: lines can be long.
const WINDOW_BYTES: usize = 8 << 20;
/// The moment of lines that have none and follow none: 2000-01-01, as in Airflow.
const NO_MOMENT: i64 = 946_684_800_000;

/// How far a log has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    /// Lines that were read.
    pub(super) lines: u64,
    /// Bytes that were read.
    pub(super) offset: u64,
    /// The moment of the last line, in milliseconds.
    pub(super) last_millis: Option<i64>,
}

/// A log file, as long as it was when it was opened.
pub(super) struct LogFile {
    reader: BufReader<Take<File>>,
    position: Position,
    /// Whether a last line without an end counts: nobody will end it.
    whole: bool,
}

impl LogFile {
    /// Opens a log below the folder of logs; `None` if there is none there.
    pub(super) fn open(folder: &Path, path: &Path, position: Option<Position>, whole: bool) -> Option<Self> {
        // Names of Dags and runs are part of the path, and links may lead anywhere.
        let real =
            path.canonicalize().ok().filter(|real| folder.canonicalize().is_ok_and(|base| real.starts_with(base)));
        let mut file = File::open(real?).ok()?;
        let position = position.unwrap_or_default();
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(position.offset)).ok()?;
        let reader = BufReader::new(file.take(length.saturating_sub(position.offset)));
        Some(Self { reader, position, whole })
    }

    /// The next line, without its end.
    fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line)?;
        let is_ended = line.last() == Some(&b'\n');
        if read == 0 || !(is_ended || self.whole) {
            return Ok(None);
        }
        self.position.offset += read as u64;
        self.position.lines += 1;
        if is_ended {
            line.pop();
        }
        Ok(Some(line))
    }

    /// Gives every message, written out, until it is told to stop. Tells how far it came.
    pub(super) fn read(mut self, form: Form, mut each: impl FnMut(String) -> bool) -> std::io::Result<Position> {
        let mut window = Window::default();
        let mut lines = LineReader::default();
        while let Some(line) = self.line()? {
            if line.is_empty() {
                continue;
            }
            let Message { millis, text } = lines.read(&line, form);
            self.position.last_millis = millis.or(self.position.last_millis);
            window.put(self.position.last_millis, self.position.lines, text);
            while window.is_full() {
                for _ in 0..LEAVING.min(window.lines.len()) {
                    if !window.next().is_none_or(&mut each) {
                        return Ok(self.position);
                    }
                }
            }
        }
        while !window.lines.is_empty() {
            if !window.next().is_none_or(&mut each) {
                break;
            }
        }
        Ok(self.position)
    }
}

#[derive(Default)]
struct Window {
    lines: BinaryHeap<Reverse<(i64, u64, String)>>,
    bytes: usize,
    last: Option<String>,
}

impl Window {
    fn put(&mut self, millis: Option<i64>, number: u64, text: String) {
        self.bytes += text.len();
        self.lines.push(Reverse((millis.unwrap_or(NO_MOMENT), number, text)));
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= WINDOW || self.bytes >= WINDOW_BYTES
    }

    /// The earliest line, unless it is the one before it once more.
    fn next(&mut self) -> Option<String> {
        let Reverse((millis, _, text)) = self.lines.pop()?;
        self.bytes -= text.len();
        let is_new = millis == NO_MOMENT || self.last.as_ref() != Some(&text);
        self.last = Some(text.clone());
        is_new.then_some(text)
    }
}
