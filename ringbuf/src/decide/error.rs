//! Which rule of the contract a decide request breaks.

use core::fmt;

use super::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_PAYLOAD_BYTES, MIN_TASK_PAYLOAD_BYTES};
use crate::code::Code;
use crate::headers::HeaderError;

/// A field of a decide request.
///
/// [`DecideError`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `tenant_id`
    TenantId,
    /// `request_id`
    RequestId,
    /// `task.type`
    TaskType,
    /// `task.payload`
    TaskPayload,
    /// `run_id`
    RunId,
    /// `flow_id`
    FlowId,
    /// `step_id`
    StepId,
    /// `trace_id`
    TraceId,
    /// `traceparent`, a header
    Traceparent,
    /// `idempotency_key`
    IdempotencyKey,
    /// `constraints`
    Constraints,
    /// `metadata`
    Metadata,
}

impl Field {
    /// The name that the contract gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenantId => "tenant_id",
            Self::RequestId => "request_id",
            Self::TaskType => "task.type",
            Self::TaskPayload => "task.payload",
            Self::RunId => "run_id",
            Self::FlowId => "flow_id",
            Self::StepId => "step_id",
            Self::TraceId => "trace_id",
            Self::Traceparent => "traceparent",
            Self::IdempotencyKey => "idempotency_key",
            Self::Constraints => "constraints",
            Self::Metadata => "metadata",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a decide request is not sent: the Router would refuse it, or not answer at all.
///
/// ```
/// use ipc_ringbuf::Code;
/// use ipc_ringbuf::decide::{DecideError, DecideRequest, Field, Task};
///
/// let error = DecideRequest::new("", "req-1", Task::new("chat")).build().unwrap_err();
/// assert_eq!(error, DecideError::Empty(Field::TenantId));
/// assert_eq!(error.code(), Code::RouterInvalidRequest);
/// assert_eq!(Field::TenantId.name(), "tenant_id");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecideError {
    /// The field must not be empty.
    Empty(Field),
    /// The task has neither a payload nor a reference to one.
    NoTaskBody,
    /// The field must be a JSON object.
    NotAnObject(Field),
    /// `task.payload` is too small as JSON.
    TaskPayloadTooSmall {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The field must be a UUID of version 4 or a ULID.
    Id(Field),
    /// `trace_id` must be 32 hexadecimal digits or a UUID of version 4.
    TraceId,
    /// `traceparent` is not one of the W3C's format.
    Traceparent,
    /// `idempotency_key` is too long.
    IdempotencyKeyTooLong {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The field also travels as a header and cannot.
    Header(Field, HeaderError),
    /// The whole request is too large as JSON.
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
}

impl DecideError {
    /// The code that the request would have completed with, had it been sent: the gateway's for
    /// what does not fit, else the Router's.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Header(..) => Code::BadHeader,
            _ => Code::RouterInvalidRequest,
        }
    }
}

impl fmt::Display for DecideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(field) => write!(f, "{field} is empty: give it at least one character"),
            Self::NoTaskBody => {
                f.write_str("the task has no body: give it a payload or a payload_ref")
            }
            Self::NotAnObject(field) => write!(f, "{field} must be a JSON object"),
            Self::TaskPayloadTooSmall { bytes } => write!(
                f,
                "task.payload is {bytes} bytes of JSON, give it at least {MIN_TASK_PAYLOAD_BYTES}"
            ),
            Self::Id(field) => write!(
                f,
                "{field} must be a UUID of version 4 or a ULID in upper case"
            ),
            Self::TraceId => {
                f.write_str("trace_id must be 32 hexadecimal digits or a UUID of version 4")
            }
            Self::Traceparent => f.write_str(
                "traceparent must be as the W3C says: 00-<32 hex>-<16 hex>-<2 hex>, lower case",
            ),
            Self::IdempotencyKeyTooLong { bytes } => write!(
                f,
                "idempotency_key is {bytes} bytes, shorten it to {MAX_IDEMPOTENCY_KEY_BYTES}"
            ),
            Self::Header(field, error) => write!(f, "{field} cannot be sent as a header: {error}"),
            Self::TooLarge { bytes } => write!(
                f,
                "the request is {bytes} bytes of JSON, at most {MAX_PAYLOAD_BYTES} are allowed: \
                 use task.payload_ref for what is large"
            ),
        }
    }
}

impl core::error::Error for DecideError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Header(_, error) => Some(error),
            _ => None,
        }
    }
}
