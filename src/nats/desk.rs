//! The answering side: who waits for what, and the one place from which answers leave.

use std::sync::Arc;

use async_nats::Message;

use super::classify;
use super::outstanding::{Outstanding, Serial, Unmatched};
use crate::bridge::{Code, Reply, Token, UpstreamEnd};
use crate::metrics::nats::NatsMetrics;
use crate::route::{Route, RouteKind};

/// The workers' links, the requests outstanding, and what has been answered in this turn.
pub(super) struct Desk {
    links: Vec<UpstreamEnd>,
    /// Links that were answered since the last flush, one bit each.
    to_flush: u64,
    routes: Arc<[Route]>,
    pub(super) outstanding: Outstanding,
    pub(super) metrics: Arc<NatsMetrics>,
}

impl Desk {
    pub(super) fn new(
        links: Vec<UpstreamEnd>,
        routes: Arc<[Route]>,
        metrics: Arc<NatsMetrics>,
    ) -> Self {
        Self {
            outstanding: Outstanding::new(links.len()),
            to_flush: 0,
            links,
            routes,
            metrics,
        }
    }

    pub(super) fn links(&self) -> &[UpstreamEnd] {
        &self.links
    }

    /// Answers a request that is on no connection.
    pub(super) fn answer(&mut self, reply: Reply) {
        let worker = reply.token.worker();
        match reply.code {
            Code::NoResponders => self.metrics.no_responders.increment(),
            Code::UpstreamLost => self.metrics.upstream_lost.increment(),
            Code::UpstreamDown => self.metrics.upstream_down.increment(),
            Code::ExpiredUnsent => self.metrics.expired_unsent.increment(),
            _ => {}
        }
        let Some(link) = self.links.get(usize::from(worker)) else {
            self.metrics.answers_refused.increment();
            return;
        };
        if link.answer(reply).is_err() {
            self.metrics.answers_refused.increment();
        }
        self.to_flush |= 1_u64.checked_shl(worker.into()).unwrap_or(0);
    }

    /// Completes a request without a body, if nobody has completed it before.
    pub(super) fn complete(&mut self, token: Token, code: Code) {
        if self.outstanding.finish(token).is_ok() {
            self.metrics.completed_here.increment();
            self.answer(Reply::bare(token, code));
        }
    }

    /// Takes a message that came to a reply inbox for `token`.
    pub(super) fn message(&mut self, token: Token, message: Message) {
        let route = match self.outstanding.route(token) {
            Ok(route) => self.routes.get(usize::from(route)),
            Err(reason) => return self.unmatched(reason),
        };
        let Some(route) = route.filter(|route| route.kind != RouteKind::Publish) else {
            return self.unmatched(Unmatched::Forged);
        };
        let Some(reply) = classify::reply(token, route, message, &self.metrics) else {
            return;
        };
        if self.outstanding.finish(token).is_ok() {
            self.metrics.replies.increment();
            self.answer(reply);
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

    /// Completes everything that was on a connection which is gone.
    pub(super) fn lost(&mut self, serial: Serial) {
        for token in self.outstanding.on(serial, |_| true) {
            self.complete(token, Code::UpstreamLost);
        }
    }

    /// Completes what the server has refused to let through: everything on a connection that was
    /// published to `subject`.
    pub(super) fn forbidden(&mut self, serial: Serial, subject: &str) {
        let routes = Arc::clone(&self.routes);
        let hit = |route: u16| {
            routes
                .get(usize::from(route))
                .is_some_and(|route| route.subject.as_str() == subject)
        };
        for token in self.outstanding.on(serial, hit) {
            self.complete(token, Code::Forbidden);
        }
    }

    /// Wakes the workers that were answered.
    pub(super) fn flush(&mut self) {
        let to_flush = core::mem::take(&mut self.to_flush);
        if to_flush == 0 {
            return;
        }
        for (bit, link) in self.links.iter().enumerate() {
            if to_flush & (1 << bit) != 0 {
                link.flush();
            }
        }
    }
}
