//! What becomes of a request once it has been sent: what the Router, the stream and the server do
//! with it, chosen at random.

use core::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ipc_gateway::clock::Nanos;
use ipc_gateway::nats::Message;
use ipc_gateway::route::{ReplyContract, Route, RouteKind};

use super::ask::Ask;
use super::guest::ANSWER;

/// How the other side feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything is answered at once and once.
    Kind,
    /// Most is answered in time.
    Mixed,
    /// Most goes wrong.
    Nasty,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answered once, in time.
    Answered,
    /// Answered after the deadline.
    Late,
    /// Answered twice.
    Duplicate,
    /// Never answered.
    Silence,
    /// Lost before anybody sees it, and never answered.
    Dropped,
    /// The server knows of nobody who listens.
    NoResponders,
    /// Answered, but to an inbox of another request, or of none.
    Misaddressed,
    /// Answered with more bytes than most blocks hold.
    Oversized,
    /// Answered with an error, or with what is no acknowledgement.
    Refused,
    /// First an acknowledgement by a stream that captures the subject, then the answer.
    Acknowledged,
}

impl Fate {
    pub(crate) fn of(mood: Mood, rng: &mut Rng) -> Self {
        let good_in_16 = match mood {
            Mood::Kind => 16,
            Mood::Mixed => 9,
            Mood::Nasty => 2,
        };
        if rng.u8(..16) < good_in_16 {
            return Self::Answered;
        }
        match rng.u8(..9) {
            0 => Self::Late,
            1 => Self::Duplicate,
            2 => Self::Silence,
            3 => Self::Dropped,
            4 => Self::NoResponders,
            5 => Self::Misaddressed,
            6 => Self::Oversized,
            7 => Self::Refused,
            _ => Self::Acknowledged,
        }
    }

    /// Its name among the faults; `None` when it is none.
    pub(crate) const fn fault(self) -> Option<&'static str> {
        Some(match self {
            Self::Answered => return None,
            Self::Late => "reply_late",
            Self::Duplicate => "reply_twice",
            Self::Silence => "reply_never",
            Self::Dropped => "request_lost",
            Self::NoResponders => "no_responders",
            Self::Misaddressed => "reply_misaddressed",
            Self::Oversized => "reply_oversized",
            Self::Refused => "reply_error",
            Self::Acknowledged => "puback_first",
        })
    }

    /// Whether those for whom a request on such a route is meant get to see it. What is published
    /// is meant for the server.
    pub(crate) const fn is_seen(self, kind: RouteKind) -> bool {
        match self {
            Self::Dropped => false,
            Self::NoResponders => matches!(kind, RouteKind::Publish),
            _ => true,
        }
    }

    /// When the answer comes.
    pub(crate) fn reply_at(self, now: Nanos, deadline: Nanos, mood: Mood, rng: &mut Rng) -> Nanos {
        let most = if mood == Mood::Kind { 500 } else { 4_000 };
        let wait = Duration::from_micros(rng.u64(..=most));
        match self {
            Self::Late => deadline.max(now).after(wait),
            _ => now.after(wait),
        }
    }
}

/// The server's message that nobody listens.
pub(crate) fn no_responders() -> Message {
    message(Bytes::new(), "NATS/1.0 503\r\n\r\n")
}

/// An acknowledgement by a stream.
pub(crate) fn ack(payload: &[u8]) -> Message {
    let mark = Ask::mark_of(payload).unwrap_or(0);
    message(
        format!(r#"{{"stream":"S","seq":7,"domain":"{mark:016x}"}}"#),
        "",
    )
}

/// The answer to a request with this payload.
pub(crate) fn answer(fate: Fate, route: &Route, payload: &[u8], rng: &mut Rng) -> Message {
    let mark = Ask::mark_of(payload).unwrap_or(0);
    if route.kind == RouteKind::Stream {
        return match fate {
            Fate::Refused if rng.bool() => message(format!("{mark:016x}"), ""),
            Fate::Refused => message(
                format!(
                    r#"{{"error":{{"code":503}},"stream":"S","seq":0,"domain":"{mark:016x}"}}"#
                ),
                "",
            ),
            _ => ack(payload),
        };
    }
    if fate == Fate::Refused && route.contract == ReplyContract::Router {
        return message(
            format!(
                r#"{{"ok":false,"error":{{"code":"internal","message":"{mark:016x}"}},"context":{{}}}}"#
            ),
            "",
        );
    }
    let mut body = vec![ANSWER];
    body.extend_from_slice(payload);
    if fate == Fate::Oversized {
        body.resize(body.len() + rng.usize(500..4_000), 0);
    }
    let headers = if rng.u8(..4) == 0 {
        format!("NATS/1.0\r\nserved-by: {}\r\n\r\n", rng.u32(..))
    } else {
        String::new()
    };
    message(body, headers)
}

fn message(payload: impl Into<Bytes>, headers: impl Into<Bytes>) -> Message {
    Message {
        headers: headers.into(),
        payload: payload.into(),
    }
}
