//! Category 2: error semantics.

use ipc_tools::stage::{Failure, Got, Report, said};

use crate::scene::{SOON, Scene};
use crate::subjects::{answered, published};

/// Asks a valid request and checks code and status, that the Router was asked, and that what it said
/// came back whole.
fn expect(
    scene: &mut Scene,
    report: &mut Report,
    what: &str,
    (code, status): (&str, u16),
) -> Result<Got, Failure> {
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer(what, &got, code, status);
    report.equal("the class", &got.outcome.as_str(), &"answered");
    let request = published(scene, report, &id)?;
    let answer = answered(scene, report, &request)?;
    report.must(
        answer.payload == got.payload,
        format_args!(
            "{what}: the client has the {} bytes that the Router sent",
            got.payload.len()
        ),
    );
    Ok(got)
}

/// The same for errors that the Router makes on demand.
fn expect_codes(
    scene: &mut Scene,
    report: &mut Report,
    codes: &[(&str, &str, u16)],
) -> Result<(), Failure> {
    for (word, code, status) in codes {
        scene.router(&["--error-rate", "1", "--error-code", word])?;
        let got = expect(scene, report, word, (code, *status))?;
        let body = got.json();
        let said = said(&body, "/error/code");
        report.equal("error.code at the client", &said, word);
    }
    Ok(())
}

pub(crate) fn invalid(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let id = scene.id();
    let mut ask = scene.ask(&id);
    // A request without a task: the client library's builder refuses it, the payload as such passes.
    let tenant = &scene.tenant;
    ask.payload = format!(r#"{{"tenant_id":"{tenant}","request_id":"{id}"}}"#).into_bytes();
    let got = scene.call(report, ask)?;
    report.answer(
        "a request without a task",
        &got,
        "ROUTER_INVALID_REQUEST",
        400,
    );
    let body = got.json();
    let code = said(&body, "/error/code");
    report.equal("error.code at the client", &code, &"invalid_request");
    let request = published(scene, report, &id)?;
    let answer = answered(scene, report, &request)?;
    report.must(
        answer.payload == got.payload,
        "the client has the bytes that the Router sent",
    );
    Ok(())
}

pub(crate) fn not_found(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let codes = [
        ("policy_not_found", "ROUTER_POLICY_NOT_FOUND", 404),
        ("extension_not_found", "ROUTER_EXTENSION_NOT_FOUND", 404),
    ];
    expect_codes(scene, report, &codes)
}

pub(crate) fn failed(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let codes = [
        ("decision_failed", "ROUTER_DECISION_FAILED", 500),
        ("internal", "ROUTER_INTERNAL", 500),
        ("post_processor_failed", "ROUTER_POST_PROCESSOR_FAILED", 500),
        ("extension_error", "ROUTER_EXTENSION_ERROR", 500),
    ];
    expect_codes(scene, report, &codes)
}

pub(crate) fn unavailable(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let codes = [
        ("unavailable", "ROUTER_UNAVAILABLE", 503),
        ("extension_unavailable", "ROUTER_EXTENSION_UNAVAILABLE", 503),
        ("rate_limit_exceeded", "ROUTER_RATE_LIMIT_EXCEEDED", 429),
    ];
    expect_codes(scene, report, &codes)?;
    scene.router(&[])?;
    scene.say("active")?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("under backpressure", &got, "OVERLOADED", 429);
    report.equal("the class", &got.outcome.as_str(), &"rejected");
    report.must(
        got.retry_after_ms > 0,
        format_args!("it says when to try again: {} ms", got.retry_after_ms),
    );
    scene.say("inactive")?;
    scene.healthy()
}

pub(crate) fn unexpected(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let pid = scene.running()?.pid();
    let long = "x".repeat(4096);
    let words = [
        "brand_new",
        "",
        "OK",
        "ok",
        "Internal",
        "\u{1f980}\n\"'",
        "200",
        &long,
    ];
    for word in words {
        scene.router(&["--error-rate", "1", "--error-code", word])?;
        let what = format!("code {:?}", word.chars().take(12).collect::<String>());
        expect(scene, report, &what, ("ROUTER_UNKNOWN", 500))?;
    }
    let bodies = [
        (r#"{"ok":false}"#, "ROUTER_UNKNOWN", 500),
        (r#"{"ok":false,"error":{"code":"#, "ROUTER_UNKNOWN", 500),
        (r#"{"ok":false,"error":7}"#, "ROUTER_UNKNOWN", 500),
        (
            r#"{"ok":false,"error":{"code":{"a":[1]}}}"#,
            "ROUTER_UNKNOWN",
            500,
        ),
        ("", "OK", 200),
        ("\u{1}\u{2}not JSON", "OK", 200),
        ("[[[[", "OK", 200),
    ];
    for (body, code, status) in bodies {
        scene.router(&["--raw-body", body])?;
        expect(scene, report, &format!("body {body:?}"), (code, status))?;
    }
    // A header block that no client can read ends a connection, and nothing else.
    scene.router(&["--malformed-header"])?;
    let id = scene.id();
    let ask = scene.ask(&id).timeout_ms(2000);
    let got = scene.call(report, ask)?;
    report.equal(
        "class of an answer that cannot be read",
        &got.outcome.as_str(),
        &"unknown",
    );
    scene.router(&[])?;
    scene.healthy()?;
    let found = scene.gateway("errors")?.pid();
    report.equal("process of the gateway", &found, &pid);
    Ok(())
}

pub(crate) fn preserved(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    // What the client sent is what crosses the server.
    let id = scene.id();
    let mut ask = scene.ask(&id);
    let odd = format!(
        "{{ \"task\" : {{\"payload\":{{\"text\":\"\\u00e9 \u{e9} \\\"quoted\\\"\\n\",\"n\":1.50e2}},\"type\":\"chat\"}},\n\
         \"request_id\":\"{id}\",\"tenant_id\":\"{}\" }}",
        scene.tenant
    );
    ask.payload = odd.clone().into_bytes();
    scene.router(&[])?;
    let got = scene.call(report, ask)?;
    report.answer(
        "a request with spaces, escapes and its own order",
        &got,
        "OK",
        200,
    );
    let wire = &mut scene.wire;
    let request = wire.first(SOON, "the request", |m| {
        m.reply.is_some() && m.contains(&id)
    })?;
    report.must(
        request.payload == odd.as_bytes(),
        "the request crosses unchanged",
    );
    let answer = answered(scene, report, &request)?;
    report.must(
        answer.payload == got.payload,
        "the decision comes back unchanged",
    );
    if scene.is_external() {
        return Ok(());
    }
    let bodies = [
        "{\"error\":{\"message\":\"\u{fc}ber \\u0000 \\\"q\\\" \\n\",\"code\":\"internal\",\"details\":{\"b\":[1, 2.0,null]}},\"ok\":false,\"context\":{}}",
        " {\"ok\" : false,\t\"error\":{\"code\":\"internal\"},\"ok\":false}\r\n",
    ];
    for body in bodies {
        scene.router(&["--raw-body", body])?;
        let got = expect(scene, report, "an error", ("ROUTER_INTERNAL", 500))?;
        report.must(
            got.payload == body.as_bytes(),
            "the client has the Router's text unchanged",
        );
    }
    Ok(())
}
