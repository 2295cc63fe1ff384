//! What was received and what became of it: one JSON object a line.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use async_nats::{HeaderMap, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// It was answered as it should be.
    Answered,
    /// It was answered with an error on demand.
    Error,
    /// It broke the contract and was answered with that error.
    Refused,
    /// It was not answered, on demand.
    Silent,
    /// It was not answered, because its idempotency key was seen before.
    Repeated,
    /// The reply, whatever it is, will be late.
    Late,
    /// It was answered with a header block that cannot be parsed.
    Malformed,
    /// It asked for the backpressure status.
    BackpressurePoll,
    /// It set the backpressure status.
    BackpressureControl,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    at_ns: u64,
    subject: &'a str,
    reply: Option<&'a str>,
    #[serde(serialize_with = "headers")]
    headers: Option<&'a HeaderMap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    length: usize,
    action: Action,
    code: Option<&'a str>,
}

/// The log. Lines are complete in the file after [`Log::flush`].
pub(crate) struct Log {
    start: Instant,
    /// What a payload must contain to be logged.
    matching: Option<Vec<u8>>,
    out: BufWriter<Box<dyn Write>>,
}

impl Log {
    /// Creates the file, or takes stdout for `-`.
    pub(crate) fn create(path: &Path, matching: Option<&str>) -> io::Result<Self> {
        let out: Box<dyn Write> = if is_stdout(path) {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path)?)
        };
        Ok(Self {
            start: Instant::now(),
            matching: matching.map(|text| text.as_bytes().to_vec()),
            out: BufWriter::new(out),
        })
    }

    /// Writes a line; `code` is that of the error it was answered with.
    pub(crate) fn record(
        &mut self,
        message: &Message,
        action: Action,
        code: Option<&str>,
    ) -> io::Result<()> {
        if let Some(part) = &self.matching {
            let mut windows = message.payload.windows(part.len().max(1));
            if !windows.any(|window| window == part) {
                return Ok(());
            }
        }
        let text = std::str::from_utf8(&message.payload).ok();
        let line = Line {
            at_ns: u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            subject: &message.subject,
            reply: message.reply.as_deref(),
            headers: message.headers.as_ref(),
            payload: text,
            payload_base64: text
                .is_none()
                .then(|| BASE64_STANDARD.encode(&message.payload)),
            length: message.payload.len(),
            action,
            code,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// Hands everything to the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The bodies of replies, one a line. Lines are complete in the file after [`Replies::flush`].
pub(crate) struct Replies(BufWriter<File>);

impl Replies {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(BufWriter::new(File::create(path)?)))
    }

    /// Writes a body.
    pub(crate) fn record(&mut self, body: &[u8]) -> io::Result<()> {
        self.0.write_all(body)?;
        self.0.write_all(b"\n")
    }

    /// Hands everything to the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether a log path means stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Headers as one object; values of a repeated name are joined by a comma.
fn headers<S: Serializer>(headers: &Option<&HeaderMap>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(
        headers
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|(name, values)| {
                let values: Vec<_> = values.iter().map(|value| value.as_str()).collect();
                (name.to_string(), values.join(","))
            }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static [u8], headers: Option<HeaderMap>) -> Message {
        Message {
            subject: "s".into(),
            reply: None,
            payload: payload.into(),
            headers,
            status: None,
            description: None,
            length: payload.len(),
        }
    }

    #[test]
    fn a_line_has_every_field_that_readers_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path, None).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("k", "v");
        headers.append("k", "w");
        log.record(&message(b"text", Some(headers)), Action::Answered, None)
            .unwrap();
        log.record(&message(b"\xff", None), Action::Refused, Some("internal"))
            .unwrap();
        log.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines[0]["at_ns"].is_u64());
        assert_eq!(lines[0]["headers"]["k"], "v,w");
        assert_eq!(lines[0]["payload"], "text");
        assert_eq!(lines[0]["code"], serde_json::Value::Null);
        assert_eq!(lines[1]["payload_base64"], "/w==");
        assert_eq!(lines[1].get("payload"), None);
        assert_eq!(lines[1]["action"], "refused");
        assert_eq!(lines[1]["code"], "internal");
        assert_eq!(lines[1]["length"], 1);
    }
}
