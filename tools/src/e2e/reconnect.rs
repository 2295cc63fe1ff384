//! Category 4: connections that are lost, and what comes of requests meanwhile. A proxy between the
//! gateway and the server cuts them.

use core::time::Duration;
use std::time::Instant;

use ipc_tools::stage::{Failure, FlowReport, Report, eventually, pause};

use crate::scene::{CONNECTIONS, SOON, Scene};
use crate::timeouts::balance;

/// Cycles of the storm.
const CYCLES: u64 = 10;
/// Requests in flight when connections are reset.
const IN_FLIGHT: u64 = 100;
/// Longest time from a reset until all that was in flight is told: far less than the 5 s that each has,
/// and what a busy machine may take.
const TOLD: Duration = Duration::from_secs(2);
/// Longest time from when the server is there again until a request is answered.
const RESUMED: Duration = Duration::from_secs(10);
/// Codes that say plainly that a request may have been lost, or was not sent.
const EXPLICIT: [&str; 7] = [
    "OK",
    "UPSTREAM_LOST",
    "UPSTREAM_DOWN",
    "TIMEOUT",
    "EXPIRED_UNSENT",
    "OVERLOADED",
    "NO_RESPONDERS",
];

fn disconnects(scene: &Scene) -> Result<u64, Failure> {
    scene.metric("ipcgw_nats_disconnects_total", "")
}

/// Cuts every connection in this way; returns when the gateway has noticed.
fn cut(scene: &mut Scene, how: &str) -> Result<(), Failure> {
    let before = disconnects(scene)?;
    scene.proxy()?.order(how)?;
    eventually(SOON, "the gateway notices the cut", || {
        Ok(disconnects(scene)? >= before + CONNECTIONS)
    })?;
    Ok(())
}

/// Each completion is one that says what became of the request.
fn explicit(report: &mut Report, flow: &FlowReport) {
    report.whole(flow);
    let other: Vec<&String> = flow
        .codes
        .keys()
        .filter(|code| !EXPLICIT.contains(&code.as_str()))
        .collect();
    let codes = &flow.codes;
    report.must(
        other.is_empty(),
        format_args!("every code says what became: {codes:?}"),
    );
    report.must(
        flow.latest_ms < 1000,
        format_args!(
            "the latest completion came {} ms after its deadline",
            flow.latest_ms
        ),
    );
}

pub(crate) fn once(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let connects = scene.metric("ipcgw_nats_connects_total", "")?;
    cut(scene, "drop")?;
    let took = scene.until_connected()?;
    report.must(
        true,
        format_args!("both connections are up again after {took:?}"),
    );
    let more = scene.metric("ipcgw_nats_connects_total", "")? - connects;
    report.must(
        more >= CONNECTIONS,
        format_args!("{more} connections were made anew"),
    );
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a request afterwards", &got, "OK", 200);
    Ok(())
}

pub(crate) fn in_flight(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    // With an external Router requests are answered sooner, and fewer are in flight.
    scene.router(&["--delay", "800ms"])?;
    let mut client = scene.start_client(256)?;
    let external = scene.is_external();
    let flow = match external {
        false => scene.flow(Some(IN_FLIGHT)).window(100).timeout_ms(5000),
        true => scene.flow(None).window(100).timeout_ms(3000),
    };
    client.begin(flow)?;
    let published = scene.metric("ipcgw_nats_published_total", "")?;
    eventually(SOON, "requests are in flight", || {
        let sent = scene.metric("ipcgw_nats_published_total", "")?;
        let now = scene.metric("ipcgw_in_flight", "")?;
        Ok(if external {
            sent > published
        } else {
            now >= IN_FLIGHT
        })
    })?;
    let since = Instant::now();
    cut(scene, "reset")?;
    let done = if external {
        client.stop()?
    } else {
        client.join()?
    };
    explicit(report, &done);
    if !external {
        told(report, &done, since.elapsed());
    }
    scene.until_connected()?;
    scene.healthy()?;
    balance(scene, report)
}

