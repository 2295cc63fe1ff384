//! What a run leaves behind: where it ran, what was checked, and a page for people.

use std::fmt::Write as _;
use std::path::Path;

use ipc_tools::artifact::{self, Artifact};
use serde_json::{Value, json};

use crate::args::{Programs, Rate, SoakArgs};
use crate::charts;
use crate::evidence::Evidence;
use crate::progress::clock;
use crate::run::{Layout, Measured};
use crate::series::merged;
use crate::verdict::{Check, Verdict};

/// Makes the directory of a run of this kind.
pub(crate) fn begin(
    root: &Path,
    kind: &str,
    programs: &Programs,
    configuration: Value,
) -> std::io::Result<Artifact> {
    let mut named = artifact::Programs::find();
    named.gateway = programs.gateway().ok();
    named.nats_server = Some(programs.nats_server.clone());
    named.tool_revision = Some(env!("IPCGW_TOOL_REVISION").to_owned());
    Artifact::create_with(root, kind, &named, configuration)
}

/// Writes checks, page and verdict; returns the page and the verdict. What could not be written makes
/// one check more.
pub(crate) fn conclude(
    mut artifact: Artifact,
    evidence: &Evidence,
    mut checks: Vec<Check>,
    head: &str,
    tail: &str,
) -> (String, Verdict) {
    for check in &checks {
        if let Err(error) = artifact.check(&check.line()) {
            evidence.failed("checks.jsonl", error);
        }
    }
    let last = whole(evidence);
    if let Err(error) = artifact.check(&last.line()) {
        evidence.failed("checks.jsonl", error);
    }
    checks.push(last);
    let text = format!("{head}\n{tail}");
    if let Err(error) = artifact.finish(&text) {
        evidence.failed("verdict.json", error);
    }
    // Once more, with what has happened meanwhile, for whoever reads the page.
    checks.pop();
    checks.push(whole(evidence));
    let verdict = Verdict::worst(&checks);
    let page = format!("{head}\n{}\n{tail}", table(&checks, verdict));
    (page, verdict)
}

/// Whether everything could be written.
fn whole(evidence: &Evidence) -> Check {
    let required = "everything measured could be written";
    match evidence.failures() {
        (0, _) => Check::new("evidence.complete", Verdict::Pass, required, "it was"),
        (count, first) => {
            let first = first.unwrap_or_default();
            let text = format!("the evidence is incomplete: {count} failures, the first {first}");
            Check::new("evidence.complete", Verdict::Inconclusive, required, text)
        }
    }
}

