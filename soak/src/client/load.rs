//! The loop: what is due is sent, what has come is checked, and once a second it is told.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use hdrhistogram::Histogram;
use ipc_ringbuf::{
    AttachError, Client, ClientBuilder, Completion, Outcome, Request, RouteId, SubmitError,
    monotonic_ns,
};
use ipc_tools::history::Recorder;

use super::ATTACHED;
use super::body::Body;
use super::order::{Order, Tick, encode};
use super::pace::{Fate, Pace, fate, lag};
use crate::args::ClientArgs;
use crate::ledger::Ledger;
use crate::{complain, say};

/// Nanoseconds of a second: the time between two ticks.
const SECOND: u64 = 1_000_000_000;
/// Longest time without any completion. The gateway completes each request at its deadline, which
/// is sooner.
const SILENCE: u64 = 30 * SECOND;
/// How much later than its deadline a completion may be, by the gateway's clock.
const EPSILON: Duration = Duration::from_millis(250);
/// Longest wait before the orders are looked at.
const WAIT: Duration = Duration::from_millis(20);
/// Shortest sleep. What falls due meanwhile is sent together: clients that stay awake for the next request
/// would take the processors from what they measure. Latencies count from when each was due.
const TICK: Duration = Duration::from_micros(200);
/// Least message size of a session: what the gateway gives at least.
const MESSAGE: u32 = 4032;
/// Largest latency that is told apart, in microseconds.
const LARGEST: u64 = 60_000_000;
/// Submissions between two looks at the clock while the window is kept full.
const BATCH: usize = 32;

/// Runs the client process.
pub(crate) fn run(args: &ClientArgs) -> ExitCode {
    match exchange(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("client {}: {error}", args.name));
            ExitCode::FAILURE
        }
    }
}

fn exchange(args: &ClientArgs) -> io::Result<()> {
    let client = attach(args).map_err(io::Error::other)?;
    let route = client
        .route("decide")
        .ok_or_else(|| io::Error::other("the gateway has no route decide"))?;
    let histogram = || Histogram::new_with_bounds(1, LARGEST, 3).map_err(io::Error::other);
    let recorder = match &args.history {
        Some(path) => Some(Recorder::create(path, &args.name, "soak")?),
        None => None,
    };
    let now = monotonic_ns();
    let mut load = Load {
        route,
        client,
        body: Body::new(&args.name, args.payload as usize),
        ledger: Ledger::new(args.window as usize),
        timeout: args.timeout.0,
        latency: histogram()?,
        lag: histogram()?,
        given_up: 0,
        refused: 0,
        faulty: 0,
        unwritten: 0,
        recorder,
        is_full: false,
        roomy_since: now,
        heard: now,
        next_tick: (now / SECOND + 1) * SECOND,
    };
    say(ATTACHED);
    load.serve(&orders());
    if let Some(recorder) = load.recorder.take() {
        recorder.end()?;
    }
    Ok(())
}

fn attach(args: &ClientArgs) -> Result<Client, AttachError> {
    ClientBuilder::new()
        .entries(args.window)
        .message_size(args.payload.max(MESSAGE))
        .name(args.name.as_str())
        .socket(&args.socket)
        .connect()
}

/// The orders as they come; disconnected at the end of the input.
fn orders() -> Receiver<Order> {
    let (tell, orders) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => tell.send(order).unwrap_or_default(),
                Err(error) => complain(&format!("{line:?} is no order: {error}")),
            }
        }
    });
    orders
}

/// What it does at the moment.
#[derive(Debug)]
enum Mode {
    /// Nothing is sent.
    Rest,
    /// The window is kept full.
    Full,
    /// What is due is sent.
    Open(Pace),
}

struct Load {
    client: Client,
    route: RouteId,
    body: Body,
    ledger: Ledger,
    timeout: Duration,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    given_up: u64,
    refused: u64,
    faulty: u64,
    unwritten: u64,
    recorder: Option<Recorder>,
    /// Whether the last submission found no room, by the ledger or by the session, and nothing has been
    /// completed since.
    is_full: bool,
    /// Since when the window has had room.
    roomy_since: u64,
    /// When something was completed last, or nothing was on its way.
    heard: u64,
    next_tick: u64,
}

