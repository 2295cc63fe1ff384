//! Which headers a request goes out with, and which a client may give.
//!
//! The worker checks a client's block once ([`check_client_headers`]); the NATS room walks it once
//! more to send it ([`outgoing_headers`]). Neither allocates. Some names belong to the gateway: what
//! a client says under them is refused or left out, in any spelling of upper and lower case, and
//! the gateway's own come last.

use core::fmt;

use ipc_ringbuf::decide::trace_id_of;
use ipc_ringbuf::headers::{self, HeaderError, Headers};

use crate::bridge::Code;
use crate::route::ReplyContract;

/// The trace that a request belongs to: 32 hexadecimal digits or a UUID.
pub const TRACE_ID: &str = "trace_id";
/// The tenant on whose behalf it is sent.
pub const TENANT_ID: &str = "tenant_id";
/// By what the receiver recognises a request that it is sent again.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";
/// Version of the Router's contract.
pub const VERSION: &str = "version";
/// The W3C trace context, handed on as the client gave it.
pub const TRACEPARENT: &str = "traceparent";
/// Milliseconds that were left of the deadline when the request was sent.
pub const DEADLINE: &str = "ipcgw-deadline-ms";

/// The version of the contract that requests follow.
const VERSION_VALUE: &str = "1";
/// Names that begin so are this gateway's.
const GATEWAY_PREFIX: &str = "ipcgw-";
/// Names that begin so steer the server.
const SERVER_PREFIX: &str = "nats-";
/// The one of them that is harmless: it makes a stream drop a message that it already has.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// Why a client's headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The block breaks the encoding.
    #[error("{0}")]
    Malformed(#[from] HeaderError),
    /// A name is the gateway's or the server's.
    #[error("header names that begin with ipcgw- or Nats- are reserved (Nats-Msg-Id is not)")]
    Reserved,
    /// The session is bound to a tenant and a header names another.
    #[error("the session is bound to another tenant than the tenant_id header names")]
    Tenant,
}

impl HeaderFault {
    /// The code that a request with this fault completes with.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed(_) | Self::Reserved => Code::BadHeader,
            Self::Tenant => Code::Forbidden,
        }
    }
}

/// Checks a client's header block in one pass: its encoding, its names, and that it claims no other
/// tenant than `bound`, the one that the session is bound to, if it is bound.
///
/// # Errors
/// [`HeaderFault`] says which rule the first bad header breaks.
///
/// ```
/// use ipc_gateway::router_contract::{HeaderFault, check_client_headers};
/// use ipc_ringbuf::headers::encode;
///
/// let mut block = Vec::new();
/// encode("tenant_id", "acme", &mut block)?;
/// assert_eq!(check_client_headers(&block, Some("acme")), Ok(()));
/// let fault = check_client_headers(&block, Some("another"));
/// assert_eq!(fault, Err(HeaderFault::Tenant));
/// # Ok::<(), ipc_ringbuf::headers::HeaderError>(())
/// ```
#[inline]
pub fn check_client_headers(block: &[u8], bound: Option<&str>) -> Result<(), HeaderFault> {
    for header in headers::decode(block) {
        let (name, value) = header?;
        if is_reserved(name) {
            return Err(HeaderFault::Reserved);
        }
        if name.eq_ignore_ascii_case(TENANT_ID) && bound.is_some_and(|bound| bound != value) {
            return Err(HeaderFault::Tenant);
        }
    }
    Ok(())
}

/// Whether a block that has been checked has a key by which the receiver recognises repetitions.
///
/// ```
/// use ipc_gateway::router_contract::has_idempotency_key;
/// use ipc_ringbuf::headers::encode;
///
/// let mut block = Vec::new();
/// encode("idempotency_key", "order-17", &mut block)?;
/// assert!(has_idempotency_key(&block) && !has_idempotency_key(&[]));
/// # Ok::<(), ipc_ringbuf::headers::HeaderError>(())
/// ```
#[must_use]
pub fn has_idempotency_key(block: &[u8]) -> bool {
    headers::decode(block)
        .map_while(Result::ok)
        .any(|(name, value)| name.eq_ignore_ascii_case(IDEMPOTENCY_KEY) && !value.is_empty())
}

