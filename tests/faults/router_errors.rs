//! Fault 39: the Router's own errors, by every name that it has for them.

use ipc_ringbuf::{Client, Code, Outcome, Request};
use serde_json::{Value, json};

use crate::support::admin::metric;
use crate::support::decide;
use crate::support::gateway::{attach, connected_as};
use crate::support::router::Router;
use crate::support::server::Server;

/// CONTRACT 3.3: the name that the Router sends, and the status that the client is to see.
const ERRORS: [(&str, Code, u16); 14] = [
    ("invalid_request", Code::RouterInvalidRequest, 400),
    ("unauthorized", Code::RouterUnauthorized, 401),
    ("policy_not_found", Code::RouterPolicyNotFound, 404),
    ("decision_failed", Code::RouterDecisionFailed, 500),
    ("internal", Code::RouterInternal, 500),
    ("extension_not_found", Code::RouterExtensionNotFound, 404),
    ("extension_timeout", Code::RouterExtensionTimeout, 504),
    ("validator_blocked", Code::RouterValidatorBlocked, 403),
    (
        "post_processor_failed",
        Code::RouterPostProcessorFailed,
        500,
    ),
    (
        "extension_unavailable",
        Code::RouterExtensionUnavailable,
        503,
    ),
    ("extension_error", Code::RouterExtensionError, 500),
    ("unavailable", Code::RouterUnavailable, 503),
    ("rate_limit_exceeded", Code::RouterRateLimitExceeded, 429),
    ("a_name_of_next_year", Code::RouterUnknown, 500),
];

/// A body that the Router refuses (the version is in a header of the gateway's), its `intake_error_code`, and the code that it is answered with.
fn refused() -> [(Value, &'static str, Code); 3] {
    let task = json!({"type": "chat", "payload": {"text": "long enough"}});
    [
        (
            json!(["not an object"]),
            "SCHEMA_VALIDATION_FAILED",
            Code::RouterInvalidRequest,
        ),
        (
            json!({"tenant_id": "acme", "request_id": "r"}),
            "CORRELATION_FIELDS_INVALID",
            Code::RouterInvalidRequest,
        ),
        (
            json!({"tenant_id": "other", "request_id": "r", "task": task}),
            "TENANT_FORBIDDEN",
            Code::RouterUnauthorized,
        ),
    ]
}

/// Sends a request that may be sent again, if anything could make the gateway do so; returns the
/// code and the body of the answer.
fn ask(client: &mut Client, body: &[u8], code: Code, status: u16) -> Vec<u8> {
    let request = Request::to("decide").payload(body).idempotency_key("key");
    let completion = client.call(request).unwrap();
    assert_eq!(completion.code(), code);
    assert_eq!(completion.outcome(), Outcome::Answered);
    assert_eq!(completion.code().status(), status);
    completion.payload().to_vec()
}

#[test]
fn f39_an_error_of_the_router_is_an_answer_with_its_status_and_body_and_is_never_sent_again() {
    let server = Server::start();
    let gateway = connected_as("[[route]]\nname = \"decide\"\nidempotent = true\n", &server);
    let mut client = attach(&gateway);
    for (name, code, status) in ERRORS {
        let flags = ["--error-rate", "1", "--error-code", name];
        let router = Router::start(&server, &flags);
        let body = ask(&mut client, &decide(name, 256), code, status);
        let sent: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(sent["ok"], false);
        assert_eq!(sent["error"]["code"], name);
        assert_eq!(
            std::fs::read(router.replies()).unwrap(),
            [&body[..], b"\n"].concat()
        );
        assert_eq!(router.log().len(), 1, "{name} was sent again");
        router.end();
    }
    let router = Router::start(&server, &["--allow-tenant", "acme"]);
    for (body, name, code) in refused() {
        let before = router.log().len();
        let reply = ask(
            &mut client,
            body.to_string().as_bytes(),
            code,
            code.status(),
        );
        let sent: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(sent["error"]["intake_error_code"], name, "{sent}");
        assert_eq!(router.log().len(), before + 1, "{name} was sent again");
    }
    router.end();
    // Bodies that are no JSON: an error that breaks off is an error, anything else is opaque.
    for (raw, code) in [
        (r#"{"ok":false,"error":{"co"#, Code::RouterUnknown),
        (r#"{"ok":false}"#, Code::RouterUnknown),
        ("Internal Server Error", Code::Ok),
    ] {
        let router = Router::start(&server, &["--raw-body", raw]);
        let body = ask(&mut client, &decide("raw", 256), code, code.status());
        assert_eq!(body, raw.as_bytes());
        assert_eq!(router.log().len(), 1, "{raw} was sent again");
        router.end();
    }
    assert_eq!(metric(&gateway, "ipcgw_resent_total", ""), 0);
    for (_, code, _) in ERRORS {
        let label = format!(r#"code="{}""#, code.name());
        assert!(metric(&gateway, "ipcgw_completions_total", &label) >= 1);
    }
    // The Router answers: none of this is a reason to keep requests from it.
    assert_eq!(metric(&gateway, "ipcgw_breaker_opens_total", ""), 0);
}
