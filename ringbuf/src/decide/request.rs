//! The builder, from loose values to a checked [`Decide`].

use serde_json::{Map, Value};

use super::check;
use super::format::{is_trace_id, is_ulid, is_uuid_v4, new_trace_id, trace_id_of};
use super::{DecideError, Field, MAX_PAYLOAD_BYTES, Task};

/// The version of the contract that requests follow: text, because a number crashes the Router.
const VERSION: &str = "1";

/// A decide request in the making. Nothing is checked before [`build`](Self::build).
///
/// ```
/// use ipc_ringbuf::Request;
/// use ipc_ringbuf::decide::{DecideRequest, Task};
/// use serde_json::json;
///
/// let task = Task::new("chat").payload(json!({"text": "hello"}));
/// let decide = DecideRequest::new("acme", "req-1", task)
///     .run(
///         "01ARZ3NDEKTSV4RRFFQ69G5FAV",
///         "01ARZ3NDEKTSV4RRFFQ69G5FAW",
///         "01ARZ3NDEKTSV4RRFFQ69G5FAX",
///     )
///     .traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .trace_id("4bf92f3577b34da6a3ce929d0e0e4736")
///     .idempotency_key("order-17")
///     .policy_id("cheapest")
///     .constraints(json!({"max_cost": 0.01}))
///     .metadata(json!({"region": "eu"}))
///     .push_assignment()
///     .assignment_subject("assignments.acme")
///     .build()?;
/// let request = Request::decide(&decide);
/// # Ok::<(), ipc_ringbuf::decide::DecideError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct DecideRequest {
    tenant_id: String,
    task: Task,
    request_id: String,
    run: Option<[(Field, String); 3]>,
    trace_id: Option<String>,
    traceparent: Option<String>,
    idempotency_key: Option<String>,
    policy_id: Option<String>,
    constraints: Option<Value>,
    metadata: Option<Value>,
    push_assignment: PushAssignment,
    assignment_subject: Option<String>,
}

/// Whether the Router is asked to push the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PushAssignment {
    Unsaid,
    Asked,
}

impl DecideRequest {
    /// A request of this tenant about `task`. Neither identifier may be empty.
    pub fn new(tenant_id: impl Into<String>, request_id: impl Into<String>, task: Task) -> Self {
        Self {
            tenant_id: tenant_id.into(),
            task,
            request_id: request_id.into(),
            run: None,
            trace_id: None,
            traceparent: None,
            idempotency_key: None,
            policy_id: None,
            constraints: None,
            metadata: None,
            push_assignment: PushAssignment::Unsaid,
            assignment_subject: None,
        }
    }

    /// The step of a flow's run that this belongs to: `run_id`, `flow_id`, `step_id`, each a UUID of
    /// version 4 or a ULID. The Router takes all three or none.
    pub fn run(
        mut self,
        run_id: impl Into<String>,
        flow_id: impl Into<String>,
        step_id: impl Into<String>,
    ) -> Self {
        self.run = Some([
            (Field::RunId, run_id.into()),
            (Field::FlowId, flow_id.into()),
            (Field::StepId, step_id.into()),
        ]);
        self
    }

    /// The trace: 32 hexadecimal digits or a UUID of version 4. When it is not given it is taken
    /// from [`traceparent`](Self::traceparent), else made: unique, not secret.
    pub fn trace_id(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }

    /// The W3C trace context, sent as a header.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// 1 to [`MAX_IDEMPOTENCY_KEY_BYTES`](super::MAX_IDEMPOTENCY_KEY_BYTES) bytes. The Router gives a second request with the same
    /// key within an hour no answer.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The policy to decide by.
    pub fn policy_id(mut self, policy_id: impl Into<String>) -> Self {
        self.policy_id = Some(policy_id.into());
        self
    }

    /// A JSON object for the routing context.
    pub fn constraints(mut self, constraints: impl Into<Value>) -> Self {
        self.constraints = Some(constraints.into());
        self
    }

