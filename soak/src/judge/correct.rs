//! Requests, completions, books, quiescent points.

use ipc_ringbuf::Code;

use crate::args::{Level, SoakArgs};
use crate::run::Measured;
use crate::verdict::{Check, Verdict};

/// Part of the requests that must be answered OK while nothing is broken.
const SUCCESS: f64 = 0.999;

/// The checks.
pub(super) fn checks(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    let mut checks = vec![
        complete(found),
        ledger(found),
        outcomes(found, args),
        deadlines(found),
        books(found),
        quiescent(found),
        witness(found),
        ends(found),
    ];
    if args.faults == Level::None {
        checks.push(same_books(found));
    } else {
        checks.push(recovery(found));
    }
    checks
}

/// Whether it went on to its end.
fn complete(found: &Measured) -> Check {
    let (verdict, text) = match (&found.broken, found.interrupted) {
        (Some(error), _) => (Verdict::Fail, error.clone()),
        (None, true) => (Verdict::Inconclusive, "it was interrupted".to_owned()),
        (None, false) => (Verdict::Pass, "it did".to_owned()),
    };
    Check::new(
        "correct.complete",
        verdict,
        "the run goes on to its end",
        text,
    )
}

fn ledger(found: &Measured) -> Check {
    let sum = &found.series.total;
    let holds = sum.lost == 0 && sum.repeated == 0 && sum.mixed_up == 0;
    let verdict = if sum.sent == 0 {
        Verdict::Inconclusive
    } else {
        Verdict::of(holds)
    };
    let text = format!(
        "of {} requests {} never completed, {} completed twice, {} with another's reply",
        sum.sent, sum.lost, sum.repeated, sum.mixed_up
    );
    let required = "each accepted request completes exactly once, with its own reply";
    Check::new("correct.ledger", verdict, required, text)
}

/// Codes that may occur.
fn legal(args: &SoakArgs) -> &'static [Code] {
    match args.faults {
        Level::None if args.rate == crate::args::Rate::Max => &[Code::Ok, Code::Overloaded],
        Level::None => &[Code::Ok],
        Level::Light => &[Code::Ok, Code::Timeout],
        Level::Storm => &[
            Code::Ok,
            Code::Timeout,
            Code::NoResponders,
            Code::UpstreamLost,
            Code::UpstreamDown,
            Code::ExpiredUnsent,
            Code::Overloaded,
            Code::Draining,
            Code::GatewayRestarted,
        ],
    }
}

fn outcomes(found: &Measured, args: &SoakArgs) -> Check {
    let legal: Vec<&str> = legal(args).iter().map(|code| code.name()).collect();
    let codes = &found.series.total.codes;
    let illegal = codes.keys().any(|code| !legal.contains(&code.as_str()));
    let text = codes.iter().map(|(code, count)| format!("{code} {count}"));
    let required = format!("no completions but {}", legal.join(", "));
    let text = text.collect::<Vec<_>>().join(", ");
    Check::new("correct.outcomes", Verdict::of(!illegal), required, text)
}

fn deadlines(found: &Measured) -> Check {
    let overdue = found.series.total.overdue;
    let required = "no completion 250 ms or more after its deadline, by the gateway's clock";
    let text = format!("{overdue} were");
    Check::new(
        "correct.deadlines",
        Verdict::of(overdue == 0),
        required,
        text,
    )
}

fn books(found: &Measured) -> Check {
    let wrong = found.points.iter().find(|point| !point.balanced);
    let (verdict, text) = match (wrong, found.points.len()) {
        (Some(point), _) => {
            let (accepted, completed) = (point.accepted, point.completed);
            let abandoned = point.abandoned;
            let second = point.second;
            let text = format!(
                "at {second} s {accepted} accepted, {completed} completed, {abandoned} abandoned"
            );
            (Verdict::Fail, text)
        }
        (None, 0) => (Verdict::Inconclusive, "there was no point".to_owned()),
        (None, count) => (Verdict::Pass, format!("they did at {count} points")),
    };
    let required = "at each quiescent point the books balance";
    Check::new("correct.books", verdict, required, text)
}

/// The books say what the clients say. Only where no client was killed.
fn same_books(found: &Measured) -> Check {
    let required = "the gateway's completions are the clients'";
    let (Some(zero), Some(last)) = (&found.zero, found.points.last()) else {
        return Check::new(
            "correct.same-books",
            Verdict::Inconclusive,
            required,
            "there was no point",
        );
    };
    let codes = &found.series.total.codes;
    let differing: Vec<String> = last
        .codes
        .iter()
        .map(|(code, count)| {
            let before = zero.codes.get(code).copied().unwrap_or(0);
            (code, count - before, codes.get(code).copied().unwrap_or(0))
        })
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(code, theirs, ours)| format!("{code} {theirs} in the books, {ours} at the clients"))
        .collect();
    let text = if differing.is_empty() {
        format!("{} of both", found.series.total.completed())
    } else {
        differing.join("; ")
    };
    Check::new(
        "correct.same-books",
        Verdict::of(differing.is_empty()),
        required,
        text,
    )
}

