//! Routes: what a client may name, and what the gateway does with it. Plain values.
//!
//! A client names a route by number (by name in the client library); only the configuration knows
//! the subject behind it. So no client can reach a reserved subject, and a subject that could make
//! the server close the shared connection is refused at start.

use core::fmt;
use core::time::Duration;

/// Longest subject that a route may have, in bytes. nats-server closes a connection that sends a
/// control line of more than 4096 bytes; subject and reply inbox together stay well under it.
pub const MAX_SUBJECT_BYTES: usize = 1024;
/// Longest route name, in bytes.
pub const MAX_ROUTE_NAME_BYTES: usize = 64;
/// Most routes that a gateway may have at once.
pub const MAX_ROUTES: usize = 256;
/// Most routes that a gateway may have had while it runs. A number that a route has had is never
/// another route's: a client that attached before would send to the wrong one.
pub const MAX_ROUTE_NUMBERS: usize = 512;

/// A NATS subject to publish to: checked, without wildcards, never a reserved one.
///
/// ```
/// use ipc_gateway::route::{Subject, SubjectError};
///
/// let subject = Subject::try_from("orders.new".to_owned())?;
/// assert_eq!(subject.as_str(), "orders.new");
/// let wild = Subject::try_from("orders.*".to_owned());
/// assert_eq!(wild, Err(SubjectError::Character('*')));
/// # Ok::<(), SubjectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// Why text is not a subject that a route may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectError {
    /// It is empty or has an empty token.
    EmptyToken,
    /// It is longer than [`MAX_SUBJECT_BYTES`].
    TooLong,
    /// It has a wildcard, white space, a control character or a character that is not ASCII.
    Character(char),
    /// It begins with `$` or `_INBOX.`, which belong to the server and to replies.
    Reserved,
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyToken => f.write_str("subject is empty or has an empty token"),
            Self::TooLong => write!(f, "subject is longer than {MAX_SUBJECT_BYTES} bytes"),
            Self::Character(c) => write!(f, "character {c:?} is not allowed in a route's subject"),
            Self::Reserved => f.write_str("subjects that begin with $ or _INBOX are reserved"),
        }
    }
}

impl core::error::Error for SubjectError {}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        if text.len() > MAX_SUBJECT_BYTES {
            return Err(SubjectError::TooLong);
        }
        if text.split('.').any(str::is_empty) {
            return Err(SubjectError::EmptyToken);
        }
        let bad = |c: &char| !c.is_ascii_graphic() || matches!(c, '*' | '>');
        if let Some(c) = text.chars().find(bad) {
            return Err(SubjectError::Character(c));
        }
        if text.starts_with('$') || text.starts_with("_INBOX.") {
            return Err(SubjectError::Reserved);
        }
        Ok(Self(text))
    }
}

impl Subject {
    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What completes a request on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// The reply completes it.
    Request,
    /// It completes as `SENT` when the broker has it.
    Publish,
    /// It completes as `STORED` when `JetStream` has acknowledged it.
    Stream,
}

impl RouteKind {
    /// The name used in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Publish => "publish",
            Self::Stream => "stream",
        }
    }
}

/// Whose rules the replies of a `request` route follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyContract {
    /// The Router's: `{"ok":false,...}` is an error with a code; decide headers are sent.
    Router,
    /// Nobody's: every reply is `OK` and its bytes are opaque.
    Opaque,
}

impl ReplyContract {
    /// The name used in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Opaque => "opaque",
        }
    }
}

/// Who may use a route: everybody who may attach, or the users and groups named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody who may attach.
    Everyone,
    /// These users, and members of these groups.
    Only {
        /// User numbers.
        uids: Vec<u32>,
        /// Group numbers.
        gids: Vec<u32>,
    },
}

impl Access {
    /// Whether a user who is in these groups may use the route.
    #[must_use]
    pub fn allows(&self, uid: u32, groups: &[u32]) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only { uids, gids } => {
                uids.contains(&uid) || groups.iter().any(|group| gids.contains(group))
            }
        }
    }
}