    /// A JSON object for the routing context; it wins over the constraints.
    pub fn metadata(mut self, metadata: impl Into<Value>) -> Self {
        self.metadata = Some(metadata.into());
        self
    }

    /// Asks the Router to push the assignment to the chosen provider.
    pub const fn push_assignment(mut self) -> Self {
        self.push_assignment = PushAssignment::Asked;
        self
    }

    /// The subject to push the assignment to.
    pub fn assignment_subject(mut self, subject: impl Into<String>) -> Self {
        self.assignment_subject = Some(subject.into());
        self
    }

    /// Checks every rule of the contract and encodes the request.
    ///
    /// # Errors
    /// [`DecideError`] names the field and the first rule that it breaks.
    pub fn build(self) -> Result<Decide, DecideError> {
        check::not_empty(Field::TenantId, &self.tenant_id)?;
        check::header(Field::TenantId, &self.tenant_id)?;
        check::not_empty(Field::RequestId, &self.request_id)?;
        let trace_id = trace(self.trace_id, self.traceparent.as_deref())?;
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("version", VERSION.into());
        put("tenant_id", self.tenant_id.as_str().into());
        put("request_id", self.request_id.into());
        put("trace_id", trace_id.as_str().into());
        put("task", self.task.into_json()?);
        for (field, id) in self.run.into_iter().flatten() {
            if !is_uuid_v4(&id) && !is_ulid(&id) {
                return Err(DecideError::Id(field));
            }
            put(field.name(), id.into());
        }
        if let Some(key) = &self.idempotency_key {
            check::idempotency_key(key)?;
            put(Field::IdempotencyKey.name(), key.as_str().into());
        }
        let contexts = [
            (Field::Constraints, self.constraints),
            (Field::Metadata, self.metadata),
        ];
        for (field, value) in contexts {
            if let Some(value) = value {
                check::object(field, &value)?;
                put(field.name(), value);
            }
        }
        if let Some(policy_id) = self.policy_id {
            put("policy_id", policy_id.into());
        }
        if self.push_assignment == PushAssignment::Asked {
            put("push_assignment", true.into());
        }
        if let Some(subject) = self.assignment_subject {
            put("assignment_subject", subject.into());
        }
        Ok(Decide {
            payload: encode(object)?,
            trace_id,
            tenant_id: self.tenant_id,
            traceparent: self.traceparent,
            idempotency_key: self.idempotency_key,
        })
    }
}

/// A decide request that keeps every rule of the contract.
///
/// ```
/// use ipc_ringbuf::decide::{DecideRequest, Task};
///
/// let task = Task::new("chat").payload_ref("s3://bucket/prompt");
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let decide = DecideRequest::new("acme", "req-1", task).traceparent(parent).build()?;
/// assert!(decide.payload().starts_with(b"{"));
/// assert_eq!(decide.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(decide.idempotency_key(), None);
/// assert!(decide.headers().any(|header| header == ("traceparent", parent)));
/// # Ok::<(), ipc_ringbuf::decide::DecideError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    /// JSON, at most [`MAX_PAYLOAD_BYTES`].
    payload: Vec<u8>,
    trace_id: String,
    tenant_id: String,
    traceparent: Option<String>,
    idempotency_key: Option<String>,
}

impl Decide {
    /// The JSON body.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The headers to send with it.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let always = [
            ("trace_id", self.trace_id.as_str()),
            ("tenant_id", self.tenant_id.as_str()),
        ];
        let parent = self.traceparent.as_deref();
        always
            .into_iter()
            .chain(parent.map(|value| ("traceparent", value)))
    }

    /// The trace id, given or made.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The idempotency key, when there is one.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

