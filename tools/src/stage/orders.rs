//! What a client process is told, one JSON object a line, and what it says.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// One order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Ask once; the answer is a [`Got`].
    Call(Ask),
    /// Send many; the answer is a [`FlowReport`].
    Flow(Flow),
    /// End a [`Flow`] that has no count.
    Stop,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ask {
    /// The route's name.
    pub route: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub payload: Vec<u8>,
    /// Time allowed; the route's default without it.
    pub timeout_ms: Option<u64>,
}

impl Ask {
    /// A request to the route `decide`.
    pub fn decide(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            route: "decide".to_owned(),
            headers: Vec::new(),
            payload: payload.into(),
            timeout_ms: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the time allowed.
    #[must_use]
    pub const fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Names another route.
    #[must_use]
    pub fn route(mut self, name: &str) -> Self {
        name.clone_into(&mut self.route);
        self
    }

    /// For people and for evidence.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "route": self.route, "headers": self.headers, "payload": shown_bytes(&self.payload),
            "length": self.payload.len(), "timeout_ms": self.timeout_ms,
        })
    }
}

/// What came back for a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Got {
    /// `OK`, `TIMEOUT` and so on; `NOT_SENT` when the client library refused it.
    pub code: String,
    /// `answered`, `rejected` or `unknown`; empty when it was not sent.
    pub outcome: String,
    /// The HTTP-like status; 0 when it was not sent.
    pub status: u16,
    /// When to try again, in milliseconds; 0 when nothing was said.
    pub retry_after_ms: u64,
    /// Headers of the reply, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub payload: Vec<u8>,
    /// From submission to completion, in microseconds.
    pub elapsed_us: u64,
    /// Why it was not sent.
    pub error: Option<String>,
}

impl Got {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }

    /// For people and for evidence.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "code": self.code, "outcome": self.outcome, "status": self.status,
            "retry_after_ms": self.retry_after_ms, "headers": self.headers,
            "payload": shown_bytes(&self.payload), "length": self.payload.len(),
            "elapsed_us": self.elapsed_us, "error": self.error,
        })
    }
}

/// Many decide requests with ids `PREFIX-NUMBER`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flow {
    /// Begins each request's id.
    pub prefix: String,
    /// The tenant.
    pub tenant: String,
    /// How many; without it until [`Order::Stop`].
    pub count: Option<u64>,
    /// Most on their way at once.
    pub window: usize,
    /// Requests a second, whether answers come or not; without it as fast as the window allows.
    pub rate: Option<f64>,
    /// Time allowed for each; the route's default without it. [`Self::spread_ms`] is added.
    pub timeout_ms: Option<u64>,
    /// Up to so much more time for some of them, so that they do not end together.
    pub spread_ms: u64,
}

impl Flow {
    /// As fast as 32 on their way allow.
    pub fn new(prefix: impl Into<String>, tenant: &str, count: Option<u64>) -> Self {
        Self {
            prefix: prefix.into(),
            tenant: tenant.to_owned(),
            count,
            window: 32,
            rate: None,
            timeout_ms: None,
            spread_ms: 0,
        }
    }

    /// Most on their way at once.
    #[must_use]
    pub const fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// Requests a second.
    #[must_use]
    pub const fn rate(mut self, rate: f64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Time allowed for each.
    #[must_use]
    pub const fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Up to so much more for some.
    #[must_use]
    pub const fn spread_ms(mut self, spread_ms: u64) -> Self {
        self.spread_ms = spread_ms;
        self
    }
}

/// What became of a [`Flow`]: every request that was sent is in `codes` once, or `wrong` says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlowReport {
    /// Requests handed to the gateway.
    pub sent: u64,
    /// Completions.
    pub completed: u64,
    /// Completions by code.
    pub codes: BTreeMap<String, u64>,
    /// Requests that the client library did not send, because the gateway was gone.
    pub refused: u64,
    /// Completions that are not of their request or came twice.
    pub wrong: u64,
    /// Requests without a completion at the end.
    pub unanswered: u64,
    /// The first faults, in words.
    pub faults: Vec<String>,
    /// From when each was due to its completion, of those that were answered `OK`.
    pub latency_us: Latency,
    /// How long after its deadline the latest completion came, in milliseconds.
    pub latest_ms: u64,
    /// How long all of it took.
    pub elapsed_ms: u64,
}

impl FlowReport {
    /// How many completed with this code.
    #[must_use]
    pub fn code(&self, code: &str) -> u64 {
        self.codes.get(code).copied().unwrap_or(0)
    }

    /// Whether every request completed exactly once, with its own answer if it had one.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.sent == self.completed && self.wrong == 0 && self.unanswered == 0
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

/// Bytes as text if they are, cut after 1,024 characters, else as escaped text.
fn shown_bytes(bytes: &[u8]) -> String {
    let text =
        std::str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned);
    text.chars().take(1024).collect()
}

fn to_base64<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(json)?;
    BASE64_STANDARD
        .decode(text)
        .map_err(serde::de::Error::custom)
}
