//! Puts the rooms together: control on the calling thread, each worker on its own or stepped by
//! the NATS runtime, NATS on its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use ipc_ringbuf::sys::{Bell, BellPage};

use crate::bridge::{self, Admissions, Duty, Upstream};
use crate::clock::System;
use crate::config::Config;
use crate::control::{self, Ended, Listener, Server, StartError, WorkerHandle};
use crate::health::{NatsHealth, StopSignal};
use crate::metrics::{nats::NatsMetrics, worker::WorkerMetrics};
use crate::nats::{self, NatsError};
use crate::settings::{Threads, UpstreamKind};
use crate::worker::cycle::{Parts, Worker};
use crate::worker::idle::{Core, Idle};
use crate::worker::mailbox::mailbox;
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

/// Runs the gateway until a signal ends it.
///
/// # Errors
/// [`GatewayError`] when it cannot start.
pub fn run(config: Config) -> Result<Ended, GatewayError> {
    let listener = Listener::bind(&config.control.socket, config.control.socket_mode)?;
    let routes: Arc<[_]> = config.routes.into();
    let admissions = Arc::new(Admissions::new(routes.len()));
    let bell = Bell::new()?;
    let stop = StopSignal::new();
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let (mut workers, mut links, mut duties, mut threads) = (vec![], vec![], vec![], vec![]);
    for number in 0..u8::try_from(config.workers.workers).unwrap_or(u8::MAX) {
        let own = Bell::new()?;
        let (post, mailbox) = mailbox(own.ringer()?, bell.ringer()?);
        let page = Arc::new(BellPage::create()?);
        workers.push(WorkerHandle {
            post,
            page: Arc::clone(&page),
        });
        let settings = &config.workers;
        let parts = Parts {
            number,
            upstream: (),
            clock: System,
            routes: Arc::clone(&routes),
            admissions: Arc::clone(&admissions),
            metrics: Arc::new(WorkerMetrics::default()),
            mailbox,
            bell: own,
            page,
            max_in_flight: settings.max_in_flight,
            burst: settings.burst,
            first_generation: u32::from_ne_bytes(seed),
        };
        let idle = Idle::new(settings.idle, Core::Shared);
        if config.upstream == UpstreamKind::Loopback {
            threads.push(spawn(
                Worker::new(parts.with(bridge::Loopback::default()))?,
                idle,
            )?);
            continue;
        }
        let (end, link) = bridge::link(settings.max_in_flight as usize, settings.outbound);
        links.push(link);
        let worker = Worker::new(parts.with(end))?;
        match settings.threads {
            Threads::Merged => duties.push(Box::new(worker) as Box<dyn Duty>),
            Threads::Split => threads.push(spawn(worker, idle)?),
        }
    }
    let nats = (config.upstream == UpstreamKind::Nats).then(|| {
        let (settings, routes, stop) = (config.nats, Arc::clone(&routes), stop.clone());
        let health = Arc::new(NatsHealth::new(0));
        let metrics = Arc::new(NatsMetrics::default());
        let run = move || {
            nats::run(
                settings,
                routes,
                links,
                duties.pop(),
                admissions,
                metrics,
                health,
                stop,
            )
        };
        std::thread::Builder::new()
            .name("ipcgw-nats".to_owned())
            .spawn(run)
    });
    let ended = control::run(Server {
        listener,
        settings: config.control,
        routes,
        workers,
        bell,
    })?;
    if ended == Ended::AtOnce {
        return Ok(ended);
    }
    stop.stop();
    for thread in threads {
        drop(thread.join());
    }
    if let Some(Ok(result)) = nats.transpose()?.map(JoinHandle::join) {
        result?;
    }
    Ok(ended)
}

fn spawn<U: Upstream + Send + 'static>(
    mut worker: Worker<U, System>,
    mut idle: Idle,
) -> io::Result<JoinHandle<()>> {
    let run = move || thread::run(&mut worker, &mut idle);
    std::thread::Builder::new()
        .name("ipcgw-worker".to_owned())
        .spawn(run)
}
