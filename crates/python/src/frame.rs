//! Frames: a 4-byte big-endian length, then MessagePack. `[id, body]` from the child, `[id, body, error]` to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use model::Json;
use rmpv::Value;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

/// The longest frame that is read. A larger XCom belongs into an object store; a child that speaks nonsense must not
/// make the engine reserve gigabytes.
pub const MAX_FRAME: usize = 256 * 1024 * 1024;
/// Frames are read in pieces of this size, so that memory grows only with what really arrives.
const PIECE: usize = 64 * 1024;
/// How deep values may be nested.
const MAX_DEPTH: usize = 200;
/// MessagePack's extension type for moments.
const TIMESTAMP: i8 = -1;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("a frame of {length} bytes is longer than the {MAX_FRAME} that are allowed")]
    TooLong { length: usize },
    #[error("a frame can't be read: {0}")]
    Invalid(String),
}

/// A frame from a child.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub id: i64,
    pub body: Json,
}

pub struct FrameReader<R> {
    inner: R,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner }
    }

    /// The next frame; `None` when the other side has closed the connection between two frames.
    ///
    /// Not safe to cancel: a frame that was half read is lost.
    pub async fn read(&mut self) -> Result<Option<Request>, FrameError> {
        let mut header = [0; 4];
        match self.inner.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let length = u32::from_be_bytes(header) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong { length });
        }
        let mut frame = Vec::with_capacity(length.min(PIECE));
        while frame.len() < length {
            let wanted = (length - frame.len()).min(PIECE);
            let start = frame.len();
            frame.resize(start + wanted, 0);
            self.inner.read_exact(&mut frame[start..]).await?;
        }
        parse_request(&frame).map(Some)
    }
}

pub struct FrameWriter<W> {
    inner: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Answers a request. An answer without a body says only that all went well.
    pub async fn answer(&mut self, id: i64, body: Option<&Json>) -> Result<(), FrameError> {
        self.write(&(id, body, None::<&Json>)).await
    }

    /// Answers a request with an error of the kind that the SDK raises.
    pub async fn refuse(&mut self, id: i64, error: &Json) -> Result<(), FrameError> {
        self.write(&(id, None::<&Json>, Some(error))).await
    }

    async fn write<T: serde::Serialize>(&mut self, frame: &T) -> Result<(), FrameError> {
        self.inner.write_all(&encode(frame)?).await?;
        Ok(())
    }
}

impl FrameWriter<OwnedWriteHalf> {
    /// Answers a request for a new log channel: its end goes with the answer.
    pub async fn answer_with_descriptor(&mut self, id: i64, descriptor: OwnedFd) -> Result<(), FrameError> {
        let number = descriptor.as_raw_fd();
        let bytes = encode(&(id, &json!({"type": "SentFDs", "fds": [number]}), None::<&Json>))?;
        let stream: &UnixStream = self.inner.as_ref();
        let send = || process::send_with_descriptor(stream.as_fd(), &bytes, descriptor.as_fd());
        let taken = stream.async_io(Interest::WRITABLE, send).await?;
        self.inner.write_all(&bytes[taken..]).await?;
        Ok(())
    }
}

fn encode<T: serde::Serialize>(frame: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    rmp_serde::encode::write_named(&mut bytes, frame).map_err(|error| FrameError::Invalid(error.to_string()))?;
    let length = bytes.len() - 4;
    let header = u32::try_from(length).map_err(|_| FrameError::TooLong { length })?;
    bytes[..4].copy_from_slice(&header.to_be_bytes());
    Ok(bytes)
}

fn parse_request(frame: &[u8]) -> Result<Request, FrameError> {
    let invalid = |what: &str| FrameError::Invalid(what.to_owned());
    let mut rest = frame;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH)
        .map_err(|error| FrameError::Invalid(error.to_string()))?;
    let Value::Array(parts) = value else { return Err(invalid("it is not a list")) };
    let mut parts = parts.into_iter();
    let id = parts.next().and_then(|id| id.as_i64()).ok_or_else(|| invalid("it has no id"))?;
    let body = parts.next().map_or(Json::Null, to_json);
    Ok(Request { id, body })
}

/// MessagePack as JSON. Moments become their ISO 8601 texts, bytes the text they hold.
fn to_json(value: Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Boolean(value) => value.into(),
        Value::Integer(number) => {
            number.as_i64().map(Json::from).or_else(|| number.as_u64().map(Json::from)).unwrap_or(Json::Null)
        }
        Value::F32(number) => float(f64::from(number)),
        Value::F64(number) => float(number),
        Value::String(text) => String::from_utf8_lossy(text.as_bytes()).into_owned().into(),
        Value::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Value::Array(values) => values.into_iter().map(to_json).collect(),
        Value::Map(entries) => Json::Object(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = match to_json(key) {
                        Json::String(text) => text,
                        other => other.to_string(),
                    };
                    (key, to_json(value))
                })
                .collect(),
        ),
        Value::Ext(TIMESTAMP, bytes) => moment(&bytes).map_or(Json::Null, Json::from),
        Value::Ext(..) => Json::Null,
    }
}

/// JSON has no name for what is not a number; Airflow stores the texts.
fn float(number: f64) -> Json {
    serde_json::Number::from_f64(number).map_or_else(
        || {
            Json::from(if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        },
        Json::Number,
    )
}

/// The three layouts of MessagePack's timestamp extension.
fn moment(bytes: &[u8]) -> Option<String> {
    let (seconds, nanoseconds) = match *bytes {
        [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, i32::try_from(both >> 34).ok()?)
        }
        [n0, n1, n2, n3, a, b, c, d, e, f, g, h] => {
            (i64::from_be_bytes([a, b, c, d, e, f, g, h]), i32::try_from(u32::from_be_bytes([n0, n1, n2, n3])).ok()?)
        }
        _ => return None,
    };
    jiff::Timestamp::new(seconds, nanoseconds).ok().map(|moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(bytes);
        framed
    }

    async fn read(bytes: &[u8]) -> Result<Option<Request>, FrameError> {
        FrameReader::new(bytes).read().await
    }

    #[tokio::test]
    async fn what_is_written_reads_back() {
        let body = json!({"type": "X", "value": [1, -2, 2.5, null, true, "ä", {"k": []}]});
        let mut bytes = Vec::new();
        FrameWriter::new(&mut bytes).answer(7, Some(&body)).await.unwrap();
        assert_eq!(read(&bytes).await.unwrap(), Some(Request { id: 7, body }));
        assert_eq!(read(&[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn moments_are_read_in_all_three_layouts() {
        for (bytes, want) in [
            (vec![0x92, 0, 0xd6, 0xff, 0, 0, 0, 1], "1970-01-01T00:00:01Z"),
            (vec![0x92, 0, 0xd7, 0xff, 0, 0, 0, 4, 0, 0, 0, 2], "1970-01-01T00:00:02.000000001Z"),
            ([vec![0x92, 0, 0xc7, 12, 0xff, 0, 0, 0, 0], vec![0xff; 8]].concat(), "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(read(&frame(&bytes)).await.unwrap().unwrap().body, json!(want));
        }
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_costs_no_memory() {
        assert!(matches!(read(&[0xff, 0xff, 0xff, 0xff, 1]).await, Err(FrameError::TooLong { .. })));
        assert!(matches!(read(&[0x0f, 0, 0, 0, 1]).await, Err(FrameError::Io(_))));
        assert!(matches!(read(&frame(b"hello")).await, Err(FrameError::Invalid(_))));
        assert!(matches!(read(&frame(&[0x91; 4000])).await, Err(FrameError::Invalid(_))));
    }
}
