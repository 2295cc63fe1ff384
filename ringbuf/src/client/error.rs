//! Why a request was not submitted. The request comes back where that is possible.

use core::fmt;

use super::completion::OwnedCompletion;
use super::request::Request;
use crate::code::Code;
use crate::headers::HeaderError;

/// Why a request was not submitted. The request comes back ([`into_request`](Self::into_request)).
///
/// It borrows what the request borrows. To pass it on with `?` make it a [`CallError`], which borrows nothing:
///
/// ```no_run
/// use ipc_ringbuf::{CallError, Client, Request, SubmitError, Ticket};
///
/// fn send(client: &mut Client, body: &str) -> Result<Ticket, Box<dyn std::error::Error>> {
///     let mut request = Request::to("decide").payload(body);
///     while let Err(error) = client.submit(request) {
///         if !matches!(error, SubmitError::Full(_)) {
///             return Err(CallError::from(error).into());
///         }
///         println!("{:?}", client.wait(std::time::Duration::from_secs(1)));
///         request = error.into_request();
///     }
///     Ok(client.submit(Request::to("audit").payload(body)).map_err(CallError::from)?)
/// }
///
/// // Or, where that is the error of the function:
/// fn pass_on(client: &mut Client, body: &str) -> Result<Ticket, CallError> {
///     Ok(client.submit(Request::to("decide").payload(body))?)
/// }
/// ```
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
    /// There is no session: the last has ended, and none has come after it. [`Client::end_reason`] and
    /// [`Client::last_attach_error`] say why.
    ///
    /// [`Client::end_reason`]: super::Client::end_reason
    /// [`Client::last_attach_error`]: super::Client::last_attach_error
    Detached(Request<'a>),
}

impl<'a> SubmitError<'a> {
    /// The request, to submit it again or elsewhere.
    pub fn into_request(self) -> Request<'a> {
        match self {
            Self::Full(request)
            | Self::TooLarge { request, .. }
            | Self::UnknownRoute(request)
            | Self::BadHeader(_, request)
            | Self::Detached(request) => request,
        }
    }
}

impl fmt::Display for SubmitError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str(FULL),
            Self::TooLarge { limit, .. } => too_large(*limit, f),
            Self::UnknownRoute(request) => write!(f, "the gateway has no route {}", request.route),
            Self::BadHeader(fault, _) => fault.fmt(f),
            Self::Detached(_) => f.write_str(DETACHED),
        }
    }
}

impl core::error::Error for SubmitError<'_> {}

/// Why [`Client::call`](super::Client::call) did not send its request. Nothing was sent: it is safe to try again.
///
/// It borrows nothing, so that `?` passes it on, and so it does not have the request: who wants to try
/// again calls with a clone, which copies the headers and not the payload.
///
/// ```no_run
/// use ipc_ringbuf::{CallError, ClientBuilder, Request};
///
/// let mut client = ClientBuilder::new().connect()?;
/// let request = Request::to("decide").payload(&[0; 100_000]);
/// match client.call(request.clone()) {
///     Ok(completion) => println!("{}", completion.code()),
///     Err(CallError::TooLarge { limit }) => println!("a block holds {limit} bytes"),
///     Err(error) => println!("not sent: {error}: {request:?}"),
/// }
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Every block is on its way. Only a submission says so: a call waits for one.
    Full,
    /// Headers and payload are larger than a block, which holds this many bytes.
    TooLarge {
        /// Bytes that fit.
        limit: u32,
    },
    /// The gateway has no route of this name.
    UnknownRoute,
    /// A header is malformed.
    BadHeader(HeaderError),
    /// There is no session: the last has ended, and none has come after it. `end_reason` and
    /// `last_attach_error` of the handle say why.
    Detached,
}

impl From<SubmitError<'_>> for CallError {
    /// What is left without the request.
    fn from(error: SubmitError<'_>) -> Self {
        match error {
            SubmitError::Full(_) => Self::Full,
            SubmitError::TooLarge { limit, .. } => Self::TooLarge { limit },
            SubmitError::UnknownRoute(_) => Self::UnknownRoute,
            SubmitError::BadHeader(fault, _) => Self::BadHeader(fault),
            SubmitError::Detached(_) => Self::Detached,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str(FULL),
            Self::TooLarge { limit } => too_large(*limit, f),
            Self::UnknownRoute => f.write_str("the gateway has no such route"),
            Self::BadHeader(fault) => fault.fmt(f),
            Self::Detached => f.write_str(DETACHED),
        }
    }
}

impl core::error::Error for CallError {}

const FULL: &str = "every block is in flight: take completions first";
/// Of a handle that never attaches again too, and of one that was refused for good.
const DETACHED: &str = "the session with the gateway has ended, and there is no other";

fn too_large(limit: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "headers and payload are larger than the session's message size of {limit} bytes"
    )
}

/// Whether a failed submission may succeed once completions were taken.
pub(super) enum Refused<'a> {
    /// It may: the request comes back.
    Full(Request<'a>),
    /// It will not.
    Final(CallError),
}

impl<'a> From<SubmitError<'a>> for Refused<'a> {
    fn from(error: SubmitError<'a>) -> Self {
        match error {
            SubmitError::Full(request) => Self::Full(request),
            other => Self::Final(other.into()),
        }
    }
}

/// Whether a call ended without anything sent because its gateway is ending or has ended.
pub(super) fn is_unsent(result: &Result<OwnedCompletion, CallError>) -> bool {
    match result {
        Ok(completion) => completion.code() == Code::Draining,
        Err(error) => *error == CallError::Detached,
    }
}
