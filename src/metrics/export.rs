//! The counters in the two formats that Prometheus reads: text, and protobuf, which has native
//! histograms. Names, units and meanings are listed in
//! `docs/OPERATIONS.md`; a test holds the two to each other.

use core::fmt;
use std::sync::Arc;

use ipc_ringbuf::code::Code;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_protobuf, text};
use prometheus_client::registry::Registry;

use super::control::ControlMetrics;
use super::log::LogMetrics;
use super::memory;
use super::nats::NatsMetrics;
use super::openmetrics::Out;
use super::trace::TraceMetrics;
use super::worker::{RouteMetrics, WorkerMetrics};
use crate::version;

/// Begins every name.
const PREFIX: &str = "ipcgw";

/// Whose counters are exported.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The workers', by number.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// The NATS room's; none when something else answers.
    pub nats: Option<Arc<NatsMetrics>>,
    /// The control room's.
    pub control: Arc<ControlMetrics>,
    /// The log's.
    pub log: Arc<LogMetrics>,
    /// The exporter's of traces.
    pub trace: Arc<TraceMetrics>,
    /// The routes' names, by number.
    pub routes: Vec<String>,
}

impl Sources {
    /// What `/metrics` answers unless asked otherwise: the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    /// What `/metrics` answers a scraper that asks for it: `io.prometheus.client.MetricFamily`
    /// messages, each after its length, histograms with classic and native buckets.
    ///
    /// # Errors
    /// Never in practice: writing to memory does not fail.
    pub fn protobuf(&self) -> Result<Vec<u8>, prometheus_protobuf::EncodeError> {
        prometheus_protobuf::encode_to_vec(&self.registry())
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self.clone()));
        registry
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out::new(encoder);
        let program = [
            ("version", version::VERSION),
            ("revision", version::REVISION),
        ];
        out.info(
            "build",
            "Always 1; the labels say which program runs",
            &program,
        )?;
        if let Some(bytes) = memory::allocated() {
            out.bytes(
                "allocated",
                "Memory that the allocator handed out and has not got back",
                bytes,
            )?;
        }
        self.encode_workers(&mut out)?;
        self.encode_routes(&mut out)?;
        self.encode_control(&mut out)?;
        self.nats
            .as_ref()
            .map_or(Ok(()), |nats| encode_nats(nats, &self.routes, &mut out))
    }
}