impl Load {
    /// Follows the orders until they end and everything is completed.
    fn serve(&mut self, orders: &Receiver<Order>) {
        let mut mode = Mode::Rest;
        let (mut said_idle, mut ended) = (false, false);
        loop {
            let is_idle = matches!(mode, Mode::Rest) && self.client.outstanding() == 0;
            if is_idle && ended {
                return self.tell(monotonic_ns(), true);
            }
            if is_idle && !said_idle {
                self.tell(monotonic_ns(), true);
                said_idle = true;
            }
            let wait = if is_idle { WAIT } else { Duration::ZERO };
            match orders.recv_timeout(wait) {
                Ok(Order::Pause) => (mode, said_idle) = (Mode::Rest, false),
                Ok(Order::Load {
                    start,
                    rate,
                    clients,
                    number,
                }) => {
                    mode = rate.map_or(Mode::Full, |rate| {
                        Mode::Open(Pace::new(start, rate, clients, number))
                    });
                    self.roomy_since = monotonic_ns();
                    self.heard = self.roomy_since;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if !ended => {
                    (mode, ended) = (Mode::Rest, true);
                }
                Err(RecvTimeoutError::Disconnected) => {}
            }
            match &mut mode {
                Mode::Rest => {
                    self.receive(WAIT);
                }
                Mode::Full => self.fill(),
                Mode::Open(pace) => self.keep_pace(pace),
            }
            self.tick();
        }
    }

    /// Fills the window and waits for a completion.
    fn fill(&mut self) {
        let mut now = monotonic_ns();
        let mut sent = 0;
        while self.submit(now) {
            sent += 1;
            if sent % BATCH == 0 {
                now = monotonic_ns();
            }
        }
        self.receive(WAIT);
    }

    /// Sends what is due, and takes completions until the next is.
    fn keep_pace(&mut self, pace: &mut Pace) {
        let now = monotonic_ns();
        while pace.due() <= now {
            let due = pace.due();
            let room = self.has_room().then_some(self.roomy_since);
            let lag = match fate(due, room, now) {
                Fate::GivenUp { lag } => {
                    self.given_up += 1;
                    lag
                }
                Fate::Due => {
                    if !self.submit(due) && self.is_full {
                        break;
                    }
                    Some(lag(due, self.roomy_since, now))
                }
            };
            if let Some(lag) = lag {
                self.lag.saturating_record(lag);
            }
            pace.advance();
        }
        let left = Duration::from_nanos(pace.due().saturating_sub(monotonic_ns()));
        let asleep = left.clamp(TICK, WAIT);
        if self.client.outstanding() > 0 {
            self.receive(asleep);
        } else {
            std::thread::park_timeout(asleep);
        }
    }

    /// Whether there is room for one more request, as far as is known.
    fn has_room(&self) -> bool {
        !self.is_full && self.ledger.mark().is_some()
    }

    /// Submits a request whose latency counts from `due`; whether there may be room for more.
    fn submit(&mut self, due: u64) -> bool {
        let mark = self.ledger.mark();
        self.is_full = mark.is_none();
        let Some(mark) = mark else {
            return false;
        };
        let payload = self.body.of(mark);
        if let Some(recorder) = &mut self.recorder {
            let written = recorder.submit(mark, self.timeout, false, payload);
            self.unwritten += u64::from(written.is_err());
        }
        let request = Request::to(self.route)
            .payload(payload)
            .timeout(self.timeout)
            .user_data(mark);
        match self.client.submit(request) {
            Ok(_) => {
                self.ledger.open(due);
                return true;
            }
            // It stays due, as where the window is full.
            Err(SubmitError::Full(_)) => self.is_full = true,
            Err(SubmitError::Detached(_)) => self.refused += 1,
            Err(error) => {
                self.faulty += 1;
                complain(&error.to_string());
            }
        }
        if let Some(recorder) = &mut self.recorder {
            self.unwritten += u64::from(recorder.refused(mark).is_err());
        }
        false
    }

    /// Waits for a completion, at most so long, and takes all there are; whether there was one.
    fn receive(&mut self, timeout: Duration) -> bool {
        let was_full = self.is_full || self.ledger.mark().is_none();
        self.client.flush();
        let first = if self.client.outstanding() == 0 {
            self.heard = monotonic_ns();
            // Nothing should come; a session that has ended is noticed, and attached again.
            self.client.poll()
        } else {
            self.client.wait(timeout)
        };
        let Some(first) = first else {
            if monotonic_ns() > self.heard + SILENCE {
                self.ledger.give_up();
            }
            return false;
        };
        let now = monotonic_ns();
        self.heard = now;
        let mut taker = Taker {
            ledger: &mut self.ledger,
            body: &self.body,
            latency: &mut self.latency,
            recorder: &mut self.recorder,
            unwritten: &mut self.unwritten,
            bound: self.timeout + EPSILON,
        };
        taker.take(&first, now);
        while let Some(next) = self.client.poll() {
            taker.take(&next, now);
        }
        if was_full {
            self.roomy_since = now;
            self.is_full = false;
        }
        true
    }

    /// Tells what was done, once a second.
    fn tick(&mut self) {
        let now = monotonic_ns();
        if now >= self.next_tick {
            // It belongs to the second that has ended, not to the one that has begun.
            self.tell(self.next_tick - 1, false);
            self.next_tick = (now / SECOND + 1) * SECOND;
        }
    }

    fn tell(&mut self, at: u64, idle: bool) {
        let tick = Tick {
            at,
            idle,
            account: self.ledger.take(),
            given_up: core::mem::take(&mut self.given_up),
            refused: core::mem::take(&mut self.refused),
            faulty: core::mem::take(&mut self.faulty),
            latency: encode(&self.latency),
            lag: encode(&self.lag),
            unwritten: core::mem::take(&mut self.unwritten),
        };
        self.latency.reset();
        self.lag.reset();
        match serde_json::to_string(&tick) {
            Ok(text) => say(&text),
            Err(error) => complain(&error.to_string()),
        }
    }
}

/// What completions are written into.
struct Taker<'a> {
    ledger: &'a mut Ledger,
    body: &'a Body,
    latency: &'a mut Histogram<u64>,
    recorder: &'a mut Option<Recorder>,
    unwritten: &'a mut u64,
    bound: Duration,
}

impl Taker<'_> {
    fn take(&mut self, completion: &Completion<'_>, now: u64) {
        let (mark, code) = (completion.ticket().0, completion.code());
        let open = self.ledger.close(mark, code);
        let is_named = !code.is_success() || self.body.names(completion.payload(), mark);
        if !is_named {
            self.ledger.mixed_up();
        }
        let timing = completion.timing();
        if timing.ring_wait + timing.upstream > self.bound {
            self.ledger.overdue();
        }
        if let Some(open) = open
            && code.outcome() == Outcome::Answered
        {
            let latency = now.saturating_sub(open.due) / 1000;
            self.latency.saturating_record(latency);
        }
        if let Some(recorder) = self.recorder {
            *self.unwritten += u64::from(recorder.complete(completion, is_named).is_err());
        }
    }
}
