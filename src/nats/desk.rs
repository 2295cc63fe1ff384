//! The answering side: who waits for what, and the one place from which answers leave.
//!
//! It knows no connection and no clock: whoever drives it says what was sent on which connection,
//! what came back and when a connection was lost. The NATS room drives it with real ones, the
//! simulation with a model.

use std::sync::Arc;

use super::classify;
use super::held::Held;
use super::outstanding::{Entered, Outstanding, Serial, Unmatched};
use super::refused::{Refused, Routes, Worked};
use super::resend::{Plan, Resend};
use super::wire::Message;
use crate::bridge::{Code, Reply, Times, Token, UpstreamEnd};
use crate::clock::Nanos;
use crate::metrics::nats::NatsMetrics;
use crate::route::{Route, RouteKind};
use crate::router_contract::{Verdict, classify_router};

/// The workers' links, the requests outstanding, and what has been answered in this turn.
#[derive(Debug)]
pub struct Desk {
    links: Vec<UpstreamEnd>,
    /// Links that were answered since the last flush, one bit each.
    to_flush: u64,
    routes: Arc<[Route]>,
    pub(super) outstanding: Outstanding,
    resend: Resend,
    pub(super) refused: Refused,
    worked: Worked,
    pub(super) metrics: Arc<NatsMetrics>,
}

impl Desk {
    /// The desk for these workers, in the order of their numbers. `seed` is for the jitter of
    /// re-sends.
    #[must_use]
    pub fn new(
        links: Vec<UpstreamEnd>,
        routes: Arc<[Route]>,
        metrics: Arc<NatsMetrics>,
        seed: u64,
    ) -> Self {
        Self {
            resend: Resend::new(seed),
            refused: Refused::default(),
            worked: Worked::default(),
            outstanding: Outstanding::new(links.len()),
            to_flush: 0,
            links,
            routes,
            metrics,
        }
    }

    /// Takes the routes of a configuration that was read again. What was sent before is completed
    /// by them too, so a route's kind and contract must be the same.
    pub fn set_routes(&mut self, routes: Arc<[Route]>) {
        for (number, (old, new)) in (0..).zip(self.routes.iter().zip(routes.iter())) {
            if old.subject != new.subject {
                self.refused.forget_route(number);
                self.worked.forget_route(number);
            }
        }
        self.routes = routes;
    }

    /// The links to the workers, in the order of their numbers.
    #[must_use]
    pub fn links(&self) -> &[UpstreamEnd] {
        &self.links
    }

    /// The same, to take requests from.
    pub fn links_mut(&mut self) -> &mut [UpstreamEnd] {
        &mut self.links
    }

    /// Notes that a request was handed to a connection.
    pub fn sent(&mut self, held: Held, serial: Serial, now: Nanos) {
        self.metrics.published.increment();
        // A turn's clock is read before the worker's, where one thread steps both.
        let now = now.max(held.request.accepted);
        self.metrics
            .publish
            .record(now.since(held.request.accepted));
        let (token, route) = (held.request.token, held.request.route);
        let deadline = held.request.deadline;
        self.refused.sent(route, token, serial, deadline);
        match self.outstanding.enter(token, route, serial, deadline, now) {
            Entered::New => {}
            Entered::Replaced(given_up) => self.resend.forget(given_up),
            // Nobody waits for it any more: an answer to it is late.
            Entered::GivenUp => return,
        }
        let routes = &self.routes;
        let allows = || {
            routes
                .get(usize::from(route))
                .is_some_and(|route| route.idempotent)
        };
        self.resend.sent(held, allows);
    }

    /// Completes a request that cannot be sent because of `code`. If it was sent before, it
    /// completes with what happened then.
    pub fn reject(&mut self, held: &Held, code: Code) {
        match held.before {
            Some(before) => self.complete(held.request.token, before),
            None => self.answer(Reply::bare(held.request.token, code)),
        }
    }

    /// Puts a reply into its worker's queue, to be seen after [`flush`](Self::flush).
    fn answer(&mut self, reply: Reply) {
        let worker = reply.token.worker();
        if reply.code == Code::NoResponders {
            self.metrics.no_responders.increment();
        }
        let Some(link) = self.links.get_mut(usize::from(worker)) else {
            self.metrics.answers_refused.increment();
            return;
        };
        if link.answer(reply).is_err() {
            self.metrics.answers_refused.increment();
        }
        self.to_flush |= 1_u64.checked_shl(worker.into()).unwrap_or(0);
    }

    /// Completes a request without a body, if nobody has completed it before.
    pub fn complete(&mut self, token: Token, code: Code) {
        if self.outstanding.finish(token).is_ok() {
            self.resend.forget(token);
            self.answer(Reply::bare(token, code));
        }
    }

