//! Why the Router refuses a request, in the words that it answers with.

/// Why the Router refuses a request. `Display` is the message that it answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Payload size exceeds limit")]
    TooLarge,
    #[error("Schema validation failed: invalid_format")]
    InvalidFormat,
    #[error("Version validation failed: unsupported version")]
    UnsupportedVersion,
    #[error("Internal validation error")]
    VersionNotText,
    #[error("Correlation fields validation failed: {0}")]
    Fields(Reason),
    #[error("Tenant validation failed: {0}")]
    Tenant(Reason),
}

impl Refusal {
    /// The error code of the answer.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::VersionNotText => "internal",
            Self::Tenant(_) => "unauthorized",
            _ => "invalid_request",
        }
    }

    /// The `intake_error_code` of the answer.
    pub(crate) const fn intake_error_code(self) -> &'static str {
        match self {
            Self::TooLarge | Self::InvalidFormat => "SCHEMA_VALIDATION_FAILED",
            Self::UnsupportedVersion => "VERSION_UNSUPPORTED",
            Self::VersionNotText => "INTERNAL_VALIDATION_ERROR",
            Self::Fields(_) => "CORRELATION_FIELDS_INVALID",
            Self::Tenant(_) => "TENANT_FORBIDDEN",
        }
    }
}

/// The Router's name for what is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("missing_tenant_id")]
    MissingTenantId,
    #[error("empty_tenant_id")]
    EmptyTenantId,
    #[error("flow_id_required_when_run_id_present")]
    FlowIdRequired,
    #[error("step_id_required_when_run_id_present")]
    StepIdRequired,
    #[error("run_id_required_when_flow_id_present")]
    RunIdRequiredByFlow,
    #[error("run_id_required_when_step_id_present")]
    RunIdRequiredByStep,
    #[error("invalid_run_id_format")]
    InvalidRunId,
    #[error("invalid_flow_id_format")]
    InvalidFlowId,
    #[error("invalid_step_id_format")]
    InvalidStepId,
    #[error("invalid_trace_id_format")]
    InvalidTraceId,
    #[error("empty_idempotency_key")]
    EmptyIdempotencyKey,
    #[error("idempotency_key_too_long")]
    IdempotencyKeyTooLong,
    #[error("invalid_idempotency_key_format")]
    InvalidIdempotencyKey,
    #[error("missing_request_id")]
    MissingRequestId,
    #[error("empty_request_id")]
    EmptyRequestId,
    #[error("invalid_request_id_format")]
    InvalidRequestId,
    #[error("missing_task")]
    MissingTask,
    #[error("invalid_task_format")]
    InvalidTask,
    #[error("missing_task_type")]
    MissingTaskType,
    #[error("empty_task_type")]
    EmptyTaskType,
    #[error("invalid_task_type")]
    InvalidTaskType,
    #[error("missing_task_payload")]
    MissingTaskPayload,
    #[error("payload_too_small")]
    PayloadTooSmall,
    #[error("invalid_payload_format")]
    InvalidPayload,
    #[error("tenant_not_allowed")]
    TenantNotAllowed,
    #[error("tenant_invalid_format")]
    TenantInvalid,
}
