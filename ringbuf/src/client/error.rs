//! Why a request was not submitted. The request comes back where that is possible.

use core::fmt;

use super::completion::OwnedCompletion;
use super::request::Request;
use crate::code::Code;
use crate::headers::HeaderError;

/// Why a request was not submitted. The request comes back.
///
/// [`Client`](super::Client) shows what to do with one that has no block.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubmitError<'a> {
    /// Every block is on its way: take completions, then try again.
    Full(Request<'a>),
    /// Headers and payload are larger than a block.
    TooLarge {
        /// The request.
        request: Request<'a>,
        /// Bytes that fit. Ask for more with [`ClientBuilder::message_size`].
        ///
        /// [`ClientBuilder::message_size`]: super::ClientBuilder::message_size
        limit: u32,
    },
    /// The gateway has no route of this name.
    UnknownRoute(Request<'a>),
    /// A header is malformed.
    BadHeader(HeaderError, Request<'a>),
    /// The gateway is gone and has not come back yet.
    Detached(Request<'a>),
}

impl fmt::Display for SubmitError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("every block is in flight: take completions first"),
            Self::TooLarge { limit, .. } => write!(
                f,
                "headers and payload are larger than the session's message size of {limit} bytes"
            ),
            Self::UnknownRoute(request) => {
                write!(f, "the gateway has no route {:?}", request.route)
            }
            Self::BadHeader(fault, _) => fault.fmt(f),
            Self::Detached(_) => f.write_str("the gateway is gone; attaching again is being tried"),
        }
    }
}

impl core::error::Error for SubmitError<'_> {}

/// Why [`Client::call`](super::Client::call) did not send its request. Nothing was sent: it is safe to try again.
///
/// ```no_run
/// use ipc_ringbuf::{CallError, ClientBuilder, Request};
///
/// let mut client = ClientBuilder::new().connect()?;
/// match client.call(Request::to("decide").payload(&[0; 100_000])) {
///     Ok(completion) => println!("{}", completion.code()),
///     Err(CallError::TooLarge { limit }) => println!("a block holds {limit} bytes"),
///     Err(error) => println!("not sent: {error}"),
/// }
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Headers and payload are larger than a block, which holds this many bytes.
    TooLarge {
        /// Bytes that fit.
        limit: u32,
    },
    /// The gateway has no route of this name.
    UnknownRoute,
    /// A header is malformed.
    BadHeader(HeaderError),
    /// The gateway is gone and has not come back yet.
    Detached,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(
                f,
                "headers and payload are larger than the session's message size of {limit} bytes"
            ),
            Self::UnknownRoute => f.write_str("the gateway has no such route"),
            Self::BadHeader(fault) => fault.fmt(f),
            Self::Detached => f.write_str("the gateway is gone; attaching again is being tried"),
        }
    }
}

impl core::error::Error for CallError {}

/// Whether a failed submission may succeed once completions were taken.
pub(super) enum Refused<'a> {
    /// It may: the request comes back.
    Full(Request<'a>),
    /// It will not.
    Final(CallError),
}

impl<'a> From<SubmitError<'a>> for Refused<'a> {
    fn from(error: SubmitError<'a>) -> Self {
        Self::Final(match error {
            SubmitError::Full(request) => return Self::Full(request),
            SubmitError::TooLarge { limit, .. } => CallError::TooLarge { limit },
            SubmitError::UnknownRoute(_) => CallError::UnknownRoute,
            SubmitError::BadHeader(fault, _) => CallError::BadHeader(fault),
            SubmitError::Detached(_) => CallError::Detached,
        })
    }
}

/// Whether a call ended without anything sent because its gateway is ending or has ended.
pub(super) fn is_unsent(result: &Result<OwnedCompletion, CallError>) -> bool {
    match result {
        Ok(completion) => completion.code() == Code::Draining,
        Err(error) => *error == CallError::Detached,
    }
}
