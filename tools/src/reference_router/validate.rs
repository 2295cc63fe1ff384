//! The Router's rules for a decide request, in the Router's order: size, schema, version,
//! correlation, decide fields, tenant.
//!
//! The reasons `tenant_missing` and `tenant_empty` of its tenant stage cannot occur: the correlation
//! stage refuses such requests first. Idempotency is a stage without an error: see `idempotency`.

use std::collections::HashSet;

use crate::refusal::{Reason, Refusal};
use crate::request::{Headers, Member, Request, Task, Value, is_object};

/// Largest payload that the Router reads, in bytes: its `nats_max_payload_size`.
const MAX_PAYLOAD_BYTES: usize = 1_048_576;
/// Smallest `task.payload` as JSON without white space, in bytes: its `min_payload_size`.
const MIN_TASK_PAYLOAD_BYTES: usize = 10;
/// Longest idempotency key, in bytes.
const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;

/// The rules, with the tenants that may ask; no tenant named means all may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    tenants: HashSet<String>,
}

impl Rules {
    /// Rules that allow these tenants, or all if there is none.
    pub(crate) fn new(tenants: impl IntoIterator<Item = String>) -> Self {
        Self {
            tenants: tenants.into_iter().collect(),
        }
    }

    /// The first rule that a request breaks. `request` is its payload, if that is an object.
    pub(crate) fn check(
        &self,
        subject: &str,
        headers: Headers<'_>,
        payload: &[u8],
        request: Option<&Request<'_>>,
    ) -> Result<(), Refusal> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Refusal::TooLarge);
        }
        let request = request.ok_or(Refusal::InvalidFormat)?;
        check_version(subject, headers, request)?;
        let tenant = header_or(headers.tenant_id, request.tenant_id);
        check_correlation(&tenant, headers, request).map_err(Refusal::Fields)?;
        check_decide_fields(request).map_err(Refusal::Fields)?;
        self.check_tenant(&tenant).map_err(Refusal::Tenant)
    }

    fn check_tenant(&self, tenant: &Value<'_>) -> Result<(), Reason> {
        let Value::Text(tenant) = tenant else {
            return Err(Reason::TenantInvalid);
        };
        if self.tenants.is_empty() || self.tenants.contains(tenant.as_ref()) {
            Ok(())
        } else {
            Err(Reason::TenantNotAllowed)
        }
    }
}

/// Header before payload before subject; it must be the text "1".
fn check_version(
    subject: &str,
    headers: Headers<'_>,
    request: &Request<'_>,
) -> Result<(), Refusal> {
    let supported = match header_or(headers.version, request.version) {
        Value::Text(version) => version == "1",
        Value::Other => return Err(Refusal::VersionNotText),
        Value::Absent => subject.split('.').any(|token| token == "v1"),
    };
    if supported {
        Ok(())
    } else {
        Err(Refusal::UnsupportedVersion)
    }
}

fn check_correlation(
    tenant: &Value<'_>,
    headers: Headers<'_>,
    request: &Request<'_>,
) -> Result<(), Reason> {
    match tenant {
        Value::Absent => return Err(Reason::MissingTenantId),
        Value::Text(tenant) if tenant.is_empty() => return Err(Reason::EmptyTenantId),
        // A tenant that is not text is the tenant stage's business.
        Value::Text(_) | Value::Other => {}
    }
    check_run(request)?;
    let trace_id = header_or(headers.trace_id, request.trace_id);
    if !absent_or(&trace_id, |id| is_uuid_v4(id) || is_hex_32(id)) {
        return Err(Reason::InvalidTraceId);
    }
    match request.idempotency_key.value() {
        Value::Other => Err(Reason::InvalidIdempotencyKey),
        Value::Text(key) if key.is_empty() => Err(Reason::EmptyIdempotencyKey),
        Value::Text(key) if key.len() > MAX_IDEMPOTENCY_KEY_BYTES => {
            Err(Reason::IdempotencyKeyTooLong)
        }
        Value::Text(_) | Value::Absent => Ok(()),
    }
}

