//! The short run: load for a while, one client killed in the middle, everything counted.

use std::time::{Duration, Instant};

use ipc_ringbuf::Code;

use crate::args::{Period, ScenarioArgs};
use crate::crew::{Crew, Killed, Plan};
use crate::ledger::Account;
use crate::part::{Interrupt, SoakError};
use crate::sampler::{Sample, descriptors};
use crate::say;
use crate::stage::{Build, REST, Stage};
use crate::summary::Summary;
use crate::witness::{self, Witness};

/// Time between two samples.
const TICK: Duration = Duration::from_secs(1);
/// Time between two looks at what the clients say.
const SLICE: Duration = Duration::from_millis(50);
/// Longest time until a dead client's session is gone.
const RECLAIM: Duration = Duration::from_millis(200);
/// Time allowed for a request.
const TIMEOUT: Period = Period(Duration::from_secs(5));

/// Runs it.
pub(crate) fn run(args: &ScenarioArgs) -> Result<Summary, SoakError> {
    let interrupt = Interrupt::listen()?;
    let build = Build {
        programs: &args.programs,
        evidence: None,
        router: witness::log_flags(),
        silent: false,
        proxied: false,
        config: None,
    };
    let mut stage = Stage::build(&build, &interrupt)?;
    let mut summary = Summary::default();
    let gateway = stage.gateway.pid();
    let at_rest = stage.descriptors_at_rest(&interrupt)?;
    let plan = Plan::new(stage.socket.clone(), args.window, args.payload, TIMEOUT);
    let mut crew = Crew::start(plan, args.clients, &interrupt)?;
    let mut witness = Witness::start(&args.programs, &stage, &interrupt)?;
    crew.load(None);
    let mut load = Load {
        start: Instant::now(),
        gateway,
        account: Account::default(),
    };
    let duration = args.duration.0;
    load.go_on(&mut crew, duration / 2, &mut summary, &interrupt)?;
    let before = descriptors(gateway)?;
    // The witness has a session too.
    let each = before.saturating_sub(at_rest) / (crew.count() + 1);
    crew.kill(0)?;
    let without = before.saturating_sub(each);
    let reclaimed = interrupt.until(REST, || Ok(descriptors(gateway)? <= without))?;
    let took = reclaimed.unwrap_or(REST);
    summary.promise(
        each > 0 && took < RECLAIM,
        format!("a killed client's session is gone within {RECLAIM:?} (took {took:.1?})"),
    );
    load.go_on(&mut crew, duration, &mut summary, &interrupt)?;
    summary.load = load.start.elapsed();
    let count = crew.count();
    let account = &mut load.account;
    let ended = crew.end(&mut |tick| account.add(&tick.account), &interrupt)?;
    summary.promise(
        ended == count,
        format!("every client that was not killed lives to the end ({ended} of {count})"),
    );
    settle(load.account, crew.killed(), args.window, &mut summary);
    witness.end(&interrupt)?;
    let emptied = interrupt.until(REST, || Ok(descriptors(gateway)? == at_rest))?;
    summary.promise(
        emptied.is_some(),
        format!("the gateway's descriptors are {at_rest} again once all clients are gone"),
    );
    end(&mut stage, &mut summary, &interrupt)?;
    let verdict = witness.judge(&stage)?;
    say(&format!("witness: {verdict}"));
    summary.promise(
        verdict.holds() && verdict.submitted > 0,
        format!(
            "the witness's {} requests are what the Router received",
            verdict.submitted
        ),
    );
    Ok(summary)
}

struct Load {
    start: Instant,
    gateway: u32,
    account: Account,
}

impl Load {
    /// Lets the load go on until `end` after the start, and samples.
    fn go_on(
        &mut self,
        crew: &mut Crew,
        end: Duration,
        summary: &mut Summary,
        interrupt: &Interrupt,
    ) -> Result<(), SoakError> {
        loop {
            let sample = Sample::take(self.gateway, self.start.elapsed())?;
            say(&format!(
                "{:6.1} s  resident {} KiB, {} descriptors",
                sample.at.as_secs_f64(),
                sample.resident >> 10,
                sample.descriptors
            ));
            summary.samples.push(sample);
            let next = (self.start.elapsed() + TICK).min(end);
            loop {
                let account = &mut self.account;
                crew.collect(&mut |tick| account.add(&tick.account));
                let left = next.saturating_sub(self.start.elapsed());
                if left.is_zero() {
                    break;
                }
                interrupt.pause(left.min(SLICE))?;
            }
            if self.start.elapsed() >= end {
                return Ok(());
            }
        }
    }
}

/// What the clients' sums must be. What a killed client had on its way when it told last is in nobody's
/// sums but `sent`.
fn settle(sum: Account, killed: Killed, window: u32, summary: &mut Summary) {
    let ended = sum.completed() + sum.lost + killed.requests;
    summary.promise(
        sum.sent == ended && killed.requests <= killed.clients * u64::from(window),
        format!(
            "the sums add up ({} sent, {} completed, {} with the killed client)",
            sum.sent,
            sum.completed(),
            killed.requests
        ),
    );
    summary.promise(
        sum.sent > 0 && sum.lost == 0 && sum.repeated == 0,
        format!(
            "each request completes exactly once ({} lost, {} repeated)",
            sum.lost, sum.repeated
        ),
    );
    summary.promise(
        sum.mixed_up == 0,
        format!("each reply names its request ({} do not)", sum.mixed_up),
    );
    let others = sum.completed().saturating_sub(sum.count(Code::Ok));
    summary.promise(
        others == 0,
        format!("the others do not notice the killed client ({others} not answered OK)"),
    );
    summary.account = sum;
}

/// Ends everything, the gateway first.
fn end(stage: &mut Stage, summary: &mut Summary, interrupt: &Interrupt) -> Result<(), SoakError> {
    let ended = stage.end(interrupt)?;
    summary.promise(
        ended.in_order,
        format!("the gateway drains and ends ({})", ended.how),
    );
    let panics = ended.panics;
    summary.promise(
        panics == 0,
        format!("the gateway does not panic ({panics} times)"),
    );
    let (received, answered) = (ended.received, summary.account.completed());
    summary.promise(
        received >= answered && ended.count("errors=") == 0,
        format!("the Router has received and answered them ({received} of at least {answered})"),
    );
    Ok(())
}
