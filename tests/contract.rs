//! The rules of a decide request: what the Router refuses, the typed builder refuses before it is
//! sent, and both say the same code. One table, one row for each rule.

use ipc_ringbuf::decide::{
    Decide, DecideError, DecideRequest, Field, MAX_PAYLOAD_BYTES, Task, trace_id_of,
};
use ipc_ringbuf::{ClientBuilder, Code, Request};
use serde_json::{Value, json};

use crate::support::gateway::{attach_with, connected};
use crate::support::router::Router;
use crate::support::server::Server;

const UUID: &str = "9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5f";
const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What the builder does with the same fault.
enum Local {
    /// It refuses it so.
    Refuses(fn() -> DecideRequest, DecideError),
    /// Its types leave no way to say it.
    CannotSayIt,
}

use Local::{CannotSayIt, Refuses};

/// A rule of the contract that a request breaks.
struct Case {
    /// The Router's reason.
    reason: &'static str,
    /// What is changed in a valid request: a JSON pointer and the new value, or none to remove it.
    changes: Vec<(&'static str, Option<Value>)>,
    local: Local,
}

fn case(reason: &'static str, pointer: &'static str, value: Value, local: Local) -> Case {
    Case {
        reason,
        changes: vec![(pointer, Some(value))],
        local,
    }
}

fn missing(reason: &'static str, pointer: &'static str, local: Local) -> Case {
    Case {
        reason,
        changes: vec![(pointer, None)],
        local,
    }
}

fn ids(reason: &'static str, [run, flow, step]: [Option<&str>; 3], local: Local) -> Case {
    let value = |id: Option<&str>| id.map(Value::from);
    Case {
        reason,
        changes: vec![
            ("/run_id", value(run)),
            ("/flow_id", value(flow)),
            ("/step_id", value(step)),
        ],
        local,
    }
}

fn task() -> Task {
    Task::new("chat").payload(json!({"text": "hello"}))
}

fn request() -> DecideRequest {
    DecideRequest::new("acme", "r-1", task())
}

fn with_task(task: Task) -> DecideRequest {
    DecideRequest::new("acme", "r-1", task)
}

fn identity() -> Vec<Case> {
    vec![
        missing("missing_tenant_id", "/tenant_id", CannotSayIt),
        case(
            "empty_tenant_id",
            "/tenant_id",
            json!(""),
            Refuses(
                || DecideRequest::new("", "r-1", task()),
                DecideError::Empty(Field::TenantId),
            ),
        ),
        missing("missing_request_id", "/request_id", CannotSayIt),
        case(
            "empty_request_id",
            "/request_id",
            json!(""),
            Refuses(
                || DecideRequest::new("acme", "", task()),
                DecideError::Empty(Field::RequestId),
            ),
        ),
        case(
            "invalid_request_id_format",
            "/request_id",
            json!(5),
            CannotSayIt,
        ),
        case(
            "invalid_trace_id_format",
            "/trace_id",
            json!("tr-123"),
            Refuses(|| request().trace_id("tr-123"), DecideError::TraceId),
        ),
        case(
            "empty_idempotency_key",
            "/idempotency_key",
            json!(""),
            Refuses(
                || request().idempotency_key(""),
                DecideError::Empty(Field::IdempotencyKey),
            ),
        ),
        case(
            "idempotency_key_too_long",
            "/idempotency_key",
            json!("k".repeat(257)),
            Refuses(
                || request().idempotency_key("k".repeat(257)),
                DecideError::IdempotencyKeyTooLong { bytes: 257 },
            ),
        ),
        case(
            "invalid_idempotency_key_format",
            "/idempotency_key",
            json!(5),
            CannotSayIt,
        ),
    ]
}

fn tasks() -> Vec<Case> {
    vec![
        missing("missing_task", "/task", CannotSayIt),
        case("invalid_task_format", "/task", json!([]), CannotSayIt),
        missing("missing_task_type", "/task/type", CannotSayIt),
        case(
            "empty_task_type",
            "/task/type",
            json!(""),
            Refuses(
                || with_task(Task::new("").payload_ref("s3://b/k")),
                DecideError::Empty(Field::TaskType),
            ),
        ),
        case("invalid_task_type", "/task/type", json!(1), CannotSayIt),
        missing(
            "missing_task_payload",
            "/task/payload",
            Refuses(|| with_task(Task::new("chat")), DecideError::NoTaskBody),
        ),
        case(
            "payload_too_small",
            "/task/payload",
            json!({"a": 1}),
            Refuses(
                || with_task(Task::new("chat").payload(json!({"a": 1}))),
                DecideError::TaskPayloadTooSmall { bytes: 7 },
            ),
        ),
        case(
            "invalid_payload_format",
            "/task/payload",
            json!("0123456789"),
            Refuses(
                || with_task(Task::new("chat").payload("0123456789")),
                DecideError::NotAnObject(Field::TaskPayload),
            ),
        ),
    ]
}

fn runs() -> Vec<Case> {
    let (id, none) = (Some(UUID), None);
    let bad = Some("17");
    vec![
        ids(
            "flow_id_required_when_run_id_present",
            [id, none, id],
            CannotSayIt,
        ),
        ids(
            "step_id_required_when_run_id_present",
            [id, id, none],
            CannotSayIt,
        ),
        ids(
            "run_id_required_when_flow_id_present",
            [none, id, id],
            CannotSayIt,
        ),
        ids(
            "run_id_required_when_step_id_present",
            [none, none, id],
            CannotSayIt,
        ),
        ids(
            "invalid_run_id_format",
            [bad, id, id],
            Refuses(
                || request().run("17", UUID, UUID),
                DecideError::Id(Field::RunId),
            ),
        ),
        ids(
            "invalid_flow_id_format",
            [id, bad, id],
            Refuses(
                || request().run(UUID, "17", UUID),
                DecideError::Id(Field::FlowId),
            ),
        ),
        ids(
            "invalid_step_id_format",
            [id, id, bad],
            Refuses(
                || request().run(UUID, UUID, "17"),
                DecideError::Id(Field::StepId),
            ),
        ),
    ]
}

fn valid() -> Value {
    json!({
        "tenant_id": "acme", "request_id": "r-1",
        "task": {"type": "chat", "payload": {"text": "hello"}},
    })
}

fn changed(changes: &[(&str, Option<Value>)]) -> Value {
    let mut body = valid();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(name.to_owned(), value.clone()),
            None => parent.remove(name),
        };
    }
    body
}