fn quiescent(found: &Measured) -> Check {
    let required = "at each quiescent point exactly what was there at the first";
    let Some(first) = found.points.first() else {
        return Check::new(
            "correct.quiescent",
            Verdict::Inconclusive,
            required,
            "there was none",
        );
    };
    let mut wrong = Vec::new();
    for point in &found.points {
        let mut what = point.at_rest.differs(&first.at_rest);
        if !point.drained {
            what.push("clients that did not come to rest".to_owned());
        }
        if !what.is_empty() {
            wrong.push(format!("at {} s {}", point.second, what.join(", ")));
        }
    }
    let (verdict, text) = match (wrong.is_empty(), found.points.len()) {
        (false, _) => (Verdict::Fail, wrong.join("; ")),
        (true, 1) => (Verdict::Inconclusive, "there was only one".to_owned()),
        (true, count) => {
            let rest = &first.at_rest;
            let text = format!(
                "the same at {count} points: {} descriptors, {} threads, {} mappings, {} sessions, \
                 nothing in flight, no timers",
                rest.descriptors, rest.threads, rest.mappings, rest.sessions
            );
            (Verdict::Pass, text)
        }
    };
    Check::new("correct.quiescent", verdict, required, text)
}

fn witness(found: &Measured) -> Check {
    let required = "what the witness asked and was told is what the Router received";
    let (verdict, text) = match &found.witness {
        Err(error) => (Verdict::Inconclusive, error.clone()),
        Ok(verdict) if verdict.submitted == 0 => {
            (Verdict::Inconclusive, "it asked nothing".to_owned())
        }
        Ok(verdict) => (Verdict::of(verdict.holds()), verdict.to_string()),
    };
    Check::new("correct.witness", verdict, required, text)
}

fn ends(found: &Measured) -> Check {
    let required = "gateway and clients end in order, and nothing panics";
    let (Some(ended), Some((clients, count))) = (&found.ended, found.clients) else {
        return Check::new("correct.ends", Verdict::Fail, required, "they did not end");
    };
    let ok = found.series.total.count(Code::Ok);
    let received = ended.received;
    let holds = ended.in_order && ended.panics == 0 && clients == count && (received >= ok);
    let text = format!(
        "gateway {}, {} panics, {clients} of {count} clients; the Router received {received} for \
         {ok} answers",
        ended.how, ended.panics
    );
    Check::new("correct.ends", Verdict::of(holds), required, text)
}

/// Success while nothing is broken.
fn recovery(found: &Measured) -> Check {
    let required = format!(
        "every fault heals, and from {} s after it {} % are answered OK",
        crate::series::HEALING,
        SUCCESS * 100.0
    );
    let success = |to| {
        let rows = found.series.calm(0, to);
        let (ok, done) = rows.fold((0, 0), |sum, row| (sum.0 + row.ok, sum.1 + row.done));
        #[expect(clippy::cast_precision_loss, reason = "a part of a whole")]
        let part = ok as f64 / (done as f64).max(1.0);
        (part, done)
    };
    let (part, done) = success(u64::MAX);
    // A machine that cannot take what is offered shows it before anything is broken.
    let spans = found.series.spans.iter();
    let first = spans.map(|span| span.from).min();
    let (before, asked) = success(first.unwrap_or(0));
    let shows_nothing = done < 10_000 || found.faults.is_empty() || asked < 1000;
    let is_too_slow = part < SUCCESS && before < SUCCESS;
    let verdict = if !found.festers.is_empty() {
        Verdict::Fail
    } else if shows_nothing || is_too_slow {
        Verdict::Inconclusive
    } else {
        Verdict::of(part >= SUCCESS)
    };
    let mut kinds: Vec<&str> = found.faults.iter().map(|fault| fault.name()).collect();
    kinds.sort_unstable();
    let count = kinds.len();
    kinds.dedup();
    let text = format!(
        "{count} faults ({}), {} did not heal; {:.4} % of {done} requests in calm seconds, {:.4} % \
         of {asked} before the first fault",
        kinds.join(", "),
        found.festers.len(),
        part * 100.0,
        before * 100.0
    );
    Check::new("correct.recovery", verdict, required, text)
}
