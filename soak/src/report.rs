//! What a run leaves behind: where it ran, what was checked, and a page for people.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::args::{Programs, Rate, SoakArgs};
use crate::charts;
use crate::evidence::Evidence;
use crate::progress::clock;
use crate::run::Measured;
use crate::series::merged;
use crate::verdict::{Check, Verdict};

/// Where it runs.
pub(crate) fn environment(programs: &Programs, more: Value) -> Value {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let gateway = programs.gateway().unwrap_or_default();
    let mut value = json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu": model.map(|(_, model)| model),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory": read("/proc/meminfo").lines().next().unwrap_or_default(),
        "revision": said("git", &["rev-parse", "HEAD"]),
        "modified": !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty(),
        "rustc": said("rustc", &["--version"]),
        "nats_server": said(&programs.nats_server.display().to_string(), &["--version"]),
        "gateway": said(&gateway.display().to_string(), &["--version"]),
        "gateway_path": gateway,
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "command": std::env::args().collect::<Vec<_>>(),
        "time": humantime::format_rfc3339_seconds(crate::evidence::now()).to_string(),
    });
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) {
        all.extend(more);
    }
    value
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Writes checks and verdict, and the page that begins with `head` and ends with `tail`; returns the
/// page and the verdict. What could not be written makes one check more.
pub(crate) fn conclude(
    evidence: &Evidence,
    mut checks: Vec<Check>,
    head: &str,
    tail: &str,
) -> (String, Verdict) {
    let lines = |checks: &[Check]| -> String {
        let lines = checks
            .iter()
            .filter_map(|check| serde_json::to_string(check).ok());
        lines.map(|line| line + "\n").collect()
    };
    // Once, so that this too is known to be written or not.
    evidence.write("checks.jsonl", lines(&checks));
    checks.push(whole(evidence));
    let verdict = Verdict::worst(&checks);
    let page = format!("{head}\n{}\n{tail}", table(&checks, verdict));
    evidence.write("checks.jsonl", lines(&checks));
    let summary = json!({
        "verdict": verdict,
        "checks": checks.len(),
        "failed": names(&checks, Verdict::Fail),
        "inconclusive": names(&checks, Verdict::Inconclusive),
    });
    evidence.write("verdict.json", format!("{summary:#}\n"));
    evidence.write("SUMMARY.md", &page);
    (page, verdict)
}

fn names(checks: &[Check], verdict: Verdict) -> Vec<&'static str> {
    let of_it = checks.iter().filter(|check| check.verdict == verdict);
    of_it.map(|check| check.name).collect()
}

/// Whether everything could be written.
fn whole(evidence: &Evidence) -> Check {
    let required = "everything measured could be written";
    match evidence.failures() {
        (0, _) => Check::new("evidence", Verdict::Pass, required, "it was"),
        (count, first) => {
            let first = first.unwrap_or_default();
            let text = format!("the evidence is incomplete: {count} failures, the first {first}");
            Check::new("evidence", Verdict::Inconclusive, required, text)
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
) -> (String, Verdict) {
    let seed = found.layout.seed;
    let settings = json!({
        "seed": seed,
        "faults": args.faults.name(),
        "duration_s": args.duration.0.as_secs_f64(),
        "clients": args.clients,
        "window": args.window,
        "payload": args.payload,
        "timeout_s": args.timeout.0.as_secs_f64(),
        "rate": found.rate,
        "capacity": found.capacity,
        "config": args.config.as_deref().map(read_config),
        "router": found.ended.as_ref().map(|ended| ended.counts.as_str()),
    });
    let environment = environment(&args.programs, settings);
    evidence.write("environment.json", format!("{environment:#}\n"));
    let title = title(found, args);
    let png = evidence.directory().join("charts.png");
    match charts::draw(&found.series, &title, &png) {
        Ok(svg) => evidence.write("charts.svg", svg),
        Err(error) => evidence.failed("charts", std::io::Error::other(error)),
    }
    conclude(evidence, checks, &head(found, args, &title), &tail(found))
}

fn read_config(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
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
    let mut text = format!("# {title}\n\n");
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
    let capacity = found.capacity.map_or_else(String::new, |capacity| {
        format!(", of a capacity of {capacity:.0}/s")
    });
    writeln!(
        text,
        "- requests: {} in {}{capacity}\n- completions: {codes}\n- not submitted: {} given up \
         because the window was full, {} refused because the gateway was gone\n- latency from the \
         intended send time: {latency}\n- messages of {} bytes, {} in flight at most for each \
         client\n",
        sum.sent,
        clock(args.duration.0),
        found.series.given_up,
        found.series.refused,
        args.payload,
        args.window
    )
    .ok();
    text.push_str("![charts](charts.svg)\n");
    text
}

fn tail(found: &Measured) -> String {
    let mut text = "| Quiescent point | Resident | Descriptors | Threads | Mappings | Accepted |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    for point in &found.points {
        let rest = &point.at_rest;
        writeln!(
            text,
            "| {} s | {} KiB | {} | {} | {} | {} |",
            point.second,
            point.resident >> 10,
            rest.descriptors,
            rest.threads,
            rest.mappings,
            point.accepted
        )
        .ok();
    }
    text.push_str(
        "\nFiles: environment.json, checks.jsonl, verdict.json, metrics.csv (1 Hz), latency.hlog and \
         generator-lag.hlog (HdrHistogram, microseconds), quiescent.jsonl, charts.svg and .png, \
         logs of each process.\n",
    );
    text
}