#[test]
fn the_router_and_the_builder_refuse_the_same_with_the_same_code() {
    let server = Server::with(&["-D"]);
    let gateway = connected(&server);
    let router = Router::start(&server, &[]);
    let mut client = attach_with(&gateway, ClientBuilder::new());
    let valid = valid().to_string();
    let reply = client.call(Request::to("decide").payload(&valid)).unwrap();
    assert_eq!(reply.code(), Code::Ok);
    let connections = server.connections();

    let cases: Vec<Case> = [identity(), tasks(), runs()]
        .into_iter()
        .flatten()
        .collect();
    for case in &cases {
        let reason = case.reason;
        let body = changed(&case.changes).to_string();
        let reply = client.call(Request::to("decide").payload(&body)).unwrap();
        assert_eq!(reply.code(), Code::RouterInvalidRequest, "{reason}");
        assert_eq!(reply.status(), 400);
        let answer: Value = serde_json::from_slice(reply.payload()).unwrap();
        let error = &answer["error"];
        assert_eq!(error["code"], "invalid_request");
        assert_eq!(error["intake_error_code"], "CORRELATION_FIELDS_INVALID");
        let message = format!("Correlation fields validation failed: {reason}");
        assert_eq!(error["message"], message.as_str());
        if let Refuses(build, expected) = &case.local {
            let refused = build().build().unwrap_err();
            assert_eq!(refused, *expected, "{reason}");
            assert_eq!(refused.code(), reply.code(), "{reason}");
        }
    }
    assert_eq!(server.connections(), connections);
    // Every row has reached the Router, and each was refused there.
    let log = router.log();
    let refused = log.iter().filter(|line| line["action"] == "refused");
    let with_body = refused.filter(|line| line["length"] != 0);
    assert_eq!(with_body.count(), cases.len());
}