fn table(checks: &[Check], verdict: Verdict) -> String {
    let mut text = format!("Verdict: **{verdict}**\n\n| Check | Verdict | Found | Required |\n");
    text.push_str("|---|---|---|---|\n");
    for check in checks {
        // Writing to a string does not fail.
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            check.name,
            check.verdict,
            cell(&check.found),
            cell(&check.required)
        )
        .ok();
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// Writes everything about a soak; returns the page and the verdict.
pub(crate) fn soak(
    found: &Measured,
    checks: Vec<Check>,
    args: &SoakArgs,
    evidence: &Evidence,
    artifact: Artifact,
) -> (String, Verdict) {
    let results = json!({
        "rate_as_given": args.rate.to_string(),
        "rate": found.rate,
        "duration_s": args.duration.0.as_secs_f64(),
        "capacity": found.capacity,
        "requests": found.series.total.sent,
        "completions": found.series.total.codes,
        "lost": found.series.total.lost,
        "with_killed_clients": found.killed.requests,
        "killed_clients": found.killed.clients,
        "healing": healing(found),
        "given_up": found.series.given_up,
        "refused": found.series.refused,
        "faulty": found.series.faulty,
        "router": found.ended.as_ref().map(|ended| ended.counts.as_str()),
    });
    evidence.write("results.json", format!("{results:#}\n"));
    let title = title(found, args);
    let png = evidence.directory().join("charts.png");
    match charts::draw(&found.series, &title, &png) {
        Ok(svg) => evidence.write("charts.svg", svg),
        Err(error) => evidence.failed("charts", std::io::Error::other(error)),
    }
    let (head, tail) = (head(found, args, &title), tail(found));
    conclude(artifact, evidence, checks, &head, &tail)
}

/// How long each fault took to heal once it was removed, and how long it may take, in seconds.
fn healing(found: &Measured) -> Vec<Value> {
    let healed = found.healed.iter();
    healed
        .map(|(fault, took)| {
            json!({
                "fault": fault.name(),
                "took_s": took.as_secs_f64(),
                "most_s": fault.heals_within().as_secs_f64(),
            })
        })
        .collect()
}

/// What a soak is told to do.
pub(crate) fn configuration(args: &SoakArgs, layout: &Layout) -> Value {
    let config = args.config.as_deref().map(std::fs::read_to_string);
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    json!({
        "seed": layout.seed,
        "faults": args.faults.name(),
        "duration_s": args.duration.0.as_secs_f64(),
        "rate": args.rate.to_string(),
        "quiesce_s": layout.quiesce.as_secs_f64(),
        "fault_every_s": layout.fault_every.as_secs_f64(),
        "measure_s": layout.measure.as_secs_f64(),
        "witness_rate": layout.witness_rate,
        "clients": args.clients,
        "window": args.window,
        "payload": args.payload,
        "timeout_s": args.timeout.0.as_secs_f64(),
        "gateway_config": config.and_then(Result::ok),
        "governor": std::fs::read_to_string(governor).ok(),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

fn title(found: &Measured, args: &SoakArgs) -> String {
    let rate = match (args.rate, found.rate) {
        (Rate::Percent(percent), Some(rate)) => format!("{rate}/s ({percent} % of capacity)"),
        (_, Some(rate)) => format!("{rate}/s"),
        (_, None) => "as many as they can".to_owned(),
    };
    format!(
        "ipc-soak {}, {} clients, {rate}, faults {}, seed {}",
        clock(args.duration.0),
        args.clients,
        args.faults.name(),
        found.layout.seed
    )
}

fn head(found: &Measured, args: &SoakArgs, title: &str) -> String {
    let sum = &found.series.total;
    let mut text = format!("## {title}\n\n");
    let codes = sum
        .codes
        .iter()
        .map(|(code, count)| format!("{code} {count}"));
    let codes = codes.collect::<Vec<_>>().join(", ");
    let latency = merged(found.series.rows.iter().map(|row| row.latencies.as_str()));
    let latency = latency.map_or_else(
        || "nothing was answered".to_owned(),
        |all| {
            let at = |quantile| all.value_at_quantile(quantile);
            format!(
                "p50 {} us, p99 {} us, p99.9 {} us, p99.99 {} us, most {} us",
                at(0.5),
                at(0.99),
                at(0.999),
                at(0.9999),
                all.max()
            )
        },
    );
    let resolved = found.rate.map_or_else(
        || "as many as they can".to_owned(),
        |rate| format!("{rate}/s"),
    );
    let capacity = found.capacity.map_or_else(String::new, |capacity| {
        format!(", of a capacity of {capacity:.0}/s")
    });
    writeln!(
        text,
        "- given: duration {} s, rate {}, faults {}; resolved: {resolved}\n- requests: {} in \
         {}{capacity}\n- completions: {codes}\n- without one: {} lost, {} with {} clients that were \
         killed\n- not submitted: {} given up because the window was full, {} refused because the \
         gateway was gone, {} because the client library took them for wrong\n- latency from the \
         intended send time: {latency}\n- messages of {} bytes, {} in flight at most for each \
         client\n- of memory RssAnon is judged, which is heap and stacks, and what is allocated at \
         rest; RSS, PSS and RssShmem, which sessions and files are part of, are shown beside it\n",
        args.duration.0.as_secs_f64(),
        args.rate,
        args.faults.name(),
        sum.sent,
        clock(args.duration.0),
        sum.lost,
        found.killed.requests,
        found.killed.clients,
        found.series.given_up,
        found.series.refused,
        found.series.faulty,
        args.payload,
        args.window
    )
    .ok();
    text.push_str("![charts](charts.svg)\n");
    text
}

fn tail(found: &Measured) -> String {
    let mut text =
        "| Quiescent point | Resident (RSS) | RssAnon | RssShmem | Allocated | Descriptors | \
                    Threads | Mappings | Accepted |\n|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for point in &found.points {
        let rest = &point.at_rest;
        let allocated = point.allocated.map_or_else(
            || "not counted".to_owned(),
            |bytes| format!("{bytes} bytes"),
        );
        writeln!(
            text,
            "| {} s | {} KiB | {} KiB | {} KiB | {} | {} | {} | {} | {} |",
            point.second,
            point.resident >> 10,
            point.anonymous >> 10,
            point.shared >> 10,
            allocated,
            rest.descriptors,
            rest.threads,
            rest.mappings,
            point.accepted
        )
        .ok();
    }
    text.push_str(
        "\nFiles: environment.json, results.json, checks.jsonl, verdict.json, metrics.csv (1 Hz), latency.hlog and \
         generator-lag.hlog (HdrHistogram, microseconds), quiescent.jsonl, charts.svg and .png, \
         logs of each process.\n",
    );
    text
}
