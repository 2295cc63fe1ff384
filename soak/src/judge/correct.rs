//! Requests, completions, books, quiescent points, and whether what was offered was served.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc_ringbuf::Code;

use crate::args::{Level, Rate, SoakArgs};
use crate::ledger::Account;
use crate::run::Measured;
use crate::storm::Fault;
use crate::verdict::{Check, Verdict};

/// Part of the requests due that must be answered OK while nothing is broken.
const SUCCESS: f64 = 0.999;
/// Percent of the measured capacity that a gateway must be able to serve.
const SERVED: u64 = 70;

/// The checks.
pub(super) fn checks(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    let mut checks = vec![
        complete(found),
        ledger(found, args),
        outcomes(found, args),
        deadlines(found),
        books(found),
        quiescent(found),
        witness(found),
        ends(found, args),
    ];
    if args.faults == Level::None {
        checks.push(same_books(found));
        checks.push(served(found, args));
    } else {
        checks.push(recovery(found, args));
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

/// Each request that was accepted is a completion, lost, or with a client that was killed; and a killed
/// client had no more of them than its window holds. What such a client did after it told last, up to a
/// second, is in nobody's sums.
fn ledger(found: &Measured, args: &SoakArgs) -> Check {
    let sum = &found.series.total;
    let killed = found.killed;
    let told = sum.completed() + sum.lost + killed.requests;
    let most = killed.clients * u64::from(args.window);
    let adds_up = sum.sent == told && killed.requests <= most;
    let holds = adds_up && sum.lost == 0 && sum.repeated == 0 && sum.mixed_up == 0;
    let verdict = if sum.sent == 0 {
        Verdict::Inconclusive
    } else {
        Verdict::of(holds)
    };
    let text = format!(
        "of {} requests {} completed, {} never, {} were with {} killed clients (at most {most}), {} \
         are unaccounted for; {} completed twice, {} with another's reply",
        sum.sent,
        sum.completed(),
        sum.lost,
        killed.requests,
        killed.clients,
        i128::from(sum.sent) - i128::from(told),
        sum.repeated,
        sum.mixed_up
    );
    let required = "each accepted request completes exactly once, with its own reply, unless its client \
                    was killed; the sums add up";
    Check::new("correct.ledger", verdict, required, text)
}

/// Codes that may occur.
fn legal(args: &SoakArgs) -> &'static [Code] {
    match args.faults {
        Level::None if args.rate == Rate::Max => &[Code::Ok, Code::Overloaded],
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

/// Where nothing is broken, the Router has received each request that was answered once, and nothing
/// else: what the stage and the clients asked, the witness among them. Faults leave it open.
fn ends(found: &Measured, args: &SoakArgs) -> Check {
    let exact = args.faults == Level::None;
    let bound = if exact { "exactly" } else { "at least" };
    let required = format!(
        "gateway and clients end in order, nothing panics, and the Router received {bound} what was answered"
    );
    let (Some(ended), Some((clients, count))) = (&found.ended, found.clients) else {
        return Check::new("correct.ends", Verdict::Fail, required, "they did not end");
    };
    let [load, measured, warm_up] =
        [&found.series.total, &found.measured, &ended.warm_up].map(Account::reached);
    let least = load.0 + measured.0 + warm_up.0;
    // What has no answer may have reached it all the same.
    let most = load.1 + measured.1 + warm_up.1;
    let received = ended.received;
    let holds = ended.in_order
        && ended.panics == 0
        && ended.disorderly == 0
        && clients == count
        && received >= least
        && (!exact || received <= most);
    let text = format!(
        "gateway {}, {} before it not in order, {} panics, {clients} of {count} clients; the Router \
         received {received} for {} answers, {} more while the capacity was measured and {} of the \
         warm-up; {} without an answer may be among them",
        ended.how,
        ended.disorderly,
        ended.panics,
        load.0,
        measured.0,
        warm_up.0,
        most - least
    );
    Check::new("correct.ends", Verdict::of(holds), required, text)
}

/// What became of what was due in some calm seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    ok: u64,
    /// Completed, or never submitted: because the window stayed full, the gateway was gone, or the
    /// client library took it for wrong.
    due: u64,
    unsent: u64,
}

impl Served {
    fn of(found: &Measured, to: u64) -> Self {
        found.series.calm(0, to).fold(Self::default(), |sum, row| {
            let unsent = row.given_up + row.refused + row.faulty;
            Self {
                ok: sum.ok + row.ok,
                due: sum.due + row.done + unsent,
                unsent: sum.unsent + unsent,
            }
        })
    }

    fn part(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a part of a whole")]
        let part = self.ok as f64 / (self.due as f64).max(1.0);
        part
    }
}

/// Whether a rate is more than the machine is known to serve: what is not served of it may be the
/// machine's doing. One that is a part of what was measured is not.
const fn may_be_too_much(rate: Rate) -> bool {
    !matches!(rate, Rate::Percent(percent) if percent <= SERVED)
}

/// Success where nothing is broken at all.
fn served(found: &Measured, args: &SoakArgs) -> Check {
    let required = format!("{} % of the requests due are answered OK", SUCCESS * 100.0);
    if args.rate == Rate::Max {
        let text = "nothing is due: the windows are kept full";
        return Check::new("correct.served", Verdict::Pass, required, text);
    }
    let served = Served::of(found, u64::MAX);
    let verdict = if served.due < 1000 {
        Verdict::Inconclusive
    } else {
        Verdict::of(served.part() >= SUCCESS)
    };
    let text = format!(
        "{:.4} % of {} requests, {} of which were not submitted",
        served.part() * 100.0,
        served.due,
        served.unsent
    );
    Check::new("correct.served", verdict, required, text)
}

/// Success while nothing is broken, and that what was broken heals.
fn recovery(found: &Measured, args: &SoakArgs) -> Check {
    let required = format!(
        "every fault heals, from when it is removed, within {} s, {} s where connections to NATS must \
         be made anew and {} s where sessions must, and after that time {} % of the requests due are \
         answered OK",
        Fault::ClientSlow.heals_within().as_secs_f64(),
        Fault::ServerKilled.heals_within().as_secs_f64(),
        Fault::GatewayRestarted.heals_within().as_secs_f64(),
        SUCCESS * 100.0
    );
    let calm = Served::of(found, u64::MAX);
    // A machine that cannot take what is offered shows it before anything is broken.
    let spans = found.series.spans.iter();
    let first = spans.map(|span| span.from).min();
    let before = Served::of(found, first.unwrap_or(0));
    let shows_nothing = calm.due < 10_000 || found.faults.is_empty() || before.due < 1000;
    let is_too_slow =
        may_be_too_much(args.rate) && calm.part() < SUCCESS && before.part() < SUCCESS;
    let slow = found.healed.iter();
    let slow = slow.filter(|(fault, took)| *took > fault.heals_within());
    let slow = slow.count();
    let verdict = if !found.festers.is_empty() || slow > 0 {
        Verdict::Fail
    } else if shows_nothing || is_too_slow {
        Verdict::Inconclusive
    } else {
        Verdict::of(calm.part() >= SUCCESS)
    };
    let mut kinds: Vec<&str> = found.faults.iter().map(|fault| fault.name()).collect();
    kinds.sort_unstable();
    let count = kinds.len();
    kinds.dedup();
    let text = format!(
        "{count} faults ({}), {} did not heal, {slow} not in time{}; {:.4} % of {} requests in calm \
         seconds, {} of which were not submitted, {:.4} % of {} before the first fault",
        kinds.join(", "),
        found.festers.len(),
        slowest(found),
        calm.part() * 100.0,
        calm.due,
        calm.unsent,
        before.part() * 100.0,
        before.due
    );
    Check::new("correct.recovery", verdict, required, text)
}

/// The longest that a fault of each kind took to heal, in words.
fn slowest(found: &Measured) -> String {
    let mut most: BTreeMap<Fault, Duration> = BTreeMap::new();
    for (fault, took) in &found.healed {
        let longest = most.entry(*fault).or_default();
        *longest = (*took).max(*longest);
    }
    most.iter()
        .map(|(fault, took)| format!(", {} {:.2} s at most", fault.name(), took.as_secs_f64()))
        .collect()
}

#[cfg(test)]
mod tests;
