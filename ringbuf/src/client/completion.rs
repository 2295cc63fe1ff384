//! What comes back for a request.

use std::time::Duration;

use super::request::Ticket;
use crate::code::{Code, Outcome};
use crate::entry::Cqe;
use crate::headers::{self, Headers};

/// Where a request's time went.
///
/// ```
/// use std::time::Duration;
///
/// use ipc_ringbuf::Timing;
///
/// // What the gateway can tell; what is missing to the time seen here is the client's own.
/// let total = |timing: Timing| timing.ring_wait + timing.upstream;
/// assert_eq!(total(Timing::default()), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From submission until the gateway's worker took it.
    pub ring_wait: Duration,
    /// From there to the completion: NATS and the Router.
    pub upstream: Duration,
}

/// The completion of one request, in the client's private memory. Its block is free again.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Outcome, Request};
///
/// let mut client = ClientBuilder::new().connect()?;
/// let completion = client.call(Request::to("decide").payload(b"{}").user_data(17))?;
/// assert_eq!(completion.ticket().0, 17);
/// match completion.outcome() {
///     Outcome::Answered => println!("{} {:?}", completion.code(), completion.payload()),
///     Outcome::Rejected => println!("never sent; again in {:?}", completion.retry_after()),
///     _ => println!("status {}: it may have run", completion.status()),
/// }
/// for (name, value) in completion.headers() {
///     println!("{name}: {value}");
/// }
/// println!("{:?} in the ring", completion.timing().ring_wait);
/// // To keep it while the client goes on.
/// let kept = completion.to_owned();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    pub(crate) cqe: Cqe,
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Completion<'a> {
    /// The request that this completes.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        Ticket(self.cqe.user_data)
    }

    /// The class: whether the request may have run.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.cqe.code.outcome()
    }

    /// The reason.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.cqe.code
    }

    /// The HTTP-like status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.cqe.code.status()
    }

    /// The reply.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The reply's headers that are well-formed, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Headers::flatten(headers::decode(self.headers))
    }

    /// Where the time went.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        Timing {
            ring_wait: Duration::from_nanos(self.cqe.ring_wait_ns),
            upstream: Duration::from_nanos(self.cqe.upstream_ns),
        }
    }

    /// When to try again, if the gateway or the Router said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.cqe.retry_after_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms as u64)),
        }
    }

    /// A copy that does not borrow the client.
    #[must_use]
    pub fn to_owned(&self) -> OwnedCompletion {
        OwnedCompletion {
            cqe: self.cqe,
            headers: self.headers.into(),
            payload: self.payload.into(),
        }
    }
}

/// A [`Completion`] that does not borrow the client.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Request};
///
/// let client = ClientBuilder::new().connect_shared()?;
/// let completion = client.call(Request::to("decide").payload(b"{}"))?;
/// println!("{} {}: {:?}", completion.outcome(), completion.code(), completion.payload());
/// println!("request {}: {:?}", completion.ticket().0, completion.get().timing());
/// let reply: Box<[u8]> = completion.into_payload();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OwnedCompletion {
    cqe: Cqe,
    headers: Box<[u8]>,
    payload: Box<[u8]>,
}

impl OwnedCompletion {
    /// What the library says by itself, without headers and payload.
    #[cfg(feature = "tokio")]
    pub(super) fn bare(mark: u64, code: Code) -> Self {
        Self {
            cqe: Cqe::bare(mark, code),
            headers: Box::default(),
            payload: Box::default(),
        }
    }

    /// The completion, borrowed from `self`: all questions are asked there.
    #[must_use]
    pub const fn get(&self) -> Completion<'_> {
        Completion {
            cqe: self.cqe,
            headers: &self.headers,
            payload: &self.payload,
        }
    }

    /// The reason.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.cqe.code
    }

    /// The class: whether the request may have run.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.cqe.code.outcome()
    }

    /// The request that this completes.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        Ticket(self.cqe.user_data)
    }

    /// The reply.
    #[must_use]
    pub const fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The reply, without copying it again.
    #[must_use]
    pub fn into_payload(self) -> Box<[u8]> {
        self.payload
    }
}
