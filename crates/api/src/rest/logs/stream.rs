//! Logs as bodies that are written while they are read: a log of any size costs little memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use futures_core::Stream;
use serde_json::Value;
use tokio::sync::mpsc;

use super::message::Form;
use super::read::{LogFile, Position};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a slow client.
const WAITING: usize = 4;

struct Chunks(mpsc::Receiver<io::Result<Bytes>>);

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Gathers text and sends it in chunks, from a thread that may block.
struct Writer {
    sender: mpsc::Sender<io::Result<Bytes>>,
    text: String,
}

impl Writer {
    /// Whether somebody still reads.
    fn put(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.text.len() < CHUNK || self.flush()
    }

    fn flush(&mut self) -> bool {
        let text = std::mem::take(&mut self.text);
        self.sender.blocking_send(Ok(text.into())).is_ok()
    }
}

/// A body that a thread writes. An error cuts it off, so that nobody takes it for the whole.
fn body(write: impl FnOnce(&mut Writer) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut writer = Writer { sender, text: String::new() };
    tokio::task::spawn_blocking(move || match write(&mut writer) {
        Ok(()) => {
            writer.flush();
        }
        Err(error) => {
            tracing::warn!(%error, "a log can't be read to its end");
            let _ = writer.sender.blocking_send(Err(error));
        }
    });
    Body::from_stream(Chunks(receiver))
}

/// One document: the messages, and the token with which the reading goes on.
pub(super) fn json(
    head: Vec<String>,
    file: Option<LogFile>,
    token: impl FnOnce(Position) -> Option<String> + Send + 'static,
) -> Body {
    body(move |writer| {
        writer.put("{\"content\":[");
        let mut separator = "";
        let mut put = |message: String| {
            let reads = writer.put(separator) && writer.put(&message);
            separator = ",";
            reads
        };
        let reads = head.into_iter().all(&mut put);
        let position = match file {
            Some(file) if reads => file.read(Form::Json, &mut put)?,
            _ => Position::default(),
        };
        let token = Value::from(token(position));
        writer.put(&format!("],\"continuation_token\":{token}}}"));
        Ok(())
    })
}

/// A line for each message.
pub(super) fn lines(head: Vec<String>, file: Option<LogFile>) -> Body {
    body(move |writer| {
        let mut put = |message: String| writer.put(&message) && writer.put("\n");
        if head.into_iter().all(&mut put)
            && let Some(file) = file
        {
            file.read(Form::Lines, &mut put)?;
        }
        Ok(())
    })
}
