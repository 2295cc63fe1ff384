//! Puts the rooms together: control on the calling thread, each worker on its own or stepped by
//! the NATS runtime, NATS on its own.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ipc_ringbuf::sys::{Bell, BellPage};

use crate::bridge::{self, Admissions, Duty, News, Upstream, UpstreamEnd};
use crate::clock::System;
use crate::config::{Config, Overrides};
use crate::control::{
    self, AdminListener, Ended, Inherited, Reader, Report, Server, StartError, WorkerHandle,
    raise_descriptors,
};
use crate::health::{NatsHealth, StopSignal};
use crate::log_level::LogLevel;
use crate::metrics::{
    control::ControlMetrics, export::Sources, log::LogMetrics, nats::NatsMetrics,
    trace::TraceMetrics, worker::WorkerMetrics,
};
use crate::nats::{self, NatsError};
use crate::placement::{self, CoreId, Placement};
use crate::reload::Reloader;
use crate::route::{MAX_ROUTE_NUMBERS, Route};
use crate::settings::{IdleSettings, NatsSettings, Threads, UpstreamKind};
use crate::trace::{self, Random, Tracer};
use crate::version;
use crate::worker::cycle::Worker;
use crate::worker::idle::{Core, Idle};
use crate::worker::mailbox::mailbox;
use crate::worker::parts::Parts;
use crate::worker::thread;

/// Why the gateway could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// It cannot listen.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The NATS room ended.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The operating system.
    #[error("the operating system refused: {0}")]
    Os(#[from] io::Error),
}

/// Runs the gateway until a signal ends it. `log` counts the lines that were not written, `level`
/// changes what is logged; `serving` is called with the socket's path once clients can attach.
/// `flags` are those that the configuration was read with, for when it is read again.
///
/// # Errors
/// [`GatewayError`] when it cannot start.
pub fn run(
    mut config: Config,
    flags: Overrides,
    log: Arc<LogMetrics>,
    level: LogLevel,
    serving: impl FnOnce(&Path),
) -> Result<Ended, GatewayError> {
    // A socket that is passed takes the place of the one that is configured, which does not change
    // the configuration.
    let read = config.clone();
    let (listener, admin, heir) = Inherited::take()?.listen(&mut config.control)?;
    let exposed = config.control.metrics.map(AdminListener::bind_metrics);
    let exposed = exposed.transpose()?;
    // Not before: that it cannot listen is one line.
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        "starting"
    );
    let control = &config.control;
    raise_descriptors(control.max_sessions);
    if config.upstream == UpstreamKind::Nats
        && let Some(url) = config.nats.unprotected()
    {
        tracing::warn!(
            url,
            "credentials can be read on the way: use tls:// or nats.tls.required"
        );
    }
    let routes: Arc<[Route]> = config.routes.as_slice().into();
    let news = News::from(Arc::clone(&routes));
    let reloader = Reloader::new(flags, read, news.clone(), level);
    // There may be more routes later.
    let admissions = Arc::new(Admissions::new(MAX_ROUTE_NUMBERS));
    let bell = Bell::new()?;
    let stop = StopSignal::new();
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let mut ids = [0; 8];
    getrandom::fill(&mut ids).map_err(io::Error::other)?;
    let mut ids = Random::new(u64::from_ne_bytes(ids));
    // Only a binary with the feature `otel` has an endpoint (`config` refuses it otherwise).
    let records = config.tracing.endpoint.is_some().then(trace::records);
    let settings = &config.workers;
    let placement = Placement::plan(settings);
    let (mut workers, mut links, mut duties, mut threads) = (vec![], vec![], vec![], vec![]);
    let mut metrics = vec![];
    for number in 0..settings.workers {
        let own = Bell::new()?;
        let sessions = control.max_sessions as usize;
        let (post, mailbox) = mailbox(own.ringer()?, bell.ringer()?, sessions);
        let page = Arc::new(BellPage::create()?);
        workers.push(WorkerHandle {
            post,
            page: Arc::clone(&page),
        });
        let counters = Arc::new(WorkerMetrics::for_routes(MAX_ROUTE_NUMBERS));
        metrics.push(Arc::clone(&counters));
        let tracer = records.as_ref().map(|records| {
            let (own, metrics) = (Random::new(ids.number()), Arc::clone(&counters));
            Tracer::new(&config.tracing, own, Arc::clone(records), metrics)
        });
        let parts = Parts {
            number: u8::try_from(number).unwrap_or(u8::MAX),
            upstream: (),
            clock: System,
            routes: Arc::clone(&routes),
            admissions: Arc::clone(&admissions),
            metrics: counters,
            mailbox,
            bell: own,
            page,
            max_in_flight: settings.max_in_flight,
            burst: settings.burst,
            max_queue_delay: settings.max_queue_delay,
            slow_client_timeout: control.slow_client_timeout,
            first_generation: u32::from_ne_bytes(seed),
        };
        let waits = (settings.idle, placement.share(number));
        let core = placement.core(number);
        if config.upstream == UpstreamKind::Loopback {
            let worker = Worker::new(parts.with(bridge::Loopback::default()))?.traced(tracer);
            threads.push(spawn(number, worker, waits, core)?);
            continue;
        }
        let (end, link) = bridge::link(
            settings.max_in_flight as usize,
            settings.outbound,
            nats::MAX_HELD,
        );
        links.push(link);
        let worker = Worker::new(parts.with(end))?.traced(tracer);
        match settings.threads {
            Threads::Merged => duties.push(Box::new(worker) as Box<dyn Duty>),
            Threads::Split => threads.push(spawn(number, worker, waits, core)?),
        }
    }
    let trace = Arc::new(TraceMetrics::default());
    #[cfg(feature = "otel")]
    let exporter = match (records, config.tracing.endpoint) {
        (Some(records), Some(url)) => Some(crate::otlp::Exporter::start(
            url,
            config.tracing.service_name,
            records,
            news.clone(),
            Arc::clone(&trace),
            ids.number(),
        )?),
        _ => None,
    };
    let nats = match config.upstream {
        UpstreamKind::Nats => Some(Nats::start(
            config.nats,
            news,
            links,
            duties.pop(),
            admissions,
            stop.clone(),
        )?),
        UpstreamKind::Loopback => None,
    };
    let sources = Sources {
        workers: metrics,
        nats: nats.as_ref().map(|nats| Arc::clone(&nats.metrics)),
        control: Arc::new(ControlMetrics::default()),
        log,
        trace,
        routes: routes.iter().map(|route| route.name.clone()).collect(),
    };
    let health = nats.as_ref().map(|nats| Arc::clone(&nats.health));
    let server = Server {
        listener,
        admin,
        metrics: exposed,
        settings: config.control,
        routes,
        workers,
        bell,
        report: Arc::new(Report::new(sources, health)),
        reader: Reader::new(reloader),
        nats: stop.clone(),
        heir,
    };
    let socket = server.settings.socket.clone();
    let ended = control::run(server, || serving(&socket))?;
    if matches!(ended, Ended::AtOnce) {
        return Ok(ended);
    }
    match (end(threads, &stop, nats.map(|nats| nats.thread)), &ended) {
        // The sessions go on whatever ended this gateway's threads.
        (Err(error), Ended::Succeeded(..)) => tracing::error!(%error, "a thread did not end well"),
        (finished, _) => finished?,
    }
    #[cfg(feature = "otel")]
    if let Some(exporter) = exporter {
        exporter.finish();
    }
    Ok(ended)
}

