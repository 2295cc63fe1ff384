//! Two answers of a gateway, and a view that has heard them, for the tests.

use core::time::Duration;

use super::app::App;
use super::sessions::Column;
use crate::status::{
    CodeCount, ConnectionStatus, GatewayStatus, NatsStatus, Outcomes, Rejected, RouteStatus,
    SessionStatus, Status, Totals, WorkerStatus,
};

/// A view that has heard both.
pub(super) fn app() -> App {
    let mut app = App::new(Column::Rate, Duration::from_secs(1));
    let (earlier, later) = statuses();
    app.heard(Ok(earlier));
    assert_eq!(app.sample, None, "one answer has no rates");
    app.heard(Ok(later));
    assert!(app.sample.is_some());
    app
}

/// An answer, and the one of 2 s later.
pub(super) fn statuses() -> (Status, Status) {
    let later = Status {
        time_seconds: 102.0,
        gateway: GatewayStatus {
            version: "0.1.0".to_owned(),
            pid: 100,
            uptime_seconds: 3_725.0,
            live: true,
            ready: true,
            draining: false,
            reason: None,
        },
        totals: Totals {
            accepted: 12_400,
            completed: 12_345,
            abandoned: 0,
            in_flight: 55,
            late_replies: 0,
            outcomes: Outcomes {
                answered: 12_245,
                rejected: 100,
                unknown: 0,
            },
            codes: vec![
                code("OK", "answered", 12_245),
                code("OVERLOADED", "rejected", 100),
            ],
            p50_seconds: Some(0.000_85),
            p99_seconds: Some(0.012),
        },
        sessions: vec![
            SessionStatus {
                worker: 1,
                queued: 64,
                in_flight: 40,
                p50_seconds: Some(0.000_9),
                p99_seconds: Some(0.015),
                ..session(1, 4711, "trader", 9_600)
            },
            SessionStatus {
                in_flight: 15,
                p50_seconds: Some(0.000_5),
                p99_seconds: Some(0.002),
                ..session(2, 815, "ide", 2_400)
            },
            SessionStatus {
                uid: 1_001,
                p99_seconds: None,
                ..session(7, 12, "batch", 100)
            },
        ],
        workers: vec![worker(0, 10.0), worker(1, 3.0)],
        nats: Some(NatsStatus {
            configured: 2,
            connected: 1,
            held: 3,
            last_error: Some("127.0.0.1:4222: connection refused".to_owned()),
            connections: vec![
                ConnectionStatus {
                    connection: 0,
                    state: "connected".to_owned(),
                    server: "nats://127.0.0.1:4222".to_owned(),
                    server_name: Some("n1".to_owned()),
                    up_seconds: Some(60.0),
                    round_trip_seconds: Some(0.000_12),
                },
                ConnectionStatus {
                    connection: 1,
                    state: "waiting".to_owned(),
                    server: "nats://127.0.0.1:4223".to_owned(),
                    ..ConnectionStatus::default()
                },
            ],
        }),
        routes: vec![
            RouteStatus {
                admitted: 12_300,
                in_flight: 55,
                in_flight_limit: 128,
                ..route("decide", "closed")
            },
            RouteStatus {
                breaker_opens: 2,
                rejected: Rejected {
                    breaker: 90,
                    queue: 10,
                    ..Rejected::default()
                },
                ..route("audit", "open")
            },
        ],
    };
    let mut earlier = later.clone();
    earlier.time_seconds -= 2.0;
    earlier.gateway.uptime_seconds -= 2.0;
    earlier.totals.accepted -= 2_100;
    earlier.totals.completed -= 2_100;
    earlier.totals.outcomes.answered -= 2_000;
    earlier.totals.outcomes.rejected -= 100;
    earlier.totals.codes.truncate(1);
    earlier.totals.codes[0].completed -= 2_000;
    earlier.sessions.truncate(2);
    earlier.sessions[0].completed -= 1_600;
    earlier.sessions[1].completed -= 400;
    earlier.workers[0].busy_seconds -= 1.0;
    earlier.routes[0].admitted -= 2_000;
    earlier.routes[1].rejected = Rejected::default();
    (earlier, later)
}

fn code(code: &str, outcome: &str, completed: u64) -> CodeCount {
    CodeCount {
        code: code.to_owned(),
        outcome: outcome.to_owned(),
        completed,
    }
}

fn session(session: u32, pid: i32, command: &str, completed: u64) -> SessionStatus {
    SessionStatus {
        session,
        pid,
        uid: 1_000,
        gid: 1_000,
        name: String::new(),
        command: Some(command.to_owned()),
        entries: 256,
        message_size: 4_096,
        bytes: 1 << 20,
        completed,
        ..SessionStatus::default()
    }
}

fn worker(number: usize, busy_seconds: f64) -> WorkerStatus {
    WorkerStatus {
        worker: number,
        sessions: 1,
        busy_seconds,
        ..WorkerStatus::default()
    }
}

fn route(name: &str, breaker: &str) -> RouteStatus {
    RouteStatus {
        route: name.to_owned(),
        breaker: breaker.to_owned(),
        ..RouteStatus::default()
    }
}
