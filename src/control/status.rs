//! `GET /status`: everything at once. The threads are asked to show what they do not count in
//! public, waited for a moment, and read.

use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::code::{Code, Outcome};
use tokio::time::timeout;

use super::report::{Report, Seat, State};
use super::window::Window;
use crate::clock::{Clock as _, Nanos, System};
use crate::health::{LineHealth, NatsHealth};
use crate::metrics::latency::Counts;
use crate::metrics::worker::{RouteMetrics, WorkerMetrics};
use crate::status::{
    CodeCount, ConnectionStatus, GatewayStatus, NatsStatus, Outcomes, Rejected, RouteStatus,
    SessionStatus, Status, Totals, WorkerStatus,
};
use crate::worker::breaker;
use crate::worker::onlooker::WATCHED;

/// Time for the workers to show what they have. One that stands still is shown as it was.
const PATIENCE: Duration = Duration::from_millis(100);
/// Who asks so soon after somebody else does not make the threads show everything once more.
const FRESH: Duration = Duration::from_millis(50);

/// What is kept of a session for those who look at it.
#[derive(Debug)]
pub(super) struct Watched {
    command: Option<String>,
    window: Window,
}

impl Report {
    /// Everything that can be seen.
    pub(super) async fn status(&self) -> Status {
        self.ask().await;
        self.see(System.now())
    }

    /// Has the threads show what they have.
    async fn ask(&self) {
        if !self.begin(System.now()) {
            return;
        }
        if let Some(nats) = &self.nats {
            nats.look();
        }
        let shown = self.shown.notified();
        self.asked.notify_one();
        // Without all answers what there is is shown all the same.
        timeout(PATIENCE, shown).await.ok();
    }

    /// Whether the threads are to be asked; counting begins where it had not or had ended.
    fn begin(&self, now: Nanos) -> bool {
        let mut state = self.state();
        if now < state.looked.after(FRESH) {
            return false;
        }
        if now >= state.looked.after(WATCHED) {
            // What was counted for somebody who has gone is not of the last seconds.
            state.latency = None;
            for seat in state.sessions.values_mut() {
                seat.watched = None;
            }
        }
        state.looked = now;
        for seat in state.sessions.values() {
            seat.figures.want_latency();
        }
        true
    }

    fn see(&self, now: Nanos) -> Status {
        let (live, ready) = (self.live(), self.ready());
        let sources = self.counters();
        let workers = &sources.workers;
        let nats = self.nats.as_ref();
        let held = sources.nats.as_ref().map_or(0, |nats| nats.held.get());
        let mut state = self.state();
        let gateway = GatewayStatus {
            version: crate::version::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_seconds: seconds(now.since(self.began)),
            live: live.is_ok(),
            ready: ready.is_ok(),
            draining: state.draining,
            reason: ready.err(),
        };
        Status {
            time_seconds: seconds(now.0),
            gateway,
            totals: totals(&sources.workers, &mut state, now),
            sessions: state
                .sessions
                .values_mut()
                .map(|seat| session(seat, now))
                .collect(),
            workers: workers.iter().enumerate().map(worker).collect(),
            nats: nats.map(|health| connections(health, held, now)),
            routes: routes(&sources.routes, workers),
        }
    }
}

fn totals(workers: &[Arc<WorkerMetrics>], state: &mut State, now: Nanos) -> Totals {
    let sum = |value: fn(&WorkerMetrics) -> u64| workers.iter().map(|worker| value(worker)).sum();
    let mut outcomes = Outcomes::default();
    let mut codes = Vec::new();
    for &code in Code::ALL {
        let completed = workers.iter().map(|worker| worker.completions(code)).sum();
        if completed == 0 {
            continue;
        }
        let outcome = code.outcome();
        match outcome {
            Outcome::Answered => outcomes.answered += completed,
            Outcome::Rejected => outcomes.rejected += completed,
            _ => outcomes.unknown += completed,
        }
        codes.push(CodeCount {
            code: code.name().to_owned(),
            outcome: outcome.name().to_owned(),
            completed,
        });
    }
    let counts = Counts::of(workers.iter().map(|worker| &worker.completion));
    let window = state
        .latency
        .get_or_insert_with(|| Box::new(Window::new(&counts, now)));
    let newest = window.look(&counts, now);
    Totals {
        accepted: sum(|worker| worker.accepted.get()),
        completed: outcomes.answered + outcomes.rejected + outcomes.unknown,
        abandoned: sum(|worker| worker.abandoned.get()),
        in_flight: sum(|worker| worker.in_flight.get()),
        late_replies: sum(|worker| worker.late_replies.get()),
        outcomes,
        codes,
        p50_seconds: newest.quantile(0.5),
        p99_seconds: newest.quantile(0.99),
    }
}

