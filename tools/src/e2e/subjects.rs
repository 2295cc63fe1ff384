//! Category 1: subjects and headers.

use ipc_tools::stage::{Failure, Got, Message, Report, said};

use crate::scene::{CONNECTIONS, DECIDE, INBOX, SOON, Scene};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The one request with this id on the wire, as the gateway published it.
pub(crate) fn published(
    scene: &mut Scene,
    report: &mut Report,
    id: &str,
) -> Result<Message, Failure> {
    let mark = format!(r#""request_id":"{id}""#);
    let is_it = |m: &Message| m.reply.is_some() && m.contains(&mark);
    let wire = &mut scene.wire;
    let found = wire.first(SOON, "the request", is_it)?;
    wire.settle()?;
    let all = wire.all(is_it);
    report.captured(&found);
    report.equal("times that it was published", &all.len(), &1);
    Ok(found)
}

/// The one answer to a published request, as the Router sent it.
pub(crate) fn answered(
    scene: &Scene,
    report: &mut Report,
    request: &Message,
) -> Result<Message, Failure> {
    let inbox = request.reply.clone().unwrap_or_default();
    let is_it = |m: &Message| m.subject == inbox;
    let found = scene.wire.first(SOON, "the answer", is_it)?;
    report.captured(&found);
    Ok(found)
}

/// Asks with these headers; returns what was published, what was answered and what came back.
fn exchange(
    scene: &mut Scene,
    report: &mut Report,
    headers: &[(&str, &str)],
) -> Result<(Message, Message, Got), Failure> {
    let id = scene.id();
    let mut ask = scene.ask(&id);
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    let got = scene.call(report, ask)?;
    let request = published(scene, report, &id)?;
    let answer = answered(scene, report, &request)?;
    Ok((request, answer, got))
}

pub(crate) fn subject(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let (request, _, got) = exchange(scene, report, &[])?;
    report.equal("the subject", &request.subject.as_str(), &DECIDE);
    report.answer("the client", &got, "OK", 200);
    Ok(())
}

pub(crate) fn request_headers(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let given = [
        ("trace_id", TRACE),
        ("traceparent", PARENT),
        ("x-e2e", "a value; with = marks"),
    ];
    let (request, _, got) = exchange(scene, report, &given)?;
    report.answer("the client", &got, "OK", 200);
    let tenant = scene.tenant.clone();
    let expected = given
        .into_iter()
        .chain([("tenant_id", tenant.as_str()), ("version", "1")]);
    for (name, value) in expected {
        let found = request.header(name).unwrap_or("absent");
        report.equal(format_args!("header {name} on the wire"), &found, &value);
    }
    let left = request.header("ipcgw-deadline-ms").unwrap_or("absent");
    let is_right = left
        .parse::<u64>()
        .is_ok_and(|left| (1..=5000).contains(&left));
    report.must(
        is_right,
        format_args!("ipcgw-deadline-ms, {left}, is within the 5 s allowed"),
    );
    // The Router's own word, when it can be had.
    if !scene.is_external() {
        let log = scene.router_log()?;
        let line = log.last().cloned().unwrap_or_default();
        for (name, value) in [
            ("trace_id", TRACE),
            ("version", "1"),
            ("tenant_id", &tenant),
        ] {
            let found = said(&line, &format!("/headers/{name}"));
            report.equal(
                format_args!("header {name} in the Router's log"),
                &found,
                &value,
            );
        }
    }
    Ok(())
}

pub(crate) fn response_headers(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--reply-header", "x-router=reference 1", "--echo-headers"])?;
    let (_, answer, got) = exchange(scene, report, &[("trace_id", TRACE)])?;
    report.answer("the client", &got, "OK", 200);
    report.must(
        !answer.headers.is_empty(),
        format_args!("the Router's answer has headers ({})", answer.headers.len()),
    );
    if !scene.is_external() {
        let found = answer.header("x-router").unwrap_or("absent");
        report.equal("x-router on the wire", &found, &"reference 1");
    }
    for (name, value) in &answer.headers {
        let found = got.headers.iter().find(|(known, _)| known == name);
        let found = found.map_or("absent", |(_, value)| value);
        report.equal(
            format_args!("header {name} at the client"),
            &found,
            &value.as_str(),
        );
    }
    report.equal(
        "headers at the client",
        &got.headers.len(),
        &answer.headers.len(),
    );
    Ok(())
}

pub(crate) fn reply_to(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    // Half of the answers overtake the others.
    scene.router(&["--late", "50ms", "--late-rate", "0.5", "--seed", "7"])?;
    let flow = scene.flow(Some(64)).window(64).timeout_ms(5000);
    let prefix = flow.prefix.clone();
    let done = scene.send(report, flow)?;
    report.equal("answered", &done.code("OK"), &64);
    let mark = format!(r#""request_id":"{prefix}-"#);
    let wire = &mut scene.wire;
    wire.settle()?;
    let requests = wire.all(|m| m.reply.is_some() && m.contains(&mark));
    let mut inboxes: Vec<String> = requests.iter().filter_map(|m| m.reply.clone()).collect();
    let mut matched = 0;
    for request in &requests {
        let inbox = request.reply.clone().unwrap_or_default();
        let id = text_between(&request.payload, &mark);
        let answers = wire.all(|m| m.subject == inbox);
        let own = format!("{mark}{id}\"");
        if matches!(answers.as_slice(), [only] if only.contains(&own)) {
            matched += 1;
        }
    }
    requests.iter().take(3).for_each(|m| report.captured(m));
    let prefixed = inboxes
        .iter()
        .filter(|inbox| inbox.starts_with(&format!("{INBOX}.")))
        .count();
    inboxes.sort_unstable();
    inboxes.dedup();
    report.equal("requests on the wire", &requests.len(), &64);
    report.equal("reply subjects that differ", &inboxes.len(), &64);
    report.equal("reply subjects under the gateway's prefix", &prefixed, &64);
    report.equal(
        "answers that came to the subject of their request, once",
        &matched,
        &64,
    );
    if !scene.is_external() {
        report.must(
            true,
            "half of the answers were sent 50 ms later than the others",
        );
    }
    Ok(())
}

/// What stands between a mark and the next quotation mark.
fn text_between(payload: &[u8], mark: &str) -> String {
    let text = String::from_utf8_lossy(payload);
    let rest = text.split_once(mark).map(|(_, rest)| rest);
    let id = rest.and_then(|rest| rest.split_once('"')).map(|(id, _)| id);
    id.unwrap_or_default().to_owned()
}

pub(crate) fn trace_id(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    for (header, value) in [("trace_id", TRACE), ("traceparent", PARENT)] {
        let (request, answer, got) = exchange(scene, report, &[(header, value)])?;
        report.answer("the client", &got, "OK", 200);
        let on_the_wire = request.header("trace_id").unwrap_or("absent");
        report.equal(
            format_args!("trace_id on the wire, given {header}"),
            &on_the_wire,
            &TRACE,
        );
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        for (who, body) in [("the Router", answer), ("the client", got.json())] {
            let found = said(&body, "/context/trace_id");
            let what = format_args!("trace_id of {who}'s answer, given {header}");
            report.equal(what, &found, &TRACE);
        }
    }
    Ok(())
}

pub(crate) fn tenants(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let tenant = scene.tenant.clone();
    let text = format!(
        "[nats]\ninbox_prefix = \"{INBOX}\"\nconnections = {CONNECTIONS}\n[[policy]]\ntenant = {tenant:?}\n"
    );
    let url = scene.url().to_owned();
    let gateway = scene.start_gateway("tenant", &url, &text)?;
    let mut client = scene.start_client_at(&gateway)?;
    // Another tenant's name is refused and never leaves the gateway.
    let foreign = scene.id();
    let mut other = scene.ask(&foreign);
    other.headers = vec![("tenant_id".to_owned(), "somebody-else".to_owned())];
    let got = report.call(&mut client, other)?;
    report.answer(
        "a client bound to a tenant that names another",
        &got,
        "FORBIDDEN",
        403,
    );
    // Its own is said for it, when it says none.
    let own = scene.id();
    let mut silent = scene.ask(&own);
    silent.headers.clear();
    let got = report.call(&mut client, silent)?;
    report.answer(
        "a client bound to a tenant that names none",
        &got,
        "OK",
        200,
    );
    let request = published(scene, report, &own)?;
    let said: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("tenant_id"))
        .map(|(_, value)| value.as_str())
        .collect();
    report.equal("tenants on the wire", &said.join(","), &tenant);
    let leaked = scene.wire.all(|m| m.contains(&foreign));
    report.equal(
        "messages of the refused request on the wire",
        &leaked.len(),
        &0,
    );
    // Two clients of the open gateway at the same time: to each its own.
    let (mut left, mut right) = (scene.start_client(256)?, scene.start_client(256)?);
    let (first, second) = (scene.flow(Some(100)), scene.flow(Some(100)));
    left.begin(first)?;
    let second = right.flow(second)?;
    let first = left.join()?;
    for flow in [&first, &second] {
        report.whole(flow);
        report.equal("answered", &flow.code("OK"), &100);
    }
    Ok(())
}