/// When the circuit breaker of a route opens, and for how long (`worker::breaker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Whether failures open it.
    pub enabled: bool,
    /// Share of failures among what ended in the window, in percent, from which on it opens.
    pub failures_percent: u8,
    /// Failures in the window that it takes at least.
    pub min_failures: u32,
    /// How far back it looks.
    pub window: Duration,
    /// How long it stays open the first time, before jitter.
    pub open_time: Duration,
    /// What that time grows to when probes fail.
    pub max_open_time: Duration,
    /// Requests that may be on their way while it is half open.
    pub probes: u32,
    /// A request that was given less time than this proves nothing by timing out.
    pub min_timeout: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            failures_percent: 50,
            min_failures: 50,
            window: Duration::from_secs(10),
            open_time: Duration::from_secs(1),
            max_open_time: Duration::from_secs(30),
            probes: 3,
            min_timeout: Duration::from_millis(200),
        }
    }
}

/// Whether a route may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It may.
    Live,
    /// It was taken out of the configuration while the gateway runs: what is on its way to it is
    /// completed, nothing more is accepted.
    Removed,
}

/// One route, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What clients call it.
    pub name: String,
    /// Where it is published to.
    pub subject: Subject,
    /// What completes a request.
    pub kind: RouteKind,
    /// Whose rules its replies follow.
    pub contract: ReplyContract,
    /// Time allowed when the client names none.
    pub timeout: Duration,
    /// Longest time that a client may ask for; longer ones are cut to it.
    pub max_timeout: Duration,
    /// Whether a request with an idempotency key may be sent again.
    pub idempotent: bool,
    /// Whether each request is answered once at most, whoever answers it: its reply subject is then
    /// used again (`nats::slots`).
    pub answers_once: bool,
    /// Largest reply, headers and payload, in bytes; the session's block is a limit too.
    pub max_reply: u32,
    /// Who may use it.
    pub access: Access,
    /// When requests to it are rejected because its upstream is unwell.
    pub breaker: BreakerPolicy,
    /// Whether it may be used.
    pub standing: Standing,
}

impl Route {
    /// The route that exists without configuration: `decide`.
    #[must_use]
    pub fn decide() -> Self {
        Self {
            name: "decide".to_owned(),
            subject: Subject("beamline.router.v1.decide".to_owned()),
            kind: RouteKind::Request,
            contract: ReplyContract::Router,
            timeout: Duration::from_secs(5),
            max_timeout: Duration::from_secs(300),
            idempotent: false,
            answers_once: false,
            max_reply: u32::MAX,
            access: Access::Everyone,
            breaker: BreakerPolicy::default(),
            standing: Standing::Live,
        }
    }

    /// Whether it may be used.
    #[inline]
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.standing, Standing::Live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Result<Subject, SubjectError> {
        Subject::try_from(text.to_owned())
    }

    #[test]
    fn subjects_that_would_hurt_are_refused() {
        assert_eq!(subject(""), Err(SubjectError::EmptyToken));
        assert_eq!(subject("a..b"), Err(SubjectError::EmptyToken));
        assert_eq!(subject("a.*"), Err(SubjectError::Character('*')));
        assert_eq!(subject("a.>"), Err(SubjectError::Character('>')));
        assert_eq!(subject("a b"), Err(SubjectError::Character(' ')));
        assert_eq!(subject("a\r\nPUB x 0"), Err(SubjectError::Character('\r')));
        assert_eq!(subject("ä"), Err(SubjectError::Character('ä')));
        assert_eq!(
            subject("$JS.API.STREAM.DELETE.x"),
            Err(SubjectError::Reserved)
        );
        assert_eq!(subject("_INBOX.x"), Err(SubjectError::Reserved));
        assert_eq!(subject(&"a".repeat(5000)), Err(SubjectError::TooLong));
    }

    #[test]
    fn the_built_in_route_has_a_valid_subject() {
        let decide = Route::decide();
        assert_eq!(subject(decide.subject.as_str()), Ok(decide.subject));
    }
}
