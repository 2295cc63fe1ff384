//! The run: which checks, in what order, and what is left of them.

use std::io::{self, Write as _};
use std::time::Instant;

use ipc_tools::artifact::{Artifact, Check, Programs, Verdict};
use ipc_tools::stage::{Failure, Report, While as _};
use serde_json::{Value, json};

use crate::args::{Args, RouterKind};
use crate::catalogue::{self, Item, Needs};
use crate::scene::{Scene, configuration};
use crate::slo;

/// Runs; returns what came out.
pub(crate) fn run(args: &Args, chosen: &[Item], levels: bool) -> Result<Verdict, Failure> {
    let programs = programs(args);
    let mut artifact = Artifact::create_with(&args.artifacts, "e2e", &programs, settings(args))
        .or_say("the evidence cannot be written")?;
    progress(&format!("evidence goes to {}", artifact.path().display()));
    let began = Instant::now();
    let mut scene = Scene::set(args, &programs, &artifact)?;
    let all = chosen.len() + if levels { catalogue::LEVELS.len() } else { 0 };
    for item in chosen {
        let since = Instant::now();
        let check = make(&mut scene, item);
        keep(&mut artifact, &check, all, since)?;
    }
    if levels {
        let since = Instant::now();
        progress(&format!(
            "measuring the service levels for {} s",
            args.slo_seconds
        ));
        for check in slo::measure(&mut scene, args) {
            keep(&mut artifact, &check, all, since)?;
        }
    }
    let (not_kept, error) = scene.wire.losses();
    if let Some(error) = error {
        return Err(Failure::new(format_args!(
            "wire.jsonl is not whole: {error}"
        )));
    }
    drop(scene);
    let summary = summary(args, &artifact, not_kept, began);
    let path = artifact.path().to_owned();
    let verdict = artifact.finish(&summary).or_say("the evidence")?;
    progress(&format!(
        "{verdict} after {:.1} s; see {}",
        began.elapsed().as_secs_f64(),
        path.join("SUMMARY.md").display()
    ));
    Ok(verdict)
}

/// Makes a check on a stage that is well.
fn make(scene: &mut Scene, item: &Item) -> Check {
    let id = item.id();
    let who = (id.as_str(), item.category, item.name);
    let mut report = Report::default();
    if let (Needs::Reference(what), true) = (item.needs, scene.is_external()) {
        let text = format!("not tried: an external Router cannot be told {what}");
        return report.check(who, Err(Failure::new(text)));
    }
    let mut ready = || {
        scene.wire.begin(&id);
        scene.router(&[])?;
        scene.gateway(item.category)?;
        scene.healthy()
    };
    if let Err(failure) = ready() {
        let text = format!("the stage is not ready: {failure}");
        return report.check(who, Err(Failure::new(text)));
    }
    let ended = (item.make)(scene, &mut report);
    // Asked once: the answer about one that has ended makes room for a new one.
    let runs = scene.gateway(item.category).is_ok();
    report.must(runs, "the gateway still runs afterwards");
    recover(scene, item.category);
    report.check(who, ended)
}

/// Undoes what a check that broke off may have left.
fn recover(scene: &mut Scene, category: &str) {
    let mut undo = || {
        if category == "reconnect" {
            scene.proxy()?.order("pass")?;
        }
        if let Some(server) = &mut scene.server
            && server.pid().is_none()
        {
            server.restart()?;
            scene.end_router()?;
        }
        Ok::<(), Failure>(())
    };
    // What is not undone shows in the next check.
    undo().ok();
}

/// Writes a check and says so.
fn keep(artifact: &mut Artifact, check: &Check, all: usize, since: Instant) -> Result<(), Failure> {
    artifact
        .check(check)
        .or_say("the evidence cannot be written")?;
    let verdict = match check.verdict {
        Verdict::Pass => "ok  ",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "??? ",
    };
    let done = artifact.checks().len();
    let mut line = format!(
        "{done:>2}/{all} {verdict} {:<15} {} ({:.1} s)",
        check.id,
        check.name,
        since.elapsed().as_secs_f64()
    );
    if check.verdict != Verdict::Pass {
        line.push_str(": ");
        line.push_str(&check.seen());
    }
    progress(&line);
    Ok(())
}

fn programs(args: &Args) -> Programs {
    match &args.bin_dir {
        Some(dir) => Programs::find_in(Some(dir)),
        None => Programs::find(),
    }
}

/// What the run was told, without passwords.
fn settings(args: &Args) -> Value {
    let server = args.nats.as_deref().map(|url| {
        let host = url.rsplit('@').next().unwrap_or_default();
        host.trim_start_matches("nats://").to_owned()
    });
    let router = match args.router {
        RouterKind::Reference => "reference",
        RouterKind::External => "external",
    };
    let gateways: serde_json::Map<String, Value> = [
        "subjects",
        "errors",
        "timeouts",
        "reconnect",
        "backpressure",
        "slo",
    ]
    .into_iter()
    .map(|category| (category.to_owned(), configuration(category).into()))
    .collect();
    json!({
        "router": router, "server": server, "tenant": args.tenant,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "categories": args.category, "checks": args.check,
        "slo": {"rate": args.slo_rate, "seconds": args.slo_seconds},
        "gateway": gateways,
    })
}

fn summary(args: &Args, artifact: &Artifact, not_kept: u64, began: Instant) -> String {
    let router = match args.router {
        RouterKind::Reference => "the reference Router",
        RouterKind::External => "an external Router",
    };
    let mut text = format!(
        "{} checks against {router}, in {:.1} s. `checks.jsonl` has for each what was seen: single \
         requests with what they got, flows of requests as counts by code, and messages on the wire \
         where the check looks at them, as most of the subjects and backpressure.1 do; \
         `wire.jsonl` has every message that crossed the server, by check ({not_kept} more than are \
         kept of one check were only counted), \
         `logs/` what each process said, and `resources.csv` memory, descriptors and threads over \
         time.\n",
        artifact.checks().len(),
        began.elapsed().as_secs_f64(),
    );
    for check in artifact.checks() {
        if check.verdict != Verdict::Pass {
            text.push_str(&format_line(check));
        }
    }
    text
}

fn format_line(check: &Check) -> String {
    format!("\n- {} {}: {}", check.id, check.verdict, check.seen())
}

/// Says what is being done.
pub(crate) fn progress(what: &str) {
    // Nobody is left to tell when standard error is closed.
    writeln!(io::stderr(), "{what}").ok();
}