#[test]
fn what_is_no_request_at_all_and_a_foreign_tenant_have_codes_of_their_own() {
    let server = Server::with(&["-D"]);
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--allow-tenant", "acme"]);
    let mut client = attach_with(&gateway, ClientBuilder::new());
    let mut ask = |body: &[u8]| {
        let reply = client.call(Request::to("decide").payload(body)).unwrap();
        let answer: Value = serde_json::from_slice(reply.payload()).unwrap();
        let intake = answer["error"]["intake_error_code"].as_str();
        (reply.code(), intake.unwrap_or_default().to_owned())
    };
    for body in [&b""[..], b"[1]", b"\xff", b"{", b"null", b"\"text\""] {
        let expected = (
            Code::RouterInvalidRequest,
            "SCHEMA_VALIDATION_FAILED".to_owned(),
        );
        assert_eq!(ask(body), expected, "{}", body.escape_ascii());
    }
    for tenant in [json!("other"), json!(7)] {
        let body = changed(&[("/tenant_id", Some(tenant))]).to_string();
        let expected = (Code::RouterUnauthorized, "TENANT_FORBIDDEN".to_owned());
        assert_eq!(ask(body.as_bytes()), expected);
    }
    // The gateway's header says the version, whatever the body says: one that is a number would
    // break the Router.
    for version in [json!("1"), json!("1.0"), json!(1)] {
        let body = changed(&[("/version", Some(version))]).to_string();
        assert_eq!(ask(body.as_bytes()).0, Code::Ok);
    }
}

#[test]
fn what_the_builder_makes_the_router_takes() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &[]);
    let room = u32::try_from(MAX_PAYLOAD_BYTES).unwrap() + 4096;
    let builder = ClientBuilder::new().entries(2).message_size(room);
    let mut client = attach_with(&gateway, builder);
    let mut ask = |decide: &Decide| client.call(Request::decide(decide)).unwrap().code();
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    assert_eq!(trace_id_of(&parent), Some(TRACE));
    let full = with_task(task().payload_ref("s3://b/k"))
        .run(UUID, ULID, UUID.to_uppercase())
        .traceparent(parent)
        .idempotency_key("k".repeat(256))
        .policy_id("p")
        .constraints(json!({"a": 1}))
        .metadata(json!({}))
        .push_assignment()
        .assignment_subject("caf.exec");
    for request in [request(), request().trace_id(UUID), full] {
        assert_eq!(ask(&request.build().unwrap()), Code::Ok);
    }
    let last = router.log().pop().unwrap();
    assert_eq!(last["headers"]["trace_id"], TRACE);
    assert_eq!(last["headers"]["tenant_id"], "acme");
    assert_eq!(last["headers"]["version"], "1");
    // Stricter than the Router, which does not look at these.
    for (strict, expected) in [
        (
            request().constraints(json!([])),
            DecideError::NotAnObject(Field::Constraints),
        ),
        (
            request().metadata("m"),
            DecideError::NotAnObject(Field::Metadata),
        ),
        (request().traceparent("00-x"), DecideError::Traceparent),
    ] {
        assert_eq!(strict.build(), Err(expected));
    }
    // As large as the Router takes is larger than a server's limit with headers: the gateway says
    // so. One byte more the builder refuses, with the same code.
    let sized = |text: usize| request().policy_id("x".repeat(text)).build();
    let rest = sized(0).unwrap().payload().len();
    let largest = sized(MAX_PAYLOAD_BYTES - rest).unwrap();
    assert_eq!(ask(&largest), Code::TooLarge);
    let larger = sized(MAX_PAYLOAD_BYTES - rest + 1).unwrap_err();
    assert_eq!(larger.code(), Code::TooLarge);
}
