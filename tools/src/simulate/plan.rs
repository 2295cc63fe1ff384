//! What a seed's world looks like before anything happens.

use core::time::Duration;
use std::sync::Arc;

use fastrand::Rng;
use ipc_gateway::route::{
    Access, BreakerPolicy, ReplyContract, Route, RouteKind, Standing, Subject, SubjectError,
};
use ipc_ringbuf::handshake::RouteInfo;
use ipc_ringbuf::layout::Geometry;

use super::violation::{Checked, Invariant, broken};

/// Longest time that any route gives.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest body that the broker takes while nothing shrinks it.
pub(crate) const MAX_PAYLOAD: u32 = 1024 * 1024;

/// The shape of a world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: u8,
    /// Most sessions at once, those of bursts of mail aside.
    pub(crate) sessions: usize,
    pub(crate) routes: Arc<[Route]>,
    /// Most requests in flight in a worker.
    pub(crate) max_in_flight: u32,
    /// Most requests that a worker takes from a session in a turn.
    pub(crate) burst: u32,
    /// Most requests that wait in a link.
    pub(crate) outbound: usize,
    /// Most requests that are held until there is a connection.
    pub(crate) held: usize,
    /// Sessions for which a worker's mailbox is made: small ones fill up.
    pub(crate) mailbox: usize,
    /// Connections to the broker.
    pub(crate) lines: usize,
    /// Longest wait for a connection.
    pub(crate) fail_fast: Duration,
    /// Of eight new clients, how many are hostile.
    pub(crate) hostile_in_eight: u8,
    /// Whether replies are put into the workers' queues past the desk.
    pub(crate) injects: bool,
    /// Where generations begin; some seeds begin just before they wrap.
    pub(crate) first_generation: u32,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Checked<Self> {
        let invalid = |error: SubjectError| broken(Invariant::Simulation, error.to_string());
        let mut routes = vec![route(rng, 0).map_err(invalid)?];
        for number in 1..rng.u16(2..=5) {
            routes.push(route(rng, number).map_err(invalid)?);
        }
        Ok(Self {
            workers: rng.u8(1..=3),
            sessions: rng.usize(1..=6),
            routes: routes.into(),
            max_in_flight: rng.u32(1..=40),
            burst: rng.u32(1..=8),
            outbound: rng.usize(1..=24),
            held: rng.usize(1..=16),
            mailbox: rng.usize(1..=3),
            lines: rng.usize(1..=2),
            fail_fast: Duration::from_millis(rng.u64(1..=100)),
            hostile_in_eight: if rng.bool() { rng.u8(1..=4) } else { 0 },
            injects: rng.bool(),
            first_generation: if rng.u8(..4) == 0 {
                u32::MAX - rng.u32(0..8)
            } else {
                rng.u32(..)
            },
        })
    }

    /// What a client is told of the routes.
    pub(crate) fn welcome(&self) -> Vec<RouteInfo> {
        (0..)
            .zip(self.routes.iter())
            .map(|(id, route)| RouteInfo {
                id,
                name: route.name.clone(),
                timeout_ms: u32::try_from(route.timeout.as_millis()).unwrap_or(u32::MAX),
            })
            .collect()
    }
}

/// A route. The first is plain, so that a healed world can be asked something simple.
fn route(rng: &mut Rng, number: u16) -> Result<Route, SubjectError> {
    let plain = number == 0;
    let kind = match rng.u8(..4) {
        _ if plain => RouteKind::Request,
        0 => RouteKind::Publish,
        1 => RouteKind::Stream,
        _ => RouteKind::Request,
    };
    let contract = if !plain && rng.bool() {
        ReplyContract::Router
    } else {
        ReplyContract::Opaque
    };
    Ok(Route {
        name: format!("r{number}"),
        subject: Subject::try_from(format!("simulate.r{number}"))?,
        kind,
        contract,
        timeout: Duration::from_millis(rng.u64(1..=5_000)),
        max_timeout: if plain {
            MAX_TIMEOUT
        } else {
            Duration::from_millis(rng.u64(0..=60_000))
        },
        idempotent: rng.bool(),
        answers_once: false,
        max_reply: if !plain && rng.bool() {
            rng.u32(8..=300)
        } else {
            u32::MAX
        },
        access: Access::Everyone,
        breaker: BreakerPolicy {
            enabled: !plain && rng.bool(),
            min_failures: rng.u32(1..=20),
            open_time: Duration::from_millis(rng.u64(10..=2_000)),
            ..BreakerPolicy::default()
        },
        standing: Standing::Live,
    })
}

/// A session's geometry.
pub(crate) fn geometry(rng: &mut Rng) -> Geometry {
    Geometry {
        entries: 1 << rng.u32(1..=5),
        message_size: rng.u32(96..=1024),
    }
}