/// The trace id: the one given, else that of `traceparent`, else a new one.
fn trace(given: Option<String>, traceparent: Option<&str>) -> Result<String, DecideError> {
    let parent = match traceparent {
        Some(value) => {
            check::header(Field::Traceparent, value)?;
            Some(trace_id_of(value).ok_or(DecideError::Traceparent)?)
        }
        None => None,
    };
    match (given, parent) {
        (Some(given), _) if is_trace_id(&given) => Ok(given),
        (Some(_), _) => Err(DecideError::TraceId),
        (None, Some(parent)) => Ok(parent.to_owned()),
        (None, None) => Ok(new_trace_id()),
    }
}

fn encode(object: Map<String, Value>) -> Result<Vec<u8>, DecideError> {
    let payload = Value::Object(object).to_string().into_bytes();
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(DecideError::TooLarge {
            bytes: payload.len(),
        });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::headers::HeaderError;

    const UUID: &str = "9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5f";
    const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn task() -> Task {
        Task::new("chat").payload(json!({"text": "hello"}))
    }

    fn request() -> DecideRequest {
        DecideRequest::new("acme", "r-1", task())
    }

    fn json_of(decide: &Decide) -> Value {
        serde_json::from_slice(decide.payload()).unwrap()
    }

    #[test]
    fn a_full_request_has_every_field_of_the_contract() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let decide = DecideRequest::new("acme", "r-1", task().payload_ref("s3://b/k"))
            .run(UUID, ULID, UUID.to_uppercase())
            .traceparent(parent.as_str())
            .idempotency_key("key")
            .policy_id("p")
            .constraints(json!({"a": 1}))
            .metadata(Map::new())
            .push_assignment()
            .assignment_subject("caf.exec")
            .build()
            .unwrap();
        assert_eq!(
            json_of(&decide),
            json!({
                "version": "1", "tenant_id": "acme", "request_id": "r-1", "trace_id": TRACE,
                "task": {"type": "chat", "payload": {"text": "hello"}, "payload_ref": "s3://b/k"},
                "run_id": UUID, "flow_id": ULID, "step_id": UUID.to_uppercase(),
                "idempotency_key": "key", "policy_id": "p", "constraints": {"a": 1},
                "metadata": {}, "push_assignment": true, "assignment_subject": "caf.exec",
            })
        );
        let sent: Vec<_> = decide.headers().collect();
        assert_eq!(
            sent,
            [
                ("trace_id", TRACE),
                ("tenant_id", "acme"),
                ("traceparent", parent.as_str())
            ]
        );
        assert_eq!(decide.idempotency_key(), Some("key"));
    }

    #[test]
    fn a_minimal_request_has_nothing_else() {
        let decide = request().build().unwrap();
        let mut object = json_of(&decide);
        let trace_id = object
            .as_object_mut()
            .and_then(|fields| fields.remove("trace_id"));
        assert_eq!(trace_id, Some(decide.trace_id().into()));
        assert_eq!(
            object,
            json!({"version": "1", "tenant_id": "acme", "request_id": "r-1",
                "task": {"type": "chat", "payload": {"text": "hello"}}})
        );
        assert_eq!(decide.headers().count(), 2);
        assert_eq!(decide.idempotency_key(), None);
    }

    #[test]
    fn identifiers_and_task_type_must_not_be_empty() {
        let empty = |field| Err(DecideError::Empty(field));
        let build = |tenant, id, kind| {
            DecideRequest::new(tenant, id, Task::new(kind).payload_ref("x")).build()
        };
        assert_eq!(build("", "r", "chat"), empty(Field::TenantId));
        assert_eq!(build("t", "", "chat"), empty(Field::RequestId));
        assert_eq!(build("t", "r", ""), empty(Field::TaskType));
    }

    #[test]
    fn a_tenant_must_fit_a_header() {
        assert_eq!(
            DecideRequest::new("a\r\nversion: 2", "r", task()).build(),
            Err(DecideError::Header(Field::TenantId, HeaderError::Value))
        );
    }

    #[test]
    fn run_flow_and_step_must_be_uuids_or_ulids() {
        let build = |run, flow, step| request().run(run, flow, step).build().map(drop);
        assert_eq!(build("1", UUID, UUID), Err(DecideError::Id(Field::RunId)));
        assert_eq!(build(UUID, "", UUID), Err(DecideError::Id(Field::FlowId)));
        assert_eq!(build(UUID, ULID, "x"), Err(DecideError::Id(Field::StepId)));
        assert_eq!(build(UUID, ULID, ULID), Ok(()));
    }

    #[test]
    fn a_trace_id_must_be_hexadecimal_or_a_uuid() {
        let build = |id: &str| request().trace_id(id).build().map(drop);
        assert_eq!(build("tr-123"), Err(DecideError::TraceId));
        assert_eq!(build(""), Err(DecideError::TraceId));
        assert_eq!(build(ULID), Err(DecideError::TraceId));
        assert_eq!(build(TRACE), Ok(()));
        assert_eq!(build(UUID), Ok(()));
    }

    #[test]
    fn a_trace_id_that_is_given_wins_over_traceparent() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let decide = request().traceparent(parent).trace_id(UUID).build();
        assert_eq!(decide.unwrap().trace_id(), UUID);
        let bad = request().traceparent("00-x").trace_id(UUID).build();
        assert_eq!(bad, Err(DecideError::Traceparent));
    }

    #[test]
    fn an_idempotency_key_has_1_to_256_bytes() {
        let build = |key: String| request().idempotency_key(key).build().map(drop);
        assert_eq!(
            build(String::new()),
            Err(DecideError::Empty(Field::IdempotencyKey))
        );
        assert_eq!(
            build("ä".repeat(129)),
            Err(DecideError::IdempotencyKeyTooLong { bytes: 258 })
        );
        assert_eq!(build("k".repeat(256)), Ok(()));
    }

    #[test]
    fn constraints_and_metadata_must_be_objects() {
        assert_eq!(
            request().constraints(json!([])).build(),
            Err(DecideError::NotAnObject(Field::Constraints))
        );
        assert_eq!(
            request().metadata("m").build(),
            Err(DecideError::NotAnObject(Field::Metadata))
        );
    }

    #[test]
    fn a_request_may_be_as_large_as_the_router_takes() {
        let sized = |text: usize| request().policy_id("x".repeat(text)).build();
        let rest = sized(0).unwrap().payload().len();
        let largest = sized(MAX_PAYLOAD_BYTES - rest).unwrap();
        assert_eq!(largest.payload().len(), MAX_PAYLOAD_BYTES);
        assert_eq!(
            sized(MAX_PAYLOAD_BYTES - rest + 1),
            Err(DecideError::TooLarge {
                bytes: MAX_PAYLOAD_BYTES + 1
            })
        );
    }

    #[test]
    fn text_never_becomes_structure() {
        let evil = r#"a","tenant_id":"evil","x":""#;
        let decide = DecideRequest::new(evil, evil, task().payload_ref(evil))
            .policy_id(evil)
            .idempotency_key("a\0b\n")
            .build()
            .unwrap();
        let object = json_of(&decide);
        for field in ["tenant_id", "request_id", "policy_id"] {
            assert_eq!(object[field], evil);
        }
        assert_eq!(object["task"]["payload_ref"], evil);
        assert_eq!(object["idempotency_key"], "a\0b\n");
        let text = core::str::from_utf8(decide.payload()).unwrap();
        assert_eq!(text.matches(r#""tenant_id":"#).count(), 1);
    }

    #[test]
    fn every_error_says_which_field() {
        for (error, words) in [
            (DecideError::Empty(Field::TaskType), "task.type"),
            (DecideError::Id(Field::FlowId), "flow_id"),
            (DecideError::NoTaskBody, "payload_ref"),
            (DecideError::TooLarge { bytes: 2_000_000 }, "1048576"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
