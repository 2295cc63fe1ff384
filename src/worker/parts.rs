//! What a worker is made of.

use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::sys::{Bell, BellPage};

use super::mailbox::Mailbox;
use crate::bridge::Admissions;
use crate::metrics::worker::WorkerMetrics;
use crate::route::Route;

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts<U, C> {
    /// Its number.
    pub number: u8,
    /// Who answers.
    pub upstream: U,
    /// The time.
    pub clock: C,
    /// The routes, by number.
    pub routes: Arc<[Route]>,
    /// What is let in, by route.
    pub admissions: Arc<Admissions>,
    /// Its counters.
    pub metrics: Arc<WorkerMetrics>,
    /// Its mail.
    pub mailbox: Mailbox,
    /// What it sleeps on.
    pub bell: Bell,
    /// How its clients see that it sleeps.
    pub page: Arc<BellPage>,
    /// Most requests in flight.
    pub max_in_flight: u32,
    /// Most requests taken from one session in one turn.
    pub burst: u32,
    /// Time that requests may wait in a queue behind the upstream; zero: as long as they like.
    pub max_queue_delay: Duration,
    /// How long a client may leave its full completion ring alone.
    pub slow_client_timeout: Duration,
    /// Where tokens begin; random, so that they cannot be guessed.
    pub first_generation: u32,
}

impl<C> Parts<(), C> {
    /// The same parts with an upstream.
    #[must_use]
    pub fn with<U>(self, upstream: U) -> Parts<U, C> {
        Parts {
            number: self.number,
            upstream,
            clock: self.clock,
            routes: self.routes,
            admissions: self.admissions,
            metrics: self.metrics,
            mailbox: self.mailbox,
            bell: self.bell,
            page: self.page,
            max_in_flight: self.max_in_flight,
            burst: self.burst,
            max_queue_delay: self.max_queue_delay,
            slow_client_timeout: self.slow_client_timeout,
            first_generation: self.first_generation,
        }
    }
}