fn session(seat: &mut Seat, now: Nanos) -> SessionStatus {
    let (row, figures) = (&seat.row, &seat.figures);
    let counts = Counts::of(figures.latency());
    let watched = seat.watched.get_or_insert_with(|| {
        Box::new(Watched {
            command: command(row.pid),
            window: Window::new(&counts, now),
        })
    });
    let newest = watched.window.look(&counts, now);
    SessionStatus {
        session: row.session,
        pid: row.pid,
        uid: row.uid,
        gid: row.gid,
        name: row.name.clone(),
        command: watched.command.clone(),
        worker: row.worker,
        entries: row.entries,
        message_size: row.message_size,
        bytes: row.bytes,
        queued: figures.queued.get(),
        in_flight: figures.in_flight.get(),
        completed: figures.completed.get(),
        p50_seconds: newest.quantile(0.5),
        p99_seconds: newest.quantile(0.99),
    }
}

/// What the kernel calls a process. Not its command line: reading that can take as long as the
/// process likes.
fn command(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

fn worker((number, metrics): (usize, &Arc<WorkerMetrics>)) -> WorkerStatus {
    WorkerStatus {
        worker: number,
        sessions: metrics.sessions.get(),
        in_flight: metrics.in_flight.get(),
        busy_seconds: seconds(metrics.busy_ns.get()),
        cycles: metrics.cycles.get(),
        sleeps: metrics.sleeps.get(),
        asleep: metrics.asleep.get() != 0,
        overloaded: metrics.overload_active.get() != 0,
    }
}

fn connections(health: &NatsHealth, held: u64, now: Nanos) -> NatsStatus {
    let show = |line: LineHealth| ConnectionStatus {
        connection: line.line,
        state: line.state.name().to_owned(),
        server: line.server,
        up_seconds: line.up.as_ref().map(|up| seconds(now.since(up.since))),
        round_trip_seconds: line.up.as_ref().map(|up| seconds(up.round_trip_ns)),
        server_name: line.up.map(|up| up.server_name),
    };
    NatsStatus {
        configured: health.configured(),
        connected: health.connected(),
        held,
        last_error: health.last_error(),
        connections: health.lines().into_iter().map(show).collect(),
    }
}

fn routes(names: &[String], workers: &[Arc<WorkerMetrics>]) -> Vec<RouteStatus> {
    let show = |(number, name): (usize, &String)| {
        let each = |value: fn(&RouteMetrics) -> u64| {
            let of = workers
                .iter()
                .filter_map(|worker| worker.routes().get(number));
            of.map(value)
        };
        let breaker = each(|route| route.breaker_state.get()).max().unwrap_or(0);
        RouteStatus {
            route: name.clone(),
            breaker: breaker::State::of(breaker).name().to_owned(),
            breaker_opens: each(|route| route.breaker_opens.get()).sum(),
            admitted: each(|route| route.admitted.get()).sum(),
            in_flight: each(|route| route.in_flight.get()).sum(),
            in_flight_limit: each(|route| route.limit.get()).sum(),
            rejected: Rejected {
                backpressure: each(|route| route.rejected_backpressure.get()).sum(),
                breaker: each(|route| route.rejected_breaker.get()).sum(),
                queue: each(|route| route.rejected_queue.get()).sum(),
            },
        }
    };
    names.iter().enumerate().map(show).collect()
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
