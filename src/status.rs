//! What `GET /status` answers: everything that can be seen of a running gateway at one moment.
//!
//! Plain values, filled in by `control` and read by `cli`; `docs/OPERATIONS.md` lists the fields,
//! and a test holds the two to each other. Counters begin at 0 when the gateway starts, so a rate is
//! the difference of two answers over the difference of their `time_seconds`. Who reads must not mind
//! fields that it does not know.

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was true, in seconds on the machine's monotonic clock.
    pub time_seconds: f64,
    /// The process.
    pub gateway: GatewayStatus,
    /// Sums over all sessions.
    pub totals: Totals,
    /// The attached sessions, oldest first.
    pub sessions: Vec<SessionStatus>,
    /// The workers, by number.
    pub workers: Vec<WorkerStatus>,
    /// The connections to NATS; none when something else answers.
    pub nats: Option<NatsStatus>,
    /// The routes, by number.
    pub routes: Vec<RouteStatus>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it began to serve.
    pub uptime_seconds: f64,
    /// Whether its threads advance, as `/livez` says.
    pub live: bool,
    /// Whether it takes requests, as `/readyz` says.
    pub ready: bool,
    /// Whether it is about to end.
    pub draining: bool,
    /// Why it is not ready; none if it is.
    pub reason: Option<String>,
}

/// Sums over all sessions, those that have ended included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests taken from rings.
    pub accepted: u64,
    /// Requests completed.
    pub completed: u64,
    /// Requests whose session ended before their completion.
    pub abandoned: u64,
    /// Requests accepted and not completed.
    pub in_flight: u64,
    /// Answers that came too late for their request.
    pub late_replies: u64,
    /// Completions by what they say.
    pub outcomes: Outcomes,
    /// Completions by code, those that have occurred.
    pub codes: Vec<CodeCount>,
    /// Time from acceptance to completion that half of the newest requests took at most; none
    /// without any.
    pub p50_seconds: Option<f64>,
    /// The same for 99 of 100.
    pub p99_seconds: Option<f64>,
}

/// Completions by what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Somebody decided.
    pub answered: u64,
    /// They never left the gateway.
    pub rejected: u64,
    /// They may have run.
    pub unknown: u64,
}

/// Completions with one code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCount {
    /// Its name.
    pub code: String,
    /// What it says: `answered`, `rejected` or `unknown`.
    pub outcome: String,
    /// How many.
    pub completed: u64,
}

/// One attached session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its number.
    pub session: u32,
    /// The client's process, as the kernel says; 0 when it is not of this namespace.
    pub pid: i32,
    /// The client's user.
    pub uid: u32,
    /// The client's group.
    pub gid: u32,
    /// What the client calls itself.
    pub name: String,
    /// What the kernel calls the client's process; none when it does not say.
    pub command: Option<String>,
    /// The worker that serves it.
    pub worker: usize,
    /// Requests that its submission ring holds, and the most that it can have at once.
    pub entries: u32,
    /// Largest message, in bytes.
    pub message_size: u32,
    /// Shared memory, in bytes.
    pub bytes: u64,
    /// Requests submitted and not accepted: the fill of its submission ring.
    pub queued: u64,
    /// Requests accepted and not completed.
    pub in_flight: u64,
    /// Requests completed.
    pub completed: u64,
    /// Time from submission, as the client claims, to completion that half of the newest requests
    /// took at most; none without any, or when nobody has asked in the seconds before.
    pub p50_seconds: Option<f64>,
    /// The same for 99 of 100.
    pub p99_seconds: Option<f64>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: usize,
    /// Sessions that it serves.
    pub sessions: u64,
    /// Requests accepted and not completed.
    pub in_flight: u64,
    /// Time in cycles that found something to do. With `workers.threads = "merged"` what the same
    /// thread does for NATS in between is in it.
    pub busy_seconds: f64,
    /// Duty cycles.
    pub cycles: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Whether it sleeps.
    pub asleep: bool,
    /// Whether requests wait for room for more than a moment or are rejected for that.
    pub overloaded: bool,
}

/// The connections to NATS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NatsStatus {
    /// Connections that are wanted.
    pub configured: u32,
    /// Connections that are up.
    pub connected: u32,
    /// Requests that wait for a connection or for room in one.
    pub held: u64,
    /// The newest error of any connection; it stays after a connection is back.
    pub last_error: Option<String>,
    /// One for each that is wanted.
    pub connections: Vec<ConnectionStatus>,
}

/// One connection to NATS, or the wait for one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its number.
    pub connection: usize,
    /// `connected`; `leaving`: up, and another is being made to take its place; `connecting`;
    /// `waiting`, for the next attempt.
    pub state: String,
    /// The server that it is up to, or that is tried next.
    pub server: String,
    /// What that server calls itself; none without a connection.
    pub server_name: Option<String>,
    /// Seconds since it is up; none if it is not.
    pub up_seconds: Option<f64>,
    /// Time of a message to the server and back, when somebody asked last or when it was made; none
    /// without a connection.
    pub round_trip_seconds: Option<f64>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub route: String,
    /// Where its circuit breaker stands, the worst of the workers: `closed`, `half open`, `open`.
    pub breaker: String,
    /// Times that a circuit breaker opened.
    pub breaker_opens: u64,
    /// Requests let through.
    pub admitted: u64,
    /// Requests on their way.
    pub in_flight: u64,
    /// Requests that may be on their way, of all workers; 0 before the first answer.
    pub in_flight_limit: u64,
    /// Requests rejected as `OVERLOADED`, by reason.
    pub rejected: Rejected,
}

/// Requests of a route rejected as `OVERLOADED`, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The Router asked for it.
    pub backpressure: u64,
    /// Its circuit breaker was open.
    pub breaker: u64,
    /// They had waited too long for room.
    pub queue: u64,
}