/// What was in flight when both connections were reset was told so, at once: the gateway knows of their
/// end, and a request that has to wait for its deadline was forgotten.
fn told(report: &mut Report, flow: &FlowReport, took: Duration) {
    let lost = flow.code("UPSTREAM_LOST");
    report.must(
        lost > 0,
        format_args!("{lost} of {IN_FLIGHT} in flight were told of the loss"),
    );
    for code in ["TIMEOUT", "EXPIRED_UNSENT"] {
        let found = flow.code(code);
        report.equal(
            format_args!("{code} of requests whose connection was reset"),
            &found,
            &0,
        );
    }
    report.must(
        took < TOLD,
        format_args!("all had ended {took:?} after the reset, of at most {TOLD:?}"),
    );
}

pub(crate) fn storm(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let pid = scene.running()?.pid();
    let mut clients = [scene.start_client(256)?, scene.start_client(256)?];
    for client in &mut clients {
        let flow = scene.flow(None).window(64).rate(200.0).timeout_ms(1000);
        client.begin(flow)?;
    }
    let lost = disconnects(scene)?;
    for cycle in 0..CYCLES {
        scene.proxy()?.order("refuse")?;
        cut(scene, if cycle % 2 == 0 { "reset" } else { "drop" })?;
        pause(Duration::from_millis(60 + cycle * 20));
        scene.proxy()?.order("pass")?;
        scene.until_connected()?;
        pause(Duration::from_millis(50));
    }
    let lost = disconnects(scene)? - lost;
    report.must(
        lost >= CYCLES * CONNECTIONS,
        format_args!("{lost} connections were lost in {CYCLES} cycles"),
    );
    for client in &mut clients {
        let done = client.stop()?;
        explicit(report, &done);
        report.must(
            done.code("OK") > 0,
            format_args!("{} were answered", done.code("OK")),
        );
    }
    scene.healthy()?;
    let found = scene.gateway("reconnect")?.pid();
    report.equal("process of the gateway", &found, &pid);
    balance(scene, report)
}

/// Cuts every connection so often.
fn cycles(scene: &mut Scene, count: u64) -> Result<(), Failure> {
    for _ in 0..count {
        cut(scene, "reset")?;
        scene.until_connected()?;
    }
    scene.healthy()
}

pub(crate) fn no_leak(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    // The first cycle makes what is made once.
    cycles(scene, 1)?;
    let before = scene.resources()?;
    cycles(scene, CYCLES)?;
    // Descriptors of the last connections may be closed a moment later.
    let settled = eventually(Duration::from_secs(5), "descriptors", || {
        Ok(scene.resources()?.fds <= before.fds)
    });
    let after = scene.resources()?;
    report.must(
        settled.is_ok(),
        format_args!(
            "descriptors: {} before, {} after {CYCLES} cycles",
            before.fds, after.fds
        ),
    );
    report.equal("threads", &after.threads, &before.threads);
    let open = eventually(Duration::from_secs(5), "connections", || {
        Ok(scene.proxy()?.open()? == CONNECTIONS)
    });
    let found = scene.proxy()?.open()?;
    report.must(
        open.is_ok(),
        format_args!("{found} connections are open at the server's side"),
    );
    Ok(())
}

pub(crate) fn pool_size(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let before = scene.metric("ipcgw_nats_connected", "")?;
    report.equal("connections before", &before, &CONNECTIONS);
    scene.proxy()?.order("refuse")?;
    cut(scene, "drop")?;
    eventually(SOON, "the pool is empty", || {
        Ok(scene.metric("ipcgw_nats_connected", "")? == 0)
    })?;
    report.must(true, "0 connections while the server refuses");
    scene.proxy()?.order("pass")?;
    let took = scene.until_connected()?;
    let after = scene.metric("ipcgw_nats_connected", "")?;
    report.equal(
        format_args!("connections {took:?} later"),
        &after,
        &CONNECTIONS,
    );
    // Both of them are used.
    let flow = scene.flow(Some(200));
    let done = scene.send(report, flow)?;
    report.equal("answered", &done.code("OK"), &200);
    Ok(())
}