fn is_reserved(name: &str) -> bool {
    starts_with(name, GATEWAY_PREFIX) || (starts_with(name, SERVER_PREFIX) && name != MESSAGE_ID)
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The headers to send with a request, in order.
///
/// First the client's, from a `block` that has been checked, without those that the gateway owns:
/// the deadline, `tenant_id` when the session is bound to a tenant, and `version` on a route with
/// the Router's contract. Then the gateway's: on such a route a `trace_id`, when the client gave a
/// valid `traceparent` only, and `version`; the `bound` tenant; on such a route the milliseconds
/// that `remain`. So a request without headers to an opaque route goes out without any, and its
/// payload may be as large as the server allows.
///
/// ```
/// use ipc_gateway::route::ReplyContract;
/// use ipc_gateway::router_contract::{Decimal, outgoing_headers};
///
/// let remain = Decimal::new(250);
/// let router = outgoing_headers(&[], Some("acme"), ReplyContract::Router, &remain);
/// let names: Vec<&str> = router.map(|(name, _)| name).collect();
/// assert_eq!(names, ["version", "tenant_id", "ipcgw-deadline-ms"]);
/// let opaque = outgoing_headers(&[], None, ReplyContract::Opaque, &remain);
/// assert_eq!(opaque.count(), 0);
/// ```
#[must_use]
pub const fn outgoing_headers<'a>(
    block: &'a [u8],
    bound: Option<&'a str>,
    contract: ReplyContract,
    remain: &'a Decimal,
) -> Outgoing<'a> {
    Outgoing {
        client: headers::decode(block),
        contract,
        bound,
        remain,
        trace: Trace::None,
        next: Stage::Client,
    }
}

/// Iterator over the headers to send; made by [`outgoing_headers`].
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    client: Headers<'a>,
    contract: ReplyContract,
    bound: Option<&'a str>,
    remain: &'a Decimal,
    trace: Trace<'a>,
    next: Stage,
}

/// What the client's headers have said about the trace so far.
#[derive(Clone, Copy, Debug)]
enum Trace<'a> {
    None,
    /// A valid `traceparent`, with this trace id, and no `trace_id`.
    Parent(&'a str),
    /// A `trace_id`.
    Given,
}

/// Where the next header comes from.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Client,
    Trace,
    Version,
    Tenant,
    Deadline,
    Done,
}

impl<'a> Outgoing<'a> {
    fn client_header(&mut self) -> Option<(&'a str, &'a str)> {
        loop {
            let (name, value) = self.client.next()?.ok()?;
            if self.is_owned(name) {
                continue;
            }
            match (self.trace, name) {
                (_, TRACE_ID) => self.trace = Trace::Given,
                (Trace::None, TRACEPARENT) => {
                    self.trace = trace_id_of(value).map_or(Trace::None, Trace::Parent);
                }
                _ => {}
            }
            return Some((name, value));
        }
    }

    fn is_owned(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(DEADLINE)
            || (self.bound.is_some() && name.eq_ignore_ascii_case(TENANT_ID))
            || (self.is_router() && name.eq_ignore_ascii_case(VERSION))
    }

    fn is_router(&self) -> bool {
        self.contract == ReplyContract::Router
    }
}

impl<'a> Iterator for Outgoing<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (header, next) = match self.next {
                Stage::Client => match self.client_header() {
                    Some(header) => (Some(header), Stage::Client),
                    None => (None, Stage::Trace),
                },
                Stage::Trace => match self.trace {
                    Trace::Parent(id) if self.is_router() => (Some((TRACE_ID, id)), Stage::Version),
                    _ => (None, Stage::Version),
                },
                Stage::Version if self.is_router() => {
                    (Some((VERSION, VERSION_VALUE)), Stage::Tenant)
                }
                Stage::Version => (None, Stage::Tenant),
                Stage::Tenant => (self.bound.map(|id| (TENANT_ID, id)), Stage::Deadline),
                Stage::Deadline if self.is_router() => {
                    (Some((DEADLINE, self.remain.as_str())), Stage::Done)
                }
                Stage::Deadline => (None, Stage::Done),
                Stage::Done => return None,
            };
            self.next = next;
            if header.is_some() {
                return header;
            }
        }
    }
}

