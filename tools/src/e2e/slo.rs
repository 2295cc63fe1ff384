//! The service levels, at a moderate load that does not wait for answers.

use core::time::Duration;

use ipc_tools::artifact::{Check, Verdict};
use ipc_tools::stage::{Client, Failure, FlowReport, Latency, pause};
use serde_json::json;

use crate::args::Args;
use crate::scene::Scene;

/// Their names.
pub(crate) const LEVELS: [&str; 4] = ["p50", "p99", "p999", "success"];
/// Longest median, 99th and 99.9th percentile, in microseconds.
const MOST_US: [u64; 3] = [10_000, 50_000, 100_000];
/// Client processes.
const CLIENTS: u8 = 2;
/// Requests that prove 99.9 %.
const ENOUGH: u64 = 1000;

/// Measures; one check for each of [`LEVELS`]. Nothing is recorded on the wire meanwhile: that
/// would be load of its own.
pub(crate) fn measure(scene: &mut Scene, args: &Args) -> Vec<Check> {
    match flows(scene, args) {
        Ok(flows) => checks(&flows, args),
        Err(failure) => LEVELS
            .iter()
            .map(|level| check(level, false, json!({"seen": failure.to_string()})))
            .collect(),
    }
}

fn flows(scene: &mut Scene, args: &Args) -> Result<Vec<FlowReport>, Failure> {
    scene.wire.listen(false)?;
    scene.router(&[])?;
    scene.gateway("slo")?;
    scene.healthy()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(scene.start_client(1024)?);
    }
    // The first second warms up and does not count.
    round(scene, &mut clients, args.slo_rate, 1)?;
    round(scene, &mut clients, args.slo_rate, args.slo_seconds)
}

/// Sends so many requests a second, shared by the clients, for so many seconds.
fn round(
    scene: &mut Scene,
    clients: &mut [Client],
    rate: f64,
    seconds: u64,
) -> Result<Vec<FlowReport>, Failure> {
    for client in &mut *clients {
        let flow = scene.flow(None).window(1024).timeout_ms(5000);
        client.begin(flow.rate(rate / f64::from(CLIENTS)))?;
    }
    pause(Duration::from_secs(seconds));
    clients.iter_mut().map(Client::stop).collect()
}

fn checks(flows: &[FlowReport], args: &Args) -> Vec<Check> {
    let sum = |of: fn(&FlowReport) -> u64| flows.iter().map(of).sum::<u64>();
    let (sent, ok) = (sum(|f| f.sent) + sum(|f| f.refused), sum(|f| f.code("OK")));
    let whole = flows.iter().all(FlowReport::is_whole);
    let worst = |of: fn(&Latency) -> u64| flows.iter().map(|f| of(&f.latency_us)).max();
    let latencies = [worst(|l| l.p50), worst(|l| l.p99), worst(|l| l.p999)];
    let evidence = |seen: String| {
        json!({
            "seen": seen, "rate": args.slo_rate, "seconds": args.slo_seconds, "clients": flows,
        })
    };
    let mut checks: Vec<Check> = LEVELS
        .iter()
        .zip(latencies)
        .zip(MOST_US)
        .map(|((level, us), most)| {
            let us = us.unwrap_or(u64::MAX);
            let seen = format!(
                "{us} us at {} requests/s, below {most} us wanted; of {ok} answers",
                args.slo_rate
            );
            check(level, ok > 0 && us < most, evidence(seen))
        })
        .collect();
    let is_right = whole && sent >= ENOUGH && (sent - ok) * 1000 < sent;
    let seen = format!("{ok} of {sent} answered OK, more than 99.9 % wanted");
    let verdict = if sent < ENOUGH && whole && ok == sent {
        Verdict::Inconclusive
    } else {
        Verdict::from(is_right)
    };
    let mut success = check("success", false, evidence(seen));
    success.verdict = verdict;
    checks.push(success);
    checks
}

fn check(level: &str, is_right: bool, detail: serde_json::Value) -> Check {
    let name = match level {
        "success" => "more than 99.9 % of requests succeed".to_owned(),
        "p50" => "the median latency is below 10 ms".to_owned(),
        "p99" => "the 99th percentile is below 50 ms".to_owned(),
        _ => "the 99.9th percentile is below 100 ms".to_owned(),
    };
    Check::new(format!("slo.{level}"), "slo", name, Verdict::from(is_right)).detail(detail)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn flow(ok: u64, timeouts: u64, p50: u64) -> FlowReport {
        let mut flow = FlowReport::default();
        flow.sent = ok + timeouts;
        flow.completed = flow.sent;
        flow.codes.insert("OK".to_owned(), ok);
        flow.codes.insert("TIMEOUT".to_owned(), timeouts);
        flow.latency_us.p50 = p50;
        flow
    }

    fn verdicts(flows: &[FlowReport]) -> Vec<Verdict> {
        let args = Args::try_parse_from(["e2e"]).unwrap();
        checks(flows, &args).iter().map(|c| c.verdict).collect()
    }

    #[test]
    fn each_level_can_fail() {
        use Verdict::{Fail, Inconclusive, Pass};
        assert_eq!(verdicts(&[flow(10_000, 9, 9_999)]), [Pass; 4]);
        assert_eq!(
            verdicts(&[flow(10_000, 0, 1), flow(10_000, 0, 10_000)]),
            [Fail, Pass, Pass, Pass]
        );
        assert_eq!(verdicts(&[flow(10_000, 11, 1)])[3], Fail);
        assert_eq!(verdicts(&[flow(999, 0, 1)])[3], Inconclusive);
        assert_eq!(verdicts(&[flow(0, 0, 0)])[..3], [Fail; 3]);
    }
}
