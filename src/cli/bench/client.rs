//! A client process: `bench` once more, told what to do on standard input.

use core::time::Duration;
use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use ipc_ringbuf::{AttachError, ClientBuilder};

use super::super::exit::Exit;
use super::super::output::{complain, print_line};
use super::body;
use super::load::Load;
use super::pace::Pace;
use super::plan::{Cause, GO, Plan, STOP, Said, Share};
use super::tally::Tally;
use crate::clock::{Clock as _, System};
use crate::health::StopSignal;
use crate::metrics::Counter;

/// Room for a reply, in bytes; more where the request is larger.
const REPLY_ROOM: u32 = 4032;
/// Longest time to attach: many clients may do so at once.
const ATTACH: Duration = Duration::from_secs(10);
/// Time between two reports of progress.
const TICK: Duration = Duration::from_secs(1);

/// Runs the clients of one process.
#[must_use]
pub fn run() -> ExitCode {
    let mut first = String::new();
    let read = io::stdin().lock().read_line(&mut first);
    let Ok(plan) = read
        .map_err(serde_json::Error::io)
        .and_then(|_| serde_json::from_str::<Plan>(&first))
    else {
        complain("bench-client is for bench to start");
        return Exit::Usage.into();
    };
    serve(&Arc::new(plan)).unwrap_or_else(|exit| exit).into()
}

fn serve(plan: &Arc<Plan>) -> Result<Exit, Exit> {
    let (say, said) = channel();
    let stop = StopSignal::new();
    let (mut gates, mut counters) = (vec![], vec![]);
    for number in 0..plan.threads {
        let (go, gate) = channel();
        let done = Arc::new(Counter::default());
        let member = Member {
            plan: Arc::clone(plan),
            number: plan.first.saturating_add(number),
            progress: Arc::clone(&done),
            stop: stop.clone(),
            say: say.clone(),
        };
        start("ipcgw-bench", move || member.run(&gate))?;
        gates.push(go);
        counters.push(done);
    }
    drop(say);
    start("ipcgw-orders", move || obey(gates, &stop))?;
    loop {
        let message = match said.recv_timeout(TICK) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                Said::Progress(counters.iter().map(|counter| counter.get()).sum())
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Ok),
        };
        print_line(serde_json::to_string(&message).map_err(|_| Exit::Software)?)?;
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Exit> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    match started {
        Ok(_) => Ok(()),
        Err(error) => {
            complain(format_args!("cannot start a thread: {error}"));
            Err(Exit::OsError)
        }
    }
}

/// Does as told, and ends the process when there is nobody left to tell.
fn obey(mut gates: Vec<Sender<()>>, stop: &StopSignal) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.as_str() {
            GO => gates.drain(..).for_each(|gate| {
                // A client that could not attach has gone.
                gate.send(()).ok();
            }),
            STOP => stop.stop(),
            _ => {}
        }
    }
    #[expect(clippy::exit, reason = "whoever wanted the report is gone")]
    std::process::exit(Exit::Failure as i32);
}

/// One client.
struct Member {
    plan: Arc<Plan>,
    /// Among the clients of all processes, from 0.
    number: u32,
    progress: Arc<Counter>,
    stop: StopSignal,
    say: Sender<Said>,
}

impl Member {
    fn run(self, gate: &Receiver<()>) {
        let message = match self.measure(gate) {
            Ok(Some(share)) => Said::Done(share),
            Ok(None) => return,
            Err((cause, message)) => Said::Failed { cause, message },
        };
        // The receiver lives as long as the process.
        self.say.send(message).ok();
    }

    /// `None` when the gate was never opened.
    fn measure(&self, gate: &Receiver<()>) -> Result<Option<Share>, (Cause, String)> {
        let plan = &self.plan;
        let other = |error: String| (Cause::Other, error);
        let body = body::build(&plan.route, plan.payload).map_err(other)?;
        let tally = Tally::new(plan.timeout).map_err(|error| other(error.to_string()))?;
        let client = ClientBuilder::new()
            .socket(&plan.socket)
            .entries(plan.window)
            .message_size(plan.payload.max(REPLY_ROOM))
            .attach_timeout(ATTACH)
            .name(format!("bench-{}", self.number))
            .wait_strategy(plan.wait.into())
            .connect()
            .map_err(|error| (cause(&error), error.to_string()))?;
        let route = client.route(&plan.route).ok_or_else(|| {
            other(format!(
                "the gateway has no route {:?}; its configuration names the routes",
                plan.route
            ))
        })?;
        self.say.send(Said::Ready).ok();
        if gate.recv().is_err() {
            return Ok(None);
        }
        let start = System.now();
        let pace = plan
            .rate
            .map(|rate| Pace::new(start, rate, plan.burst, plan.clients, self.number));
        let load = Load {
            client,
            route,
            body: &body,
            window: plan.window as usize,
            timeout: plan.timeout,
            no_wait: plan.no_wait,
            tally,
            progress: &self.progress,
            stop: &self.stop,
            fault: None,
        };
        Ok(Some(load.run(start, start.after(plan.duration), pace)))
    }
}

/// Tells a user who may not attach from all else, as the exit code of `call` does.
fn cause(error: &AttachError) -> Cause {
    match Exit::from(error) {
        Exit::NoPermission => Cause::Forbidden,
        _ => Cause::Unreachable,
    }
}