pub(crate) fn failed_attempts(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let pid = scene.running()?.pid();
    let failures = scene.metric("ipcgw_nats_connect_failures_total", "")?;
    scene.proxy()?.order("refuse")?;
    cut(scene, "drop")?;
    eventually(SOON, "three attempts to connect fail", || {
        Ok(scene.metric("ipcgw_nats_connect_failures_total", "")? >= failures + 3)
    })?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a request meanwhile", &got, "UPSTREAM_DOWN", 503);
    report.equal("the class", &got.outcome.as_str(), &"rejected");
    let is_soon = got.elapsed_us < 2_000_000;
    report.must(
        is_soon,
        format_args!("it was told after {} us", got.elapsed_us),
    );
    let failed = scene.metric("ipcgw_nats_connect_failures_total", "")? - failures;
    report.must(failed >= 3, format_args!("{failed} attempts failed"));
    let found = scene.gateway("reconnect")?.pid();
    report.equal("process of the gateway", &found, &pid);
    scene.proxy()?.order("pass")?;
    scene.until_connected()?;
    scene.healthy()
}

pub(crate) fn resume(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    match &mut scene.server {
        // The server itself ends.
        Some(server) => server.kill(),
        None => {
            scene.proxy()?.order("refuse")?;
            cut(scene, "drop")?;
        }
    }
    eventually(SOON, "the pool is empty", || {
        Ok(scene.metric("ipcgw_nats_connected", "")? == 0)
    })?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a request without a server", &got, "UPSTREAM_DOWN", 503);
    match &mut scene.server {
        Some(server) => {
            server.restart()?;
            // The Router too has lost its connection; a new one is ready sooner.
            scene.end_router()?;
            scene.router(&[])?;
        }
        None => drop(scene.proxy()?.order("pass")?),
    }
    let back = Instant::now();
    let mut tries = 0;
    eventually(RESUMED, "a request is answered", || {
        tries += 1;
        let id = scene.id();
        let ask = scene.ask(&id).timeout_ms(2000);
        Ok(scene.client()?.call(ask)?.code == "OK")
    })?;
    let took = back.elapsed();
    report.must(
        true,
        format_args!("a request is answered after {took:?}, at try {tries}"),
    );
    scene.until_connected()?;
    let flow = scene.flow(Some(500));
    let done = scene.send(report, flow)?;
    report.equal("answered", &done.code("OK"), &500);
    scene.wire.settle()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong about requests in flight that ended with these codes after this time.
    fn wrong(codes: &[(&str, u64)], took: Duration) -> String {
        let mut flow = FlowReport::default();
        for (code, count) in codes {
            flow.codes.insert((*code).to_owned(), *count);
        }
        let mut report = Report::default();
        told(&mut report, &flow, took);
        let check = report.check(("a.1", "a", "n"), Ok(()));
        match check.verdict {
            ipc_tools::artifact::Verdict::Pass => String::new(),
            _ => check.seen(),
        }
    }

    #[test]
    fn a_connection_whose_requests_wait_for_their_deadline_is_found_out() {
        let soon = Duration::from_millis(100);
        assert_eq!(wrong(&[("UPSTREAM_LOST", 100)], soon), "");
        assert_eq!(wrong(&[("UPSTREAM_LOST", 98), ("OK", 2)], soon), "");
        let half = wrong(&[("UPSTREAM_LOST", 50), ("TIMEOUT", 50)], soon);
        assert!(half.contains("was reset is 50, not 0"), "{half}");
        let late = wrong(&[("UPSTREAM_LOST", 100)], Duration::from_secs(4));
        assert!(late.contains("all had ended 4s after the reset"), "{late}");
        assert!(wrong(&[("OK", 100)], soon).contains("0 of 100 in flight"));
    }
}
