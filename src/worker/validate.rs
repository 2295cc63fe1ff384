//! Whether a parsed submission may go on: route, rights, size and headers, in that order.
//! What is copied is copied once: the headers that are checked here are those that are sent.

use std::time::Duration;

use ipc_ringbuf::code::Code;
use ipc_ringbuf::entry::Sqe;

use super::session::Session;
use crate::route::Route;
use crate::router_contract;

/// Shortest time that a request is given.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// Bytes that NATS adds to a header block, with the headers that the gateway adds itself. What it
/// adds to each header, 4 bytes, is what the encoding's lengths take.
const WIRE_BYTES: u32 = 256;

/// Why a submission is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The code to complete with.
    pub code: Code,
    /// Milliseconds after which to try again; 0 when nothing is known.
    pub retry_after_ms: u32,
}

impl Verdict {
    /// `OVERLOADED`: try again after so many milliseconds.
    #[must_use]
    pub const fn overloaded(retry_after_ms: u32) -> Self {
        Self {
            code: Code::Overloaded,
            retry_after_ms,
        }
    }
}

impl From<Code> for Verdict {
    fn from(code: Code) -> Self {
        Self {
            code,
            retry_after_ms: 0,
        }
    }
}

/// Checks a submission before its body is copied. Returns the time it is given. `max_payload` is the
/// broker's largest body.
///
/// # Errors
/// [`Verdict`] with the first rule that is broken.
#[inline]
pub fn validate(
    sqe: &Sqe,
    session: &Session,
    routes: &[Route],
    max_payload: u32,
) -> Result<Duration, Verdict> {
    let route = routes
        .get(usize::from(sqe.route))
        .filter(|route| route.is_live())
        .ok_or(Code::BadRoute)?;
    if !session
        .routes
        .get(usize::from(sqe.route))
        .copied()
        .unwrap_or(false)
    {
        return Err(Code::Forbidden.into());
    }
    // Every encoded header has 4 bytes of lengths, which stand for the 4 that NATS adds.
    let wire = u64::from(sqe.header_len) + u64::from(WIRE_BYTES) * u64::from(sqe.header_len != 0);
    if wire + u64::from(sqe.payload_len) > u64::from(max_payload) {
        return Err(Code::TooLarge.into());
    }
    Ok(allowed(sqe, route))
}

/// Checks the headers of a submission whose body (headers, then payload) is in `body`.
///
/// # Errors
/// [`Verdict`] with the first rule that is broken.
#[inline]
pub fn validate_headers(sqe: &Sqe, body: &[u8], session: &Session) -> Result<(), Verdict> {
    let headers = body.get(..sqe.header_len as usize).unwrap_or_default();
    if !headers.is_empty() {
        router_contract::check_client_headers(headers, session.tenant.as_deref())
            .map_err(|fault| fault.code())?;
    }
    Ok(())
}

/// The time that a request is given.
#[inline]
pub fn allowed(sqe: &Sqe, route: &Route) -> Duration {
    if sqe.timeout_ns == 0 {
        return route.timeout;
    }
    let asked = Duration::from_nanos(sqe.timeout_ns);
    asked.clamp(MIN_TIMEOUT, route.max_timeout.max(MIN_TIMEOUT))
}
