//! A well-behaved client that checks its work: it sends decide requests at a steady rate, holds
//! every answer against its request, and counts each latency from the moment at which the request
//! was due.
//!
//! It says `attached`, then obeys standard input: `pause` finishes what is on its way and says
//! `paused`, `go` goes on, and the end of the input ends it. Its last line is a JSON object.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use ipc_ringbuf::{Client, ClientBuilder, Code, Request, SubmitError};
use serde_json::json;

/// After this long without an answer what is outstanding is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait before the orders are looked at.
const SLICE: Duration = Duration::from_millis(20);
/// Longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Most faults that are told in full.
const TOLD: usize = 5;

/// Sends checked decide requests at a steady rate.
#[derive(Debug, Parser)]
#[command(name = "polite-client")]
struct Args {
    /// The gateway's socket
    #[arg(long)]
    socket: PathBuf,
    /// Begins every request's id
    #[arg(long, default_value = "polite")]
    name: String,
    /// Requests a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Bytes of a request, about
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Requests on their way at once, at most
    #[arg(long, default_value_t = 128)]
    window: usize,
    /// The route
    #[arg(long, default_value = "decide")]
    route: String,
}

const GO: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let builder = ClientBuilder::new().socket(&args.socket).name(&args.name);
    let client = match builder.connect() {
        Ok(client) => client,
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            return ExitCode::FAILURE;
        }
    };
    say("attached");
    let orders = Arc::new(AtomicU8::new(GO));
    let told = Arc::clone(&orders);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "pause" => told.store(PAUSE, Ordering::Relaxed),
                "go" => told.store(GO, Ordering::Relaxed),
                _ => {}
            }
        }
        told.store(END, Ordering::Relaxed);
    });
    let Ok(latency) = Histogram::new_with_bounds(1, LONGEST_US, 3) else {
        return ExitCode::FAILURE;
    };
    let mut work = Work {
        client,
        waiting: HashMap::new(),
        latency,
        sent: 0,
        codes: HashMap::new(),
        wrong: 0,
        faults: Vec::new(),
        lag: Duration::ZERO,
        args,
    };
    work.run(&orders);
    say(&work.report().to_string());
    ExitCode::SUCCESS
}

fn say(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}

struct Work {
    args: Args,
    client: Client,
    /// When each request that is on its way was due, by its mark.
    waiting: HashMap<u64, Instant>,
    /// Microseconds.
    latency: Histogram<u64>,
    sent: u64,
    codes: HashMap<Code, u64>,
    /// Answers that are not of their request, or came twice.
    wrong: u64,
    faults: Vec<String>,
    /// How late the worst request was sent.
    lag: Duration,
}

impl Work {
    fn run(&mut self, orders: &AtomicU8) {
        let period = Duration::from_secs_f64(1.0 / self.args.rate.max(0.001));
        let mut due = Instant::now();
        loop {
            match orders.load(Ordering::Relaxed) {
                GO => due = self.send(due, period),
                order => {
                    self.finish();
                    if order == END {
                        return;
                    }
                    say("paused");
                    while orders.load(Ordering::Relaxed) == PAUSE {
                        thread::park_timeout(SLICE);
                    }
                    due = Instant::now();
                }
            }
            let idle = due.saturating_duration_since(Instant::now()).min(SLICE);
            if self.client.outstanding() == 0 {
                thread::park_timeout(idle);
            } else {
                self.take(idle);
            }
        }
    }

    /// Sends what is due; returns when the next is.
    fn send(&mut self, mut due: Instant, period: Duration) -> Instant {
        while due <= Instant::now() && self.client.outstanding() < self.args.window {
            let body = body(&self.args.name, self.sent, self.args.bytes);
            let request = Request::to(self.args.route.as_str())
                .payload(&body)
                .user_data(self.sent);
            match self.client.submit(request) {
                Ok(_) => {}
                Err(SubmitError::Full(_)) => break,
                Err(error) => {
                    let fault = format!("{} was not sent: {error}", self.sent);
                    self.fault(fault);
                }
            }
            self.waiting.insert(self.sent, due);
            self.lag = self.lag.max(due.elapsed());
            self.sent += 1;
            due += period;
        }
        self.client.flush();
        due
    }

    /// Takes what has come, and waits for it at most so long.
    fn take(&mut self, longest: Duration) -> usize {
        let mut taken = 0;
        let mut patience = longest;
        while let Some(completion) = self.client.wait(patience) {
            patience = Duration::ZERO;
            taken += 1;
            let (mark, code) = (completion.ticket().0, completion.code());
            let id = format!("\"{}-{mark}\"", self.args.name);
            let is_its = code != Code::Ok
                || completion
                    .payload()
                    .windows(id.len())
                    .any(|part| part == id.as_bytes());
            let shown = completion.payload().escape_ascii().to_string();
            *self.codes.entry(code).or_default() += 1;
            match self.waiting.remove(&mark) {
                None => self.fault(format!("{mark} was completed twice, or never sent")),
                Some(_) if !is_its => self.fault(format!("{mark} was answered {shown}")),
                Some(due) => {
                    let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.latency.saturating_record(micros.max(1));
                }
            }
        }
        taken
    }

    /// Takes what is on its way.
    fn finish(&mut self) {
        while self.client.outstanding() > 0 && self.take(PATIENCE) > 0 {}
    }

    fn fault(&mut self, what: String) {
        self.wrong += 1;
        if self.faults.len() < TOLD {
            self.faults.push(what);
        }
    }

    fn report(&self) -> serde_json::Value {
        let codes: HashMap<_, _> = self
            .codes
            .iter()
            .map(|(code, n)| (code.name(), n))
            .collect();
        let at = |quantile| self.latency.value_at_quantile(quantile);
        json!({
            "sent": self.sent,
            "completed": self.codes.values().sum::<u64>(),
            "ok": self.codes.get(&Code::Ok).copied().unwrap_or(0),
            "codes": codes,
            "wrong": self.wrong,
            "faults": self.faults,
            "unanswered": self.waiting.len(),
            "lag_us": u64::try_from(self.lag.as_micros()).unwrap_or(u64::MAX),
            "latency_us": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
                "max": self.latency.max(),
            },
        })
    }
}

/// A decide request.
fn body(name: &str, number: u64, bytes: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"tenant_id":"acme","request_id":"{name}-{number}","task":{{"type":"chat","payload":{{"text":""#
    );
    let mut body = head.into_bytes();
    let tail = br#""}}}"#;
    body.resize(bytes.saturating_sub(tail.len()).max(body.len() + 1), b'x');
    body.extend_from_slice(tail);
    body
}
