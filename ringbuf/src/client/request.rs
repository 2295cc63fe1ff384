//! What an application asks for.

use core::fmt;
use std::time::Duration;

use super::route::RouteId;
use crate::headers::{self, HeaderError};

/// Which route a request takes: by name, or as [`Client::route`] found it.
///
/// [`Client::route`]: super::Client::route
///
/// ```
/// use ipc_ringbuf::RouteRef;
///
/// assert_eq!(RouteRef::from("decide"), RouteRef::Name("decide"));
/// assert_eq!(RouteRef::from(2), RouteRef::Number(2));
/// assert_eq!(RouteRef::from("decide").to_string(), "\"decide\"");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteRef<'a> {
    /// A name of the gateway's configuration. Looked up at each submission.
    Name(&'a str),
    /// What was looked up once: the same route in every session.
    Id(RouteId),
    /// A bare number, which goes out as it is. In another session it can be another route's: after a
    /// restart with other routes, or with the same in another order, requests would go there without a
    /// word. For tests, and for who keeps numbers to one session; keep a [`RouteId`] instead.
    Number(u16),
}

impl fmt::Display for RouteRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Id(route) => write!(f, "{:?}", route.name()),
            Self::Number(number) => write!(f, "number {number}"),
        }
    }
}

impl<'a> From<&'a str> for RouteRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for RouteRef<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<RouteId> for RouteRef<'_> {
    fn from(route: RouteId) -> Self {
        Self::Id(route)
    }
}

impl From<u16> for RouteRef<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

/// The mark of a submitted request, which its completion carries.
///
/// [`Loan`](super::Loan) and [`Completion`](super::Completion) show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The name of the header that an idempotency key travels in.
pub(crate) const IDEMPOTENCY_HEADER: &str = "idempotency_key";

/// A request that has not been submitted. Borrows its payload: submitting copies it once, into
/// shared memory.
///
/// ```
/// use std::time::Duration;
/// use ipc_ringbuf::Request;
///
/// let request = Request::to("decide")
///     .header("trace_id", "0af7651916cd43dd8448eb211c80319c")
///     .payload(b"{}")
///     .timeout(Duration::from_millis(250))
///     .idempotency_key("order-17")
///     .user_data(17);
/// // The same to another route.
/// let other = request.clone().route("decide-slow");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is submitted"]
pub struct Request<'a> {
    pub(crate) route: RouteRef<'a>,
    pub(crate) payload: &'a [u8],
    /// The header block, or the first header's fault.
    pub(crate) headers: Result<Vec<u8>, HeaderError>,
    pub(crate) timeout_ns: u64,
    pub(crate) idempotent: bool,
    pub(crate) user_data: Option<u64>,
}

impl<'a> Request<'a> {
    /// An empty request to a route.
    pub fn to(route: impl Into<RouteRef<'a>>) -> Self {
        Self {
            route: route.into(),
            payload: &[],
            headers: Ok(Vec::new()),
            timeout_ns: 0,
            idempotent: false,
            user_data: None,
        }
    }

    /// A decide request that [`DecideRequest::build`](crate::decide::DecideRequest::build) has
    /// checked, with the headers that go with it, to the route `decide`. [`route`](Self::route) names another
    /// one of the same contract.
    ///
    /// [`DecideRequest`](crate::decide::DecideRequest) shows it.
    #[cfg(feature = "router")]
    pub fn decide(decide: &'a crate::decide::Decide) -> Self {
        let mut request = Self::to("decide").payload(decide.payload());
        for (name, value) in decide.headers() {
            request = request.header(name, value);
        }
        match decide.idempotency_key() {
            Some(key) => request.idempotency_key(key),
            None => request,
        }
    }

    /// Names the route, in place of the one that it has.
    pub fn route(mut self, route: impl Into<RouteRef<'a>>) -> Self {
        self.route = route.into();
        self
    }

    /// The body.
    pub fn payload(mut self, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.payload = payload.as_ref();
        self
    }

    /// Adds a header. A malformed one makes [`submit`](super::Client::submit) fail.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok(block) = &mut self.headers
            && let Err(fault) = headers::encode(name, value, block)
        {
            self.headers = Err(fault);
        }
        self
    }

    /// Time allowed, from submission. Without it the route's default holds; the
    /// gateway cuts it to the route's longest and never gives less than a millisecond.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // 0 on the wire means the default, so the shortest that can be asked is 1 ns.
        self.timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// Says that the receiver recognises repetitions by this key, so that the gateway may send the
    /// request again if the route is configured so. The key travels as header `idempotency_key`.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotent = true;
        self.header(IDEMPOTENCY_HEADER, key)
    }

    /// Chooses the mark that the completion carries; without it the client counts upwards.
    pub const fn user_data(mut self, mark: u64) -> Self {
        self.user_data = Some(mark);
        self
    }
}