/// Run, flow and step: all three or none.
fn check_run(request: &Request<'_>) -> Result<(), Reason> {
    let (run, flow, step) = (
        request.run_id.value(),
        request.flow_id.value(),
        request.step_id.value(),
    );
    if run == Value::Absent {
        if flow != Value::Absent {
            return Err(Reason::RunIdRequiredByFlow);
        }
        if step != Value::Absent {
            return Err(Reason::RunIdRequiredByStep);
        }
    } else if flow == Value::Absent {
        return Err(Reason::FlowIdRequired);
    } else if step == Value::Absent {
        return Err(Reason::StepIdRequired);
    }
    for (id, reason) in [
        (run, Reason::InvalidRunId),
        (flow, Reason::InvalidFlowId),
        (step, Reason::InvalidStepId),
    ] {
        if !absent_or(&id, |id| is_uuid_v4(id) || is_ulid(id)) {
            return Err(reason);
        }
    }
    Ok(())
}

fn check_decide_fields(request: &Request<'_>) -> Result<(), Reason> {
    match request.request_id.value() {
        Value::Absent => return Err(Reason::MissingRequestId),
        Value::Other => return Err(Reason::InvalidRequestId),
        Value::Text(id) if id.is_empty() => return Err(Reason::EmptyRequestId),
        Value::Text(_) => {}
    }
    let json = request.task.json().ok_or(Reason::MissingTask)?;
    let task = Task::parse(json).ok_or(Reason::InvalidTask)?;
    match task.kind.value() {
        Value::Absent => return Err(Reason::MissingTaskType),
        Value::Other => return Err(Reason::InvalidTaskType),
        Value::Text(kind) if kind.is_empty() => return Err(Reason::EmptyTaskType),
        Value::Text(_) => {}
    }
    check_task_payload(&task)
}

/// The payload is checked whenever it is there; without it a reference must be.
fn check_task_payload(task: &Task<'_>) -> Result<(), Reason> {
    let Some(json) = task.payload.json() else {
        return match task.payload_ref.value() {
            Value::Text(_) => Ok(()),
            Value::Absent | Value::Other => Err(Reason::MissingTaskPayload),
        };
    };
    if !is_object(json.as_bytes()) {
        return Err(Reason::InvalidPayload);
    }
    if compact_length_reaches(json, MIN_TASK_PAYLOAD_BYTES) {
        Ok(())
    } else {
        Err(Reason::PayloadTooSmall)
    }
}

/// Whether JSON has at least `least` bytes besides white space between its tokens. Escapes count
/// as written, which differs from encoding anew only for text that needed none.
fn compact_length_reaches(json: &str, least: usize) -> bool {
    let mut in_text = false;
    let mut escaped = false;
    let counts = |byte: &u8| {
        let counted = in_text || !byte.is_ascii_whitespace();
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            _ => {}
        }
        counted
    };
    json.as_bytes()
        .iter()
        .copied()
        .filter(counts)
        .take(least)
        .count()
        == least
}

fn header_or<'a>(header: Option<&'a str>, member: Member<'a>) -> Value<'a> {
    header.map_or_else(|| member.value(), |text| Value::Text(text.into()))
}

fn absent_or(value: &Value<'_>, valid: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Absent => true,
        Value::Text(text) => valid(text),
        Value::Other => false,
    }
}

