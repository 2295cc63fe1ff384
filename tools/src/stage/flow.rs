//! Many requests of one client process, each accounted for.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use hdrhistogram::Histogram;
use ipc_ringbuf::{Client, Code, Request, SubmitError};

use super::failure::Failure;
use super::orders::{Flow, FlowReport, Latency, Order};
use super::serve_client::micros;

/// Faults that are told in words.
const TOLD: usize = 5;
/// Longest wait for a completion before a look at the orders.
const SLICE: Duration = Duration::from_millis(5);
/// How long nothing may come before what is still on its way counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(15);
/// Slowest answer that is told apart, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// A request that is on its way.
struct Sent {
    due: Instant,
    deadline: Option<Instant>,
}

struct Work<'c> {
    client: &'c mut Client,
    flow: Flow,
    on_their_way: HashMap<u64, Sent>,
    latency: Option<Histogram<u64>>,
    next: u64,
    report: FlowReport,
}

/// Sends until the count is reached or an order comes, and takes every completion.
pub(super) fn run(
    client: &mut Client,
    flow: Flow,
    orders: &Receiver<Result<Order, Failure>>,
) -> FlowReport {
    let mut work = Work {
        client,
        flow,
        on_their_way: HashMap::new(),
        latency: Histogram::new_with_bounds(1, LONGEST_US, 3).ok(),
        next: 0,
        report: FlowReport::default(),
    };
    let began = Instant::now();
    let period = work.flow.rate.map(|rate| 1.0 / rate.max(0.001));
    let period = period.map(Duration::from_secs_f64);
    let mut due = began;
    let is_over = |work: &Work<'_>| match work.flow.count {
        Some(count) => work.next >= count,
        None => !matches!(orders.try_recv(), Err(TryRecvError::Empty)),
    };
    while !is_over(&work) {
        let mut now = Instant::now();
        while (period.is_none() || due <= now) && work.has_more() {
            if !work.send(if period.is_some() { due } else { now }) {
                break;
            }
            due += period.unwrap_or_default();
            now = Instant::now();
        }
        work.client.flush();
        let idle = match period {
            Some(_) => due.saturating_duration_since(Instant::now()).min(SLICE),
            None => SLICE,
        };
        if work.on_their_way.is_empty() {
            std::thread::park_timeout(idle);
        } else {
            work.take(idle);
        }
    }
    let mut heard = Instant::now();
    while !work.on_their_way.is_empty() && heard.elapsed() < PATIENCE {
        if work.take(SLICE) > 0 {
            heard = Instant::now();
        }
    }
    work.finish(began)
}

impl Work<'_> {
    fn has_more(&self) -> bool {
        self.on_their_way.len() < self.flow.window
            && self.flow.count.is_none_or(|count| self.next < count)
    }

    /// Sends one; false when there is no room for it now.
    fn send(&mut self, due: Instant) -> bool {
        let number = self.next;
        let flow = &self.flow;
        let body = format!(
            r#"{{"tenant_id":"{}","request_id":"{}-{number}","task":{{"type":"chat","payload":{{"text":"0123456789012345678901234567890123456789"}}}}}}"#,
            flow.tenant, flow.prefix
        );
        let mut request = Request::to("decide").payload(&body).user_data(number);
        let mut deadline = None;
        if let Some(timeout) = flow.timeout_ms {
            let more = number.wrapping_mul(7919) % (flow.spread_ms + 1);
            let timeout = Duration::from_millis(timeout + more);
            request = request.timeout(timeout);
            deadline = Some(Instant::now() + timeout);
        }
        match self.client.submit(request) {
            Ok(_) => {
                self.on_their_way.insert(number, Sent { due, deadline });
                self.report.sent += 1;
            }
            Err(SubmitError::Full(_)) => return false,
            Err(SubmitError::Detached(_)) => {
                self.report.refused += 1;
                std::thread::park_timeout(SLICE);
            }
            Err(error) => {
                let fault = format!("{number} was not sent: {error}");
                self.report.refused += 1;
                self.fault(fault);
            }
        }
        self.next += 1;
        true
    }

    /// Takes what has come, and waits for it at most so long.
    fn take(&mut self, longest: Duration) -> usize {
        let (mut taken, mut patience) = (0, longest);
        while let Some(completion) = self.client.wait(patience) {
            patience = Duration::ZERO;
            taken += 1;
            let now = Instant::now();
            let (mark, code) = (completion.ticket().0, completion.code());
            let id = format!(r#""request_id":"{}-{mark}""#, self.flow.prefix);
            let mut windows = completion.payload().windows(id.len());
            let is_its = code != Code::Ok || windows.any(|part| part == id.as_bytes());
            let shown = completion.payload().escape_ascii().to_string();
            let count = self.report.codes.entry(code.name().to_owned());
            *count.or_default() += 1;
            self.report.completed += 1;
            match self.on_their_way.remove(&mark) {
                None => self.wrong(format!("{mark} was completed twice, or never sent")),
                Some(_) if !is_its => self.wrong(format!("{mark} was answered {shown}")),
                Some(sent) => self.record(&sent, code, now),
            }
        }
        taken
    }

    fn record(&mut self, sent: &Sent, code: Code, now: Instant) {
        if let (Code::Ok, Some(latency)) = (code, &mut self.latency) {
            let time = micros(now.saturating_duration_since(sent.due));
            latency.saturating_record(time.max(1));
        }
        if let Some(deadline) = sent.deadline {
            let late = now.saturating_duration_since(deadline).as_millis();
            let late = u64::try_from(late).unwrap_or(u64::MAX);
            self.report.latest_ms = self.report.latest_ms.max(late);
        }
    }

    fn wrong(&mut self, what: String) {
        self.report.wrong += 1;
        self.fault(what);
    }

    fn fault(&mut self, what: String) {
        if self.report.faults.len() < TOLD {
            self.report.faults.push(what);
        }
    }

    fn finish(mut self, began: Instant) -> FlowReport {
        if let Some(latency) = &self.latency {
            self.report.latency_us = Latency {
                p50: latency.value_at_quantile(0.5),
                p99: latency.value_at_quantile(0.99),
                p999: latency.value_at_quantile(0.999),
                max: latency.max(),
            };
        }
        self.report.unanswered = u64::try_from(self.on_their_way.len()).unwrap_or(u64::MAX);
        let elapsed = began.elapsed().as_millis();
        self.report.elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.report
    }
}