impl Sources {
    fn each(
        &self,
        value: impl Fn(&WorkerMetrics) -> u64,
    ) -> Vec<([(&'static str, String); 1], u64)> {
        let workers = self.workers.iter().enumerate();
        workers
            .map(|(number, metrics)| ([("worker", number.to_string())], value(metrics)))
            .collect()
    }

    fn encode_workers(&self, out: &mut Out<'_>) -> fmt::Result {
        let w = |value: fn(&WorkerMetrics) -> u64| self.each(value);
        out.counters(
            "accepted",
            "Requests taken from a ring",
            w(|m| m.accepted.get()),
        )?;
        let completions = Code::ALL.iter().map(|&code| {
            let labels = [("outcome", code.outcome().name()), ("code", code.name())];
            let total = self.workers.iter().map(|m| m.completions(code)).sum();
            (labels, total)
        });
        out.counters(
            "completions",
            "Completions by outcome and code",
            completions,
        )?;
        out.counters(
            "abandoned",
            "Requests whose session ended before their completion",
            w(|m| m.abandoned.get()),
        )?;
        out.gauges(
            "in_flight",
            "Requests accepted and not completed",
            w(|m| m.in_flight.get()),
        )?;
        out.gauges(
            "timers",
            "Deadlines that are watched",
            w(|m| m.timers.get()),
        )?;
        out.gauges("sessions", "Sessions served", w(|m| m.sessions.get()))?;
        out.counters(
            "late_replies",
            "Answers to a worker for requests that had timed out or whose session had ended",
            w(|m| m.late_replies.get()),
        )?;
        let violations = self
            .workers
            .iter()
            .enumerate()
            .flat_map(|(number, metrics)| {
                metrics.violations().map(move |(kind, count)| {
                    (
                        [("worker", number.to_string()), ("kind", kind.to_owned())],
                        count,
                    )
                })
            });
        out.counters(
            "ring_violations",
            "Sessions ended because their rings held impossible values, by kind",
            violations,
        )?;
        out.counters(
            "rings_in_vain",
            "Rings of clients that had submitted nothing",
            w(|m| m.rings_in_vain.get()),
        )?;
        out.counters(
            "sessions_deafened",
            "Times that a session was not listened to for a second, because it rang in vain too often",
            w(|m| m.sessions_deafened.get()),
        )?;
        out.counters(
            "client_wakes",
            "Times that a client had to be woken",
            w(|m| m.client_wakes.get()),
        )?;
        out.counters(
            "worker_sleeps",
            "Times that a worker went to sleep",
            w(|m| m.sleeps.get()),
        )?;
        out.counters("worker_cycles", "Duty cycles", w(|m| m.cycles.get()))?;
        let workers = || self.workers.iter();
        out.histogram(
            "ring_wait",
            "Time from submission to acceptance, as the client claims",
            workers().map(|m| &m.ring_wait),
        )?;
        out.histogram(
            "deliver",
            "Time from the answer's arrival to the completion",
            workers().map(|m| &m.deliver),
        )?;
        out.histogram(
            "completion",
            "Time from acceptance to completion",
            workers().map(|m| &m.completion),
        )
    }

    /// The sum over the workers for each route.
    fn each_route(
        &self,
        fold: fn(u64, u64) -> u64,
        value: fn(&RouteMetrics) -> u64,
    ) -> impl Iterator<Item = (&str, u64)> {
        self.routes.iter().enumerate().map(move |(number, name)| {
            let workers = self.workers.iter();
            let values = workers.filter_map(|worker| worker.routes().get(number).map(value));
            (name.as_str(), values.fold(0, fold))
        })
    }

    fn encode_routes(&self, out: &mut Out<'_>) -> fmt::Result {
        fn sum(a: u64, b: u64) -> u64 {
            a.saturating_add(b)
        }
        let labelled = |(name, value)| ([("route", name)], value);
        out.gauges(
            "breaker_state",
            "Where the circuit breaker stands: 0 closed, 1 half open, 2 open; the worst of the workers",
            self.each_route(u64::max, |m| m.breaker_state.get())
                .map(labelled),
        )?;
        out.counters(
            "breaker_opens",
            "Times that a circuit breaker opened",
            self.each_route(sum, |m| m.breaker_opens.get())
                .map(labelled),
        )?;
        let because = |reason, value| {
            self.each_route(sum, value)
                .map(move |(name, value)| ([("route", name), ("reason", reason)], value))
        };
        let rejected = because("backpressure", |m| m.rejected_backpressure.get())
            .chain(because("breaker", |m| m.rejected_breaker.get()))
            .chain(because("queue", |m| m.rejected_queue.get()));
        out.counters(
            "overload_rejections",
            "Requests rejected as OVERLOADED, by reason",
            rejected,
        )?;
        out.gauges(
            "in_flight_limit",
            "Requests that may be on their way",
            self.each_route(sum, |m| m.limit.get()).map(labelled),
        )?;
        out.gauges(
            "overload_active",
            "1 while requests wait for room for more than a moment or are rejected for that, else 0",
            self.each(|m| m.overload_active.get()),
        )?;
        let full = self.workers.iter().map(|m| m.cq_full_ns.get()).sum();
        out.seconds(
            "cq_full",
            "Time that completion rings were full and their clients took nothing",
            full,
        )
    }

    fn encode_control(&self, out: &mut Out<'_>) -> fmt::Result {
        let control = &self.control;
        out.counter("attached", "Clients attached", control.attached.get())?;
        let refused = control.refused();
        out.counters(
            "refused",
            "Clients refused, by reason",
            refused.map(|(reason, count)| ([("reason", reason.name())], count)),
        )?;
        let over = control.over_quota();
        let over = over.map(|(resource, count)| ([("resource", resource.name())], count));
        let requests = self.workers.iter().map(|m| m.completions(Code::Quota));
        out.counters(
            "quota_rejections",
            "Attaches and requests refused because of a user's quota, by what was used up",
            over.chain([([("resource", "in_flight")], requests.sum())]),
        )?;
        let ended = control.ended();
        out.counters(
            "sessions_ended",
            "Sessions ended, by reason",
            ended.map(|(reason, count)| ([("reason", reason.name())], count)),
        )?;
        out.gauge(
            "pending_clients",
            "Clients connected that have not said what they want",
            control.pending.get(),
        )?;
        out.bytes(
            "returning",
            "Memory of ended sessions that is not given back yet",
            control.returning_bytes.get(),
        )?;
        out.counter(
            "evicted_clients",
            "Clients dropped before they said what they want, because too many others waited",
            control.evicted.get(),
        )?;
        let errors = control.accept_errors();
        out.counters(
            "accept_errors",
            "Failures to accept a client, by error",
            errors.map(|(error, count)| ([("errno", error.name())], count)),
        )?;
        out.counter(
            "log_suppressed",
            "Log lines left out because there were too many from one site or about one user",
            control
                .log_suppressed
                .get()
                .saturating_add(self.log.suppressed.get()),
        )?;
        out.counter(
            "log_dropped",
            "Log lines that were not written: the reader was too slow, or the disk full",
            self.log.lost(),
        )?;
        out.counter(
            "trace_spans_exported",
            "Spans of traced requests that the collector has taken",
            self.trace.exported.get(),
        )?;
        let full = self.workers.iter().map(|m| m.trace_dropped.get()).sum();
        let dropped = [("export", self.trace.failed.get()), ("queue", full)];
        out.counters(
            "trace_spans_dropped",
            "Spans of traced requests that were not sent, by reason",
            dropped.map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        out.moment(
            "start_time",
            "When the gateway began to serve, in seconds since 1970",
            control.started_at.get(),
        )?;
        out.counters(
            "config_reloads",
            "Attempts to read the configuration again, by result",
            control
                .reloads()
                .map(|(how, count)| ([("result", how.name())], count)),
        )?;
        out.moment(
            "config_last_reload_success_timestamp",
            "When the configuration was last read and taken, in seconds since 1970",
            control.configured_at.get(),
        )?;
        out.gauge(
            "draining",
            "1 while draining, else 0",
            control.draining.get(),
        )
    }
}

fn encode_nats(nats: &NatsMetrics, routes: &[String], out: &mut Out<'_>) -> fmt::Result {
    out.gauge(
        "nats_configured",
        "Connections that are wanted",
        nats.configured.get(),
    )?;
    out.gauge(
        "nats_connected",
        "Connections that are up",
        nats.connected.get(),
    )?;
    out.gauge(
        "nats_tasks",
        "Tasks of the NATS runtime when it last went to sleep",
        nats.tasks.get(),
    )?;
    out.counter("nats_connects", "Connections made", nats.connects.get())?;
    let known: Vec<&str> = routes.iter().map(String::as_str).collect();
    let errors = nats.protocol_errors.with(&known);
    out.counters(
        "nats_protocol_errors",
        "Replies whose header block cannot be read, by route",
        errors
            .into_iter()
            .map(|(route, count)| ([("route", route)], count)),
    )?;
    out.counter(
        "nats_connect_failures",
        "Attempts to connect that failed",
        nats.connect_failures.get(),
    )?;
    out.counter(
        "nats_disconnects",
        "Connections lost",
        nats.disconnects.get(),
    )?;
    out.counter(
        "nats_lame_ducks",
        "Notices that a server is about to end",
        nats.lame_ducks.get(),
    )?;
    let errors = [
        ([("kind", "permission")], nats.errors_permission.get()),
        ([("kind", "authorization")], nats.errors_authorization.get()),
        ([("kind", "other")], nats.errors_other.get()),
    ];
    out.counters("nats_errors", "Errors from the server, by kind", errors)?;
    out.gauge(
        "nats_held",
        "Requests that wait for a connection or for room in one",
        nats.held.get(),
    )?;
    out.counter(
        "nats_published",
        "Requests handed to a connection, re-sends included",
        nats.published.get(),
    )?;
    out.histogram(
        "publish",
        "Time from acceptance to the hand-over to a connection",
        [&nats.publish],
    )?;
    out.histogram(
        "upstream",
        "Time from the hand-over to a connection to the answer's arrival",
        [&nats.upstream],
    )?;
    out.counter(
        "nats_replies",
        "Messages to a reply inbox that completed a request",
        nats.replies.get(),
    )?;
    let unmatched = [
        ([("reason", "forged")], nats.unmatched_forged.get()),
        ([("reason", "late")], nats.unmatched_late.get()),
        ([("reason", "duplicate")], nats.unmatched_duplicate.get()),
    ];
    out.counters(
        "unmatched_replies",
        "Messages to a reply inbox that completed nothing, by reason",
        unmatched,
    )?;
    out.counter(
        "pubacks_ignored",
        "PubAcks ignored because the route waits for a reply",
        nats.pubacks_ignored.get(),
    )?;
    out.counter(
        "reply_headers_dropped",
        "Reply headers left out because they break the rules of a header block",
        nats.reply_headers_dropped.get(),
    )?;
    out.counter(
        "replies_too_large",
        "Replies larger than their route allows",
        nats.replies_too_large.get(),
    )?;
    out.counter(
        "answers_refused",
        "Answers that a worker's queue had no room for; always 0, or the books do not balance",
        nats.answers_refused.get(),
    )?;
    out.counter("resent", "Requests that were sent again", nats.resent.get())?;
    out.counter(
        "resend_budget_exhausted",
        "Requests that would have been sent again but for the budget",
        nats.resend_budget_exhausted.get(),
    )?;
    let statuses = [
        ([("understood", "yes")], nats.backpressure_statuses.get()),
        ([("understood", "no")], nats.backpressure_unreadable.get()),
    ];
    out.counters(
        "backpressure_statuses",
        "Messages about the Router's load, by whether they could be understood",
        statuses,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sources() -> Sources {
        Sources {
            workers: vec![Arc::default(), Arc::default()],
            nats: Some(Arc::default()),
            control: Arc::default(),
            log: Arc::default(),
            trace: Arc::default(),
            routes: vec!["decide".to_owned()],
        }
    }

    #[test]
    fn the_text_ends_as_the_format_asks_and_sums_the_workers_histograms() {
        let sources = sources();
        for worker in &sources.workers {
            worker.completion.record(1_000_000);
            worker.accepted.add(2);
            worker.completed(Code::Ok);
        }
        let text = sources.text().unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in [
            r#"ipcgw_accepted_total{worker="1"} 2"#,
            r#"ipcgw_completions_total{outcome="answered",code="OK"} 2"#,
            "ipcgw_completion_seconds_count 2",
            r#"ipcgw_completion_seconds_bucket{le="+Inf"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_operators_document_lists_what_is_exported_and_nothing_else() {
        let text = sources().text().unwrap();
        let kinds: BTreeSet<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        let document = include_str!("../../docs/OPERATIONS.md");
        let listed: BTreeSet<(&str, &str)> = document
            .lines()
            // This is for the program to count, and no test of the library does.
            .filter(|line| !line.contains("`ipcgw_allocated_bytes`"))
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim);
                let name = cells
                    .nth(1)?
                    .strip_prefix("`ipcgw_")?
                    .split(['`', '{'])
                    .next()?;
                let kind = cells.next()?;
                let name = match kind {
                    "counter" => name.strip_suffix("_total")?,
                    "info" => name.strip_suffix("_info")?,
                    _ => name,
                };
                Some((name, kind))
            })
            .collect();
        let bare: BTreeSet<(&str, &str)> = kinds
            .iter()
            .map(|(name, kind)| (name.strip_prefix("ipcgw_").unwrap(), *kind))
            .collect();
        assert_eq!(bare, listed);
    }
}