fn is_hex_32(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_uuid_v4(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// 26 characters of Crockford's base 32, upper case.
fn is_ulid(id: &str) -> bool {
    let crockford = |byte: u8| {
        byte.is_ascii_digit()
            || (byte.is_ascii_uppercase() && !matches!(byte, b'I' | b'L' | b'O' | b'U'))
    };
    id.len() == 26 && id.bytes().all(crockford)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDE: &str = "beamline.router.v1.decide";
    const UUID: &str = "123e4567-e89b-42d3-a456-426614174000";
    const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    /// A valid request with the named members replaced, added or (by "") left out.
    fn request(changes: &[(&str, &str)]) -> String {
        let mut members = vec![
            ("tenant_id", "\"t\""),
            ("request_id", "\"r\""),
            ("task", r#"{"type":"chat","payload":{"text":"hello"}}"#),
        ];
        members.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        members.extend(changes.iter().filter(|(_, json)| !json.is_empty()));
        let members: Vec<_> = members
            .iter()
            .map(|(n, v)| format!("\"{n}\":{v}"))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    fn check_on(subject: &str, headers: Headers<'_>, payload: &[u8]) -> Result<(), Refusal> {
        let request = Request::parse(payload);
        Rules::default().check(subject, headers, payload, request.as_ref())
    }

    fn check(changes: &[(&str, &str)]) -> Result<(), Refusal> {
        check_on(DECIDE, Headers::default(), request(changes).as_bytes())
    }

    #[test]
    fn every_broken_field_has_the_routers_reason() {
        let long_key = format!("\"{}\"", "k".repeat(257));
        let uuid = format!("\"{UUID}\"");
        let uuid = uuid.as_str();
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("tenant_id", "")], "missing_tenant_id"),
            (&[("tenant_id", "\"\"")], "empty_tenant_id"),
            (
                &[("run_id", uuid), ("step_id", uuid)],
                "flow_id_required_when_run_id_present",
            ),
            (
                &[("run_id", uuid), ("flow_id", uuid)],
                "step_id_required_when_run_id_present",
            ),
            (&[("flow_id", uuid)], "run_id_required_when_flow_id_present"),
            (&[("step_id", uuid)], "run_id_required_when_step_id_present"),
            (
                &[("run_id", "7"), ("flow_id", uuid), ("step_id", uuid)],
                "invalid_run_id_format",
            ),
            (
                &[("run_id", uuid), ("flow_id", "\"f\""), ("step_id", uuid)],
                "invalid_flow_id_format",
            ),
            (
                &[("run_id", uuid), ("flow_id", uuid), ("step_id", "\"\"")],
                "invalid_step_id_format",
            ),
            (&[("trace_id", "\"tr-123\"")], "invalid_trace_id_format"),
            (&[("idempotency_key", "\"\"")], "empty_idempotency_key"),
            (
                &[("idempotency_key", &long_key)],
                "idempotency_key_too_long",
            ),
            (
                &[("idempotency_key", "5")],
                "invalid_idempotency_key_format",
            ),
            (&[("request_id", "")], "missing_request_id"),
            (&[("request_id", "\"\"")], "empty_request_id"),
            (&[("request_id", "{}")], "invalid_request_id_format"),
            (&[("task", "")], "missing_task"),
            (&[("task", "[]")], "invalid_task_format"),
            (&[("task", r#"{"payload_ref":"x"}"#)], "missing_task_type"),
            (
                &[("task", r#"{"type":"","payload_ref":"x"}"#)],
                "empty_task_type",
            ),
            (
                &[("task", r#"{"type":1,"payload_ref":"x"}"#)],
                "invalid_task_type",
            ),
            (&[("task", r#"{"type":"t"}"#)], "missing_task_payload"),
            (
                &[("task", r#"{"type":"t","payload":{"a":1}}"#)],
                "payload_too_small",
            ),
            (
                &[("task", r#"{"type":"t","payload":"0123456789"}"#)],
                "invalid_payload_format",
            ),
        ];
        for (changes, reason) in table {
            let refusal = check(changes).unwrap_err();
            let message = format!("Correlation fields validation failed: {reason}");
            assert_eq!(refusal.to_string(), message);
            assert_eq!(refusal.code(), "invalid_request");
            assert_eq!(refusal.intake_error_code(), "CORRELATION_FIELDS_INVALID");
        }
    }

    #[test]
    fn what_is_not_an_object_or_too_large_fails_the_schema() {
        let check = |payload: &[u8]| check_on(DECIDE, Headers::default(), payload);
        assert_eq!(check(b"[1]"), Err(Refusal::InvalidFormat));
        assert_eq!(check(b"\xff"), Err(Refusal::InvalidFormat));
        assert_eq!(
            check(&vec![b' '; MAX_PAYLOAD_BYTES + 1]),
            Err(Refusal::TooLarge)
        );
        let codes = (
            Refusal::TooLarge.code(),
            Refusal::TooLarge.intake_error_code(),
        );
        assert_eq!(codes, ("invalid_request", "SCHEMA_VALIDATION_FAILED"));
    }

    #[test]
    fn version_is_looked_up_in_header_then_payload_then_subject() {
        let number = request(&[("version", "1")]);
        let with = |version| Headers {
            version: Some(version),
            ..Headers::default()
        };
        let none = Headers::default();
        assert_eq!(check(&[("version", "\"1\"")]), Ok(()));
        assert_eq!(
            check(&[("version", "\"1.0\"")]),
            Err(Refusal::UnsupportedVersion)
        );
        assert_eq!(check(&[("version", "1")]), Err(Refusal::VersionNotText));
        assert_eq!(check_on(DECIDE, with("1"), number.as_bytes()), Ok(()));
        let plain = request(&[]);
        assert_eq!(check_on("a.v1.b", none, plain.as_bytes()), Ok(()));
        for (subject, headers) in [("a.v2.b", none), ("a.b", none), (DECIDE, with("2"))] {
            let found = check_on(subject, headers, plain.as_bytes());
            assert_eq!(found, Err(Refusal::UnsupportedVersion), "{subject}");
        }
    }

    #[test]
    fn tenants_are_held_to_the_list() {
        let payload = request(&[]);
        let payload = payload.as_bytes();
        let parsed = Request::parse(payload);
        let rules = Rules::new(["other".to_owned()]);
        let refusal = rules.check(DECIDE, Headers::default(), payload, parsed.as_ref());
        assert_eq!(refusal, Err(Refusal::Tenant(Reason::TenantNotAllowed)));
        let other = Headers {
            tenant_id: Some("other"),
            ..Headers::default()
        };
        assert_eq!(rules.check(DECIDE, other, payload, parsed.as_ref()), Ok(()));
        let refusal = check(&[("tenant_id", "7")]).unwrap_err();
        assert_eq!(refusal, Refusal::Tenant(Reason::TenantInvalid));
        assert_eq!(refusal.code(), "unauthorized");
        assert_eq!(refusal.intake_error_code(), "TENANT_FORBIDDEN");
    }

    #[test]
    fn the_smallest_payload_is_measured_without_white_space() {
        let task = |payload: &str| format!(r#"{{"type":"t","payload":{payload}}}"#);
        assert_eq!(check(&[("task", &task(r#"{"a":"bcd"}"#))]), Ok(()));
        assert_eq!(check(&[("task", &task(r#"{"a":" \" "}"#))]), Ok(()));
        let small = Err(Refusal::Fields(Reason::PayloadTooSmall));
        assert_eq!(check(&[("task", &task("{ \"a\" :\n 1      }"))]), small);
    }

    #[test]
    fn identifiers_of_every_allowed_form_pass() {
        let upper = UUID.to_uppercase();
        for id in [UUID, &upper, ULID] {
            let id = format!("\"{id}\"");
            let run = [("run_id", &*id), ("flow_id", &*id), ("step_id", &*id)];
            assert_eq!(check(&run), Ok(()), "{id}");
        }
        let hex = "0123456789abcdefABCDEF0123456789";
        assert_eq!(check(&[("trace_id", &format!("\"{hex}\""))]), Ok(()));
        assert!(!is_uuid_v4(&UUID.replace("-42d3", "-12d3")));
        assert!(!is_ulid(&ULID.to_lowercase()));
    }
}
