//! One client's loop. Closed: the window is kept full. Open: each request is sent when it is due,
//! unless the window is full.
//!
//! A request's mark is the moment from which its latency counts, so the loop keeps no table. The
//! clock is read once for a batch.

use core::time::Duration;
use std::thread;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Client, Completion, Outcome, Request, RouteId, SubmitError};

use super::pace::Pace;
use super::plan::Share;
use super::tally::Tally;
use crate::clock::{Clock, Nanos, System};
use crate::health::StopSignal;
use crate::metrics::Counter;

/// Submissions or completions that share one reading of the clock, at most.
const BATCH: u32 = 32;
/// Longest wait before the stop signal is looked at.
const WAIT: Duration = Duration::from_millis(50);
/// A sleep may take this much longer than asked, so the last part of a wait is spent awake.
const SLACK: Duration = Duration::from_micros(80);
/// After this long without a completion at the end, what is outstanding is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An attached client and what it is to send.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) client: Client,
    pub(super) route: RouteId,
    pub(super) body: &'a [u8],
    /// Most requests in flight.
    pub(super) window: usize,
    /// Time allowed for each request, if not the route's.
    pub(super) timeout: Option<Duration>,
    /// Whether a request that is due while the window is full is given up.
    pub(super) no_wait: bool,
    pub(super) tally: Tally,
    /// Completions so far, for whoever shows progress.
    pub(super) progress: &'a Counter,
    pub(super) stop: &'a StopSignal,
    pub(super) fault: Option<String>,
}

impl Load<'_> {
    /// Runs from `start` to `end`, then takes what is outstanding.
    pub(super) fn run(mut self, start: Nanos, end: Nanos, pace: Option<Pace>) -> Share {
        let unsent = match pace {
            None => {
                self.run_closed(end);
                0
            }
            Some(mut pace) => {
                self.run_open(end, &mut pace);
                pace.left(end.min(System.now()))
            }
        };
        self.finish();
        Share {
            elapsed: Duration::from_nanos(System.now().since(start)),
            counts: self.tally.into_counts(),
            unsent,
            fault: self.fault,
        }
    }

    fn run_closed(&mut self, end: Nanos) {
        let mut now = System.now();
        while now < end && self.goes_on() {
            let mut until_clock = BATCH;
            while self.client.outstanding() < self.window {
                if !self.submit(now) {
                    break;
                }
                until_clock -= 1;
                if until_clock == 0 {
                    now = System.now();
                    until_clock = BATCH;
                }
            }
            self.take(WAIT);
            now = System.now();
        }
    }

    fn run_open(&mut self, end: Nanos, pace: &mut Pace) {
        loop {
            if !self.goes_on() {
                return;
            }
            let now = System.now();
            let latest = now.min(Nanos(end.0.saturating_sub(1)));
            while pace.due() <= latest {
                if self.client.outstanding() < self.window {
                    if !self.submit(pace.due()) {
                        break;
                    }
                } else if self.no_wait {
                    self.tally.refuse();
                } else {
                    break;
                }
                pace.advance();
            }
            // Only now, so that what came due during the last rest is sent.
            if now >= end {
                return;
            }
            let full = self.client.outstanding() >= self.window;
            let due = if full && !self.no_wait {
                end
            } else {
                pace.due().min(end)
            };
            self.rest(due.until(now));
        }
    }

    /// Takes completions until the next request is due, for about `left`.
    fn rest(&mut self, left: Duration) {
        let asleep = left.saturating_sub(SLACK).min(WAIT);
        if self.client.outstanding() > 0 {
            self.client.flush();
            if !self.take(asleep) && asleep.is_zero() {
                thread::yield_now();
            }
        } else if asleep.is_zero() {
            thread::yield_now();
        } else {
            thread::park_timeout(asleep);
        }
    }

    const fn is_sound(&self) -> bool {
        self.fault.is_none() && self.client.is_attached()
    }

    fn goes_on(&self) -> bool {
        self.is_sound() && !self.stop.is_set()
    }

    /// Submits a request whose latency counts from `began`; whether it was taken.
    #[inline]
    fn submit(&mut self, began: Nanos) -> bool {
        let mut request = Request::to(self.route)
            .payload(self.body)
            .user_data(began.0);
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        match self.client.submit(request) {
            Ok(_) => true,
            Err(SubmitError::Full(_) | SubmitError::Detached(_)) => false,
            Err(error) => {
                self.fault = Some(error.to_string());
                false
            }
        }
    }

    /// Waits for a completion, at most `timeout`, and takes all there are; whether there was one.
    #[inline]
    fn take(&mut self, timeout: Duration) -> bool {
        let Some(first) = self.client.wait(timeout) else {
            return false;
        };
        let mut now = System.now().0;
        count(&mut self.tally, &first, now);
        let mut until_clock = BATCH;
        while let Some(next) = self.client.poll() {
            count(&mut self.tally, &next, now);
            until_clock -= 1;
            if until_clock == 0 {
                now = System.now().0;
                until_clock = BATCH;
            }
        }
        self.progress.set(self.tally.total());
        true
    }

    /// Takes what is outstanding. The gateway completes every request at its deadline.
    fn finish(&mut self) {
        let mut patience = System.now().after(PATIENCE);
        while self.client.outstanding() > 0 {
            if self.take(WAIT) {
                patience = System.now().after(PATIENCE);
            } else if System.now() > patience {
                let count = self.client.outstanding();
                let lost = format!("{count} requests were not completed within {PATIENCE:?}");
                self.fault.get_or_insert(lost);
                break;
            }
        }
        if !self.client.is_attached() {
            let reason = match self.client.end_reason() {
                None | Some(EndReason::PeerDied) => "the gateway is gone".to_owned(),
                Some(reason) => format!("the gateway ended the session: {reason}"),
            };
            self.fault.get_or_insert(reason);
        }
    }
}

#[inline]
fn count(tally: &mut Tally, completion: &Completion<'_>, now: u64) {
    let code = completion.code();
    tally.count(code, completion.ticket().0, now);
    if code.outcome() == Outcome::Rejected {
        tally.rejected(completion.timing().ring_wait);
    }
}