    /// Takes a message that came to a reply inbox for `token`. `false` if it is a stream's
    /// acknowledgement, so that the answer is still to come; then the request, if there is one, goes on
    /// waiting.
    pub fn message(&mut self, token: Token, message: Message, now: Nanos) -> bool {
        let (number, serial, published) = match self.outstanding.sent(token) {
            Ok(found) => found,
            Err(reason) => {
                self.unmatched(reason);
                return classify_router(&message.payload) != Verdict::PubAck;
            }
        };
        let route = self.routes.get(usize::from(number));
        let Some(route) = route.filter(|route| route.kind != RouteKind::Publish) else {
            self.unmatched(Unmatched::Forged);
            return true;
        };
        let Some(mut reply) = classify::reply(token, route, message, &self.metrics) else {
            return false;
        };
        self.worked.note(serial, number);
        self.refused.answered(token);
        if reply.code == Code::NoResponders {
            self.fail(token, Code::NoResponders, now);
            return true;
        }
        if self.outstanding.finish(token).is_ok() {
            self.resend.forget(token);
            self.metrics.replies.increment();
            self.metrics.upstream.record(now.since(published));
            reply.times = Some(Times {
                published,
                answered: now,
            });
            self.answer(reply);
        }
        true
    }

    /// Takes a request that failed with `code`: it is completed or sent again.
    fn fail(&mut self, token: Token, code: Code, now: Nanos) {
        match self.resend.failed(token, code, now, &self.metrics) {
            Plan::Again => self.outstanding.rest(token),
            Plan::End(code) => self.complete(token, code),
        }
    }

    /// Drops what was kept in vain of requests that have run out of time.
    pub fn sweep(&mut self, now: Nanos) {
        self.resend.sweep(now);
    }

    /// When there is something to do by itself: the next request is to be sent again, or what was kept
    /// in vain is to be dropped.
    #[must_use]
    pub fn due(&self) -> Nanos {
        self.resend.due()
    }

    /// A request that is to be sent again now and has not been answered meanwhile.
    pub fn take_resend(&mut self, now: Nanos) -> Option<Held> {
        loop {
            let held = self.resend.take_due(now)?;
            if self.outstanding.is_resting(held.request.token) {
                return Some(held);
            }
        }
    }

    /// Counts a message that completes nothing.
    pub(super) fn unmatched(&self, reason: Unmatched) {
        match reason {
            Unmatched::Forged => self.metrics.unmatched_forged.increment(),
            Unmatched::Late => self.metrics.unmatched_late.increment(),
            Unmatched::Duplicate => self.metrics.unmatched_duplicate.increment(),
        }
    }

    /// Completes a publish that the broker has.
    pub(super) fn confirmed(&mut self, token: Token, now: Nanos) {
        let Ok((route, serial, published)) = self.outstanding.sent(token) else {
            return;
        };
        self.worked.note(serial, route);
        self.refused.answered(token);
        if self.outstanding.finish(token).is_ok() {
            self.resend.forget(token);
            self.metrics.upstream.record(now.since(published));
            self.answer(Reply {
                times: Some(Times {
                    published,
                    answered: now,
                }),
                ..Reply::bare(token, Code::Sent)
            });
        }
    }

    /// Forgets a connection on which nothing is waited for any more.
    pub(super) fn retired(&mut self, serial: Serial) {
        self.worked.forget(serial);
    }

    /// Completes everything that was on a connection which is gone, or plans to send it again.
    pub fn lost(&mut self, serial: Serial, now: Nanos) {
        self.worked.forget(serial);
        for token in self.outstanding.on(serial, |_| true) {
            self.fail(token, Code::UpstreamLost, now);
        }
    }

    /// Completes what the server has refused to let through: everything on a connection that was
    /// published to `subject`. Where that has worked before, or `passed`, the permission was withdrawn
    /// while requests were on their way, and some of them may have run.
    pub(super) fn forbidden(&mut self, serial: Serial, subject: &str, passed: &Routes, now: Nanos) {
        let routes = Arc::clone(&self.routes);
        let numbered = (0_u16..).zip(routes.iter());
        for (number, _) in numbered.filter(|(_, route)| route.subject.as_str() == subject) {
            if let Some(probe) = self.refused.refuse(number, serial, now) {
                let code = self.resend.fate(probe, Code::Forbidden);
                self.complete(probe, code);
                continue;
            }
            let code = if self.worked.has(serial, number) || passed.has(number) {
                Code::UpstreamLost
            } else {
                Code::Forbidden
            };
            for token in self.outstanding.on(serial, |route| route == number) {
                let code = self.resend.fate(token, code);
                self.complete(token, code);
            }
        }
    }

    /// Lets the workers that were answered see it, and wakes them.
    pub fn flush(&mut self) {
        let to_flush = core::mem::take(&mut self.to_flush);
        if to_flush == 0 {
            return;
        }
        for (bit, link) in self.links.iter_mut().enumerate() {
            if to_flush & (1 << bit) != 0 {
                link.flush();
            }
        }
    }
}
