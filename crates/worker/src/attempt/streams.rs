//! What an attempt's process writes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::log::{Level, Lines, TaskLog};

/// How long output may trickle in after the process has ended: something that it started may hold the streams.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

pub(crate) enum Stream {
    Stdout,
    Stderr,
    Log,
}

/// Writes a stream of the child to the task's log, to its end.
pub(crate) fn forward(
    mut stream: impl AsyncRead + Unpin + Send + 'static,
    log: TaskLog,
    kind: Stream,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = Lines::default();
        let mut buffer = vec![0; PIECE];
        let take = |line: &[u8]| match kind {
            Stream::Stdout => log.stream("task.stdout", Level::Info, line),
            Stream::Stderr => log.stream("task.stderr", Level::Error, line),
            Stream::Log => log.record(line),
        };
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            lines.push(&buffer[..length], take);
        }
        lines.finish(take);
    })
}

/// Waits for the streams to end, but not for long.
pub(crate) async fn drain(streams: Vec<JoinHandle<()>>) {
    let deadline = Instant::now() + DRAIN;
    for mut stream in streams {
        if timeout_at(deadline, &mut stream).await.is_err() {
            stream.abort();
        }
    }
}