/// A number as decimal text, on the stack.
#[derive(Clone)]
pub struct Decimal {
    /// Digits at `start..`; `start` is below the length.
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The text of a number.
    #[must_use]
    pub fn new(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            *digit += u8::try_from(number % 10).unwrap_or(0);
            start = place;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(self.start..).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or_default()
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn block(list: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in list {
            headers::encode(name, value, &mut block).unwrap();
        }
        block
    }

    fn sent(
        list: &[(&str, &str)],
        bound: Option<&str>,
        contract: ReplyContract,
    ) -> Vec<(String, String)> {
        outgoing_headers(&block(list), bound, contract, &Decimal::new(250))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn owned(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_gateways_headers_come_last_and_replace_the_clients() {
        let given = [
            ("x", "1"),
            ("Version", "9"),
            ("tenant_id", "evil"),
            ("Tenant_Id", "evil"),
            ("IPCGW-Deadline-Ms", "1"),
            ("x", "2"),
        ];
        assert_eq!(
            sent(&given, Some("acme"), ReplyContract::Router),
            owned(&[
                ("x", "1"),
                ("x", "2"),
                ("version", "1"),
                ("tenant_id", "acme"),
                ("ipcgw-deadline-ms", "250"),
            ])
        );
    }

    #[test]
    fn an_opaque_route_keeps_the_clients_version_and_an_unbound_session_its_tenant() {
        let given = [
            ("version", "9"),
            ("tenant_id", "t"),
            ("traceparent", PARENT),
        ];
        assert_eq!(sent(&given, None, ReplyContract::Opaque), owned(&given));
    }

    #[test]
    fn the_trace_id_comes_from_traceparent_when_the_client_gives_none() {
        let trace_id = |list: &[(&str, &str)]| -> Vec<String> {
            sent(list, None, ReplyContract::Router)
                .into_iter()
                .filter(|(name, _)| name == TRACE_ID)
                .map(|(_, value)| value)
                .collect()
        };
        let derived = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&[(TRACEPARENT, PARENT)]), [derived]);
        assert_eq!(
            trace_id(&[(TRACEPARENT, PARENT), (TRACE_ID, "own")]),
            ["own"]
        );
        assert_eq!(
            trace_id(&[(TRACE_ID, "own"), (TRACEPARENT, PARENT)]),
            ["own"]
        );
        assert!(trace_id(&[(TRACEPARENT, "00-nonsense")]).is_empty());
        assert!(trace_id(&[]).is_empty());
    }

    #[test]
    fn reserved_names_are_refused() {
        let check = |name| check_client_headers(&block(&[("x", "1"), (name, "v")]), None);
        for name in [
            "Nats-Expected-Stream",
            "NATS-TTL",
            "nats-msg-id",
            "Nats-",
            "Ipcgw-Deadline-Ms",
            "ipcgw-x",
        ] {
            assert_eq!(check(name), Err(HeaderFault::Reserved), "{name}");
        }
        for name in ["Nats-Msg-Id", "Natsx", "nats", "version", "trace_id"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!(HeaderFault::Reserved.code(), Code::BadHeader);
    }

    #[test]
    fn a_bound_session_may_claim_its_own_tenant_only() {
        let claims = |list: &[(&str, &str)], bound| check_client_headers(&block(list), bound);
        let other = [("tenant_id", "acme"), ("TENANT_ID", "evil")];
        assert_eq!(claims(&other, Some("acme")), Err(HeaderFault::Tenant));
        assert_eq!(claims(&other[..1], Some("acme")), Ok(()));
        assert_eq!(claims(&other, None), Ok(()));
        assert_eq!(claims(&[], Some("acme")), Ok(()));
        assert_eq!(HeaderFault::Tenant.code(), Code::Forbidden);
    }

    #[test]
    fn a_key_that_says_nothing_is_none() {
        let has_key = |list: &[(&str, &str)]| has_idempotency_key(&block(list));
        assert!(has_key(&[("x", "1"), ("Idempotency_Key", "k")]));
        assert!(!has_key(&[("idempotency_key", "")]));
        assert!(!has_key(&[("idempotency", "k"), ("x", "idempotency_key")]));
        assert!(!has_idempotency_key(&[1]));
    }

    #[test]
    fn a_malformed_block_is_refused() {
        assert_eq!(
            check_client_headers(&[1], None),
            Err(HeaderFault::Malformed(HeaderError::Truncated))
        );
    }

    #[test]
    fn decimal_is_the_number() {
        for number in [0, 9, 10, 250, 1_000_000, u64::MAX] {
            assert_eq!(Decimal::new(number).as_str(), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_client_headers(&bytes, Some("t"));
            let _ = outgoing_headers(&bytes, Some("t"), ReplyContract::Router, &Decimal::new(1)).count();
        }

        #[test]
        fn a_bound_tenant_is_the_only_one_sent(
            list in prop::collection::vec(("([tT]enant_[iI]d|TENANT_ID|[vV]ersion|x|ipcgw-deadline-ms)", "[a-z]{0,4}"), 0..8),
        ) {
            let list: Vec<_> = list.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let out = sent(&list, Some("acme"), ReplyContract::Router);
            let tenants: Vec<_> = out.iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(TENANT_ID)).collect();
            prop_assert_eq!(tenants, [&("tenant_id".to_owned(), "acme".to_owned())]);
        }
    }
}
