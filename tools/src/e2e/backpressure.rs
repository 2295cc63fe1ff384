//! Category 5: a Router that says that it is overloaded, and one that says nothing any more.

use core::time::Duration;

use ipc_tools::stage::{Failure, Message, Report, eventually, pause};

use crate::scene::{SOON, STATUS, Scene, configuration};
use crate::timeouts::balance;

/// Rounds of timeouts after which a breaker that has not opened will not.
const ROUNDS: u64 = 40;

fn statuses(scene: &Scene, understood: &str) -> Result<u64, Failure> {
    let label = format!(r#"understood="{understood}""#);
    scene.metric("ipcgw_backpressure_statuses_total", &label)
}

fn rejected(scene: &Scene, reason: &str) -> Result<u64, Failure> {
    let label = format!(r#"reason="{reason}""#);
    scene.metric("ipcgw_overload_rejections_total", &label)
}

/// Makes the Router say this; returns when the gateway has understood it.
fn say(scene: &mut Scene, status: &str) -> Result<(), Failure> {
    let before = statuses(scene, "yes")?;
    scene.say(status)?;
    eventually(SOON, "the gateway understands the status", || {
        Ok(statuses(scene, "yes")? > before)
    })?;
    Ok(())
}

/// Lets everything in again.
fn relent(scene: &mut Scene) -> Result<(), Failure> {
    say(scene, "inactive")?;
    scene.healthy()
}

fn is_poll(message: &Message) -> bool {
    message.subject == STATUS && message.reply.is_some()
}

fn is_push(message: &Message) -> bool {
    message.subject == STATUS && message.reply.is_none()
}

/// Messages since the check began for which this holds.
fn count(scene: &Scene, is_it: fn(&Message) -> bool) -> usize {
    scene.wire.all(is_it).len()
}

pub(crate) fn recognised(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    // Pushed.
    let unreadable = statuses(scene, "no")?;
    say(scene, "active")?;
    let pushed = scene.wire.first(SOON, "the pushed status", is_push)?;
    report.captured(&pushed);
    report.must(pushed.contains(r#""active""#), "the Router pushed `active`");
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a request after the push", &got, "OVERLOADED", 429);
    // Polled: a gateway that was started after the push can know of it only by asking.
    let (polls, pushes) = (count(scene, is_poll), count(scene, is_push));
    let (url, configuration) = (scene.url().to_owned(), configuration("backpressure"));
    let fresh = scene.start_gateway("polls", &url, &configuration)?;
    eventually(SOON, "a fresh gateway understands the status", || {
        let heard = fresh.metric("ipcgw_backpressure_statuses_total", r#"understood="yes""#)?;
        Ok(heard > 0)
    })?;
    let mut client = scene.start_client_at(&fresh)?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = report.call(&mut client, ask)?;
    report.answer(
        "a request to a gateway that only polled",
        &got,
        "OVERLOADED",
        429,
    );
    let more = count(scene, is_push) - pushes;
    report.equal("statuses pushed since it was started", &more, &0);
    drop(client);
    fresh.end()?;
    // The first poll that was made when the Router had said `active`.
    let since = scene.wire.all(is_poll).into_iter().nth(polls);
    let poll = since.ok_or_else(|| Failure::new("no poll is on the wire"))?;
    report.captured(&poll);
    for (name, value) in [("x_contract_version", "2"), ("x_tenant_id", "ipc-gateway")] {
        let found = poll.header(name).unwrap_or("absent");
        report.equal(format_args!("{name} of the poll"), &found, &value);
    }
    let trace = poll.header("x_trace_id").unwrap_or_default();
    report.must(
        !trace.is_empty(),
        format_args!("x_trace_id of the poll is {trace}"),
    );
    let inbox = poll.reply.unwrap_or_default();
    let answer = scene
        .wire
        .first(SOON, "the answer to the poll", |m| m.subject == inbox)?;
    report.captured(&answer);
    report.must(
        answer.contains(r#""status":"active""#),
        "the poll was answered with `active`",
    );
    let found = statuses(scene, "no")? - unreadable;
    report.equal("statuses that were not understood", &found, &0);
    relent(scene)
}

/// Requests of this flow that reached the Router.
fn reached(scene: &mut Scene, prefix: &str) -> Result<u64, Failure> {
    let mark = format!(r#""request_id":"{prefix}-"#);
    let wire = &mut scene.wire;
    wire.settle()?;
    let found = wire.all(|m| m.reply.is_some() && m.contains(&mark));
    Ok(found.iter().map(|_| 1).sum())
}

/// Sends 200 requests; returns how many were answered, how many rejected and how many reached the
/// Router.
fn offer(scene: &mut Scene, report: &mut Report) -> Result<(u64, u64, u64), Failure> {
    let flow = scene.flow(Some(200)).window(8).timeout_ms(5000);
    let prefix = flow.prefix.clone();
    let done = scene.send(report, flow)?;
    let reached = reached(scene, &prefix)?;
    Ok((done.code("OK"), done.code("OVERLOADED"), reached))
}

pub(crate) fn slows_down(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let (answered, _, sent) = offer(scene, report)?;
    report.equal("of 200, answered without backpressure", &answered, &200);
    report.equal("of 200, published without backpressure", &sent, &200);
    say(scene, "warning")?;
    let (answered, turned_away, sent) = offer(scene, report)?;
    report.must(
        (80..=120).contains(&sent),
        format_args!("of 200, {sent} were published under `warning`: about half"),
    );
    report.equal("answered or rejected", &(answered + turned_away), &200);
    report.equal("answered, of those published,", &answered, &sent);
    say(scene, "active")?;
    let (_, turned_away, sent) = offer(scene, report)?;
    report.equal("of 200, published under `active`", &sent, &0);
    report.equal("of 200, rejected under `active`", &turned_away, &200);
    relent(scene)
}

pub(crate) fn resumes(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    say(scene, "active")?;
    let (_, turned_away, _) = offer(scene, report)?;
    report.equal("of 200, rejected under `active`", &turned_away, &200);
    say(scene, "inactive")?;
    let (answered, _, sent) = offer(scene, report)?;
    report.equal("of 200, published after `inactive`", &sent, &200);
    report.equal("of 200, answered after `inactive`", &answered, &200);
    Ok(())
}

pub(crate) fn breaker(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let opens = scene.metric("ipcgw_breaker_opens_total", r#"route="decide""#)?;
    let turned_away = rejected(scene, "breaker")?;
    scene.router(&["--silent-rate", "1"])?;
    // It opens when half of what ended within 10 s are failures, and at least 50; earlier checks have
    // had answers.
    let (mut out, mut opened, mut round) = (0, 0, 0);
    while opened == 0 && round < ROUNDS {
        let flow = scene.flow(Some(100)).window(100).timeout_ms(300);
        out += scene.send(report, flow)?.code("TIMEOUT");
        opened = scene.metric("ipcgw_breaker_opens_total", r#"route="decide""#)? - opens;
        round += 1;
    }
    report.must(out >= 50, format_args!("{out} requests timed out"));
    report.must(
        opened >= 1,
        format_args!("the breaker opened after {round} rounds of 100"),
    );
    let flow = scene.flow(Some(100)).window(100).timeout_ms(300);
    let done = scene.send(report, flow)?;
    let (rejections, took) = (done.code("OVERLOADED"), done.elapsed_ms);
    report.must(
        rejections >= 50,
        format_args!("{rejections} of the next 100 were rejected; all ended within {took} ms"),
    );
    let counted = rejected(scene, "breaker")? - turned_away;
    report.must(
        counted > 0,
        format_args!("{counted} rejections by the breaker are counted"),
    );
    // It closes by itself when requests are answered again.
    scene.router(&[])?;
    scene.healthy()?;
    eventually(SOON, "the breaker closes", || {
        let id = scene.id();
        let ask = scene.ask(&id);
        scene.client()?.call(ask)?;
        Ok(scene.metric("ipcgw_breaker_state", r#"route="decide""#)? == 0)
    })?;
    report.must(
        true,
        "the breaker closed by itself when requests were answered again",
    );
    Ok(())
}

pub(crate) fn nothing_lost(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--delay", "20ms"])?;
    let mut client = scene.start_client(256)?;
    let flow = scene.flow(None).window(64).rate(200.0).timeout_ms(5000);
    let prefix = flow.prefix.clone();
    client.begin(flow)?;
    for status in [
        "warning", "active", "inactive", "active", "warning", "inactive",
    ] {
        pause(Duration::from_millis(250));
        say(scene, status)?;
    }
    pause(Duration::from_millis(250));
    let done = client.stop()?;
    report.whole(&done);
    let (answered, turned_away) = (done.code("OK"), done.code("OVERLOADED"));
    report.equal(
        format_args!("answered ({answered}) or rejected ({turned_away})"),
        &(answered + turned_away),
        &done.sent,
    );
    report.must(turned_away > 0, format_args!("{turned_away} were rejected"));
    // What was rejected never left; what left was answered.
    let sent = reached(scene, &prefix)?;
    report.equal("published", &sent, &answered);
    scene.until_idle()?;
    balance(scene, report)?;
    relent(scene)
}

pub(crate) fn told(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    // The Router's own word for it is 503, and so is that nobody listens.
    for (word, code) in [
        ("unavailable", "ROUTER_UNAVAILABLE"),
        ("extension_unavailable", "ROUTER_EXTENSION_UNAVAILABLE"),
    ] {
        scene.router(&["--error-rate", "1", "--error-code", word])?;
        let id = scene.id();
        let ask = scene.ask(&id);
        let got = scene.call(report, ask)?;
        report.answer(&format!("a Router that answers {word}"), &got, code, 503);
    }
    scene.end_router()?;
    // What records listens too.
    scene.wire.listen(false)?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    scene.wire.listen(true)?;
    report.answer("when no Router listens", &got, "NO_RESPONDERS", 503);
    // The gateway's own word, which it says instead of asking, is 429 with a time to wait.
    scene.router(&[])?;
    say(scene, "active")?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer(
        "the gateway's own refusal under `active`",
        &got,
        "OVERLOADED",
        429,
    );
    report.equal("its class", &got.outcome.as_str(), &"rejected");
    report.must(
        (1..=5000).contains(&got.retry_after_ms),
        format_args!(
            "the time to wait is {} ms, of the Router's 5 s",
            got.retry_after_ms
        ),
    );
    let is_soon = got.elapsed_us < 1_000_000;
    report.must(
        is_soon,
        format_args!("it was told after {} us", got.elapsed_us),
    );
    relent(scene)
}

pub(crate) fn metrics(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let heard = statuses(scene, "yes")?;
    let turned_away = rejected(scene, "backpressure")?;
    let code = r#"code="OVERLOADED""#;
    let completed = scene.metric("ipcgw_completions_total", code)?;
    say(scene, "active")?;
    let (_, rejections, _) = offer(scene, report)?;
    say(scene, "inactive")?;
    let heard = statuses(scene, "yes")? - heard;
    report.must(
        heard >= 2,
        format_args!("ipcgw_backpressure_statuses_total grew by {heard}"),
    );
    let counted = rejected(scene, "backpressure")? - turned_away;
    report.equal(
        "ipcgw_overload_rejections_total{reason=\"backpressure\"} grew by a number that",
        &counted,
        &rejections,
    );
    let counted = scene.metric("ipcgw_completions_total", code)? - completed;
    report.equal(
        "ipcgw_completions_total{code=\"OVERLOADED\"} grew by a number that",
        &counted,
        &rejections,
    );
    report.equal("rejections that the client saw", &rejections, &200);
    let text = scene.running()?.metrics()?;
    report.must(text.ends_with("# EOF\n"), "the metrics are whole");
    scene.healthy()
}