/// Time for the threads to end when everything is finished.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits for the threads, the workers' first, but not for ever: a thread that hangs ends with the
/// process.
fn end(
    workers: Vec<JoinHandle<()>>,
    stop: &StopSignal,
    nats: Option<JoinHandle<Result<(), NatsError>>>,
) -> Result<(), GatewayError> {
    let (sender, ended) = mpsc::channel();
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("ipcgw-end".to_owned())
        .spawn(move || {
            for worker in workers {
                drop(worker.join());
            }
            stop.stop();
            let result = nats.map_or(Ok(Ok(())), JoinHandle::join);
            // Nobody waits any more when this took too long.
            sender.send(result.unwrap_or(Ok(()))).ok();
        })?;
    match ended.recv_timeout(END_TIMEOUT) {
        Ok(result) => Ok(result?),
        Err(_) => {
            tracing::error!("a thread does not end; the process ends without it");
            Ok(())
        }
    }
}

/// The NATS room on its thread, and what can be seen of it.
struct Nats {
    thread: JoinHandle<Result<(), NatsError>>,
    metrics: Arc<NatsMetrics>,
    health: Arc<NatsHealth>,
}

impl Nats {
    fn start(
        settings: NatsSettings,
        news: News,
        links: Vec<UpstreamEnd>,
        duty: Option<Box<dyn Duty>>,
        admissions: Arc<Admissions>,
        stop: StopSignal,
    ) -> io::Result<Self> {
        let connections = u32::try_from(settings.connections).unwrap_or(u32::MAX);
        let health = Arc::new(NatsHealth::new(connections));
        let metrics = Arc::new(NatsMetrics::default());
        metrics.configured.set(connections.into());
        let its_health = Arc::clone(&health);
        let its_metrics = Arc::clone(&metrics);
        let run = move || {
            let seen = Arc::clone(&its_health);
            let ended = nats::run(
                settings,
                news,
                links,
                duty,
                admissions,
                its_metrics,
                its_health,
                stop,
            );
            // Whoever waits for the thread hears of it at the gateway's end only.
            ended.inspect_err(|error| {
                let why = causes(error);
                tracing::error!(why, "the thread for NATS has ended: nothing is sent");
                seen.set_last_error(why);
            })
        };
        let thread = std::thread::Builder::new()
            .name("ipcgw-nats".to_owned())
            .spawn(run)?;
        Ok(Self {
            thread,
            metrics,
            health,
        })
    }
}

/// An error and what it comes from.
fn causes(error: &dyn core::error::Error) -> String {
    let first = error.to_string();
    let sources = core::iter::successors(error.source(), |error| error.source());
    sources.fold(first, |text, source| format!("{text}: {source}"))
}

fn spawn<U: Upstream + Send + 'static>(
    number: usize,
    mut worker: Worker<U, System>,
    (settings, mut share): (IdleSettings, Core),
    core: Option<CoreId>,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        if core.is_some_and(|core| !placement::pin(core)) {
            // Wherever it runs now, somebody else does too.
            share = Core::Shared;
        }
        thread::run(&mut worker, &mut Idle::new(settings, share));
    };
    std::thread::Builder::new()
        .name(format!("ipcgw-worker-{number}"))
        .spawn(run)
}
