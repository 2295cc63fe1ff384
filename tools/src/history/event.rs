//! The lines of the three kinds of history, as JSON objects.

use serde::{Deserialize, Serialize};

/// A line of a client's history. Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes
/// of a machine share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Start {
        /// The client's name. Request `n` has the id `NAME-n`.
        client: String,
        /// The tenant that its requests must arrive with.
        tenant: String,
    },
    /// A request is about to be submitted; what is submitted may have been accepted.
    Submit {
        /// Its number.
        n: u64,
        /// When.
        at: u64,
        /// Time allowed, in nanoseconds.
        timeout: u64,
        /// Whether it may be sent more than once.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        idempotent: bool,
        /// [`digest`] of its payload.
        digest: u32,
    },
    /// The client library refused it: it was not submitted.
    Refused {
        /// Its number.
        n: u64,
        /// When.
        at: u64,
    },
    /// Its completion.
    Complete {
        /// Its number.
        n: u64,
        /// When.
        at: u64,
        /// `answered`, `rejected` or `unknown`.
        outcome: String,
        /// The code's name.
        code: String,
        /// Whether a reply named this request; true without a reply.
        names_it: bool,
    },
    /// The last line: the client ended by itself, and waited for what it had asked.
    End {
        /// When.
        at: u64,
    },
}

/// A line of the Router's log, as far as the checker reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// Payload, when it is text.
    #[serde(default)]
    pub payload: Option<String>,
    /// Headers: each name with its values.
    #[serde(default)]
    pub headers: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A line of the file that says when something was broken and when it was whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum Mark {
    /// A fault begins.
    Fault {
        /// When, as in [`Event`].
        at: u64,
    },
    /// Everything is whole again.
    Healed {
        /// When, as in [`Event`].
        at: u64,
    },
}

/// What stands for a payload in a history: CRC-32 (IEEE 802.3).
#[must_use]
pub fn digest(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}
