//! The loop: notices of the workers, signals, the pulse of the threads.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::sys::{self, Bell, BellPage};
use sd_notify::NotifyState;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::admin::AdminListener;
use super::greet::accept;
use super::listener::Listener;
use super::manager::Manager;
use super::report::{Pulse, Report};
use super::room::Room;
use crate::clock::{Clock as _, System};
use crate::health::StopSignal;
use crate::route::Route;
use crate::settings::ControlSettings;
use crate::worker::mailbox::Post;

/// Time for the workers to take a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to look whether the threads advance.
const PULSE: Duration = Duration::from_secs(1);
/// How soon to try again when a worker's mailbox was full.
const RESEND: Duration = Duration::from_millis(10);

/// A worker, as the control room sees it.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Where its mail goes.
    pub post: Post,
    /// What its clients look at before they ring.
    pub page: Arc<BellPage>,
}

/// What the control room is made of.
#[derive(Debug)]
pub struct Server {
    /// The bound socket.
    pub listener: Listener,
    /// The bound admin socket.
    pub admin: AdminListener,
    /// What it was told.
    pub settings: ControlSettings,
    /// The routes, by number.
    pub routes: Arc<[Route]>,
    /// The workers, by number.
    pub workers: Vec<WorkerHandle>,
    /// What the workers ring.
    pub bell: Bell,
    /// What the admin server shows.
    pub report: Arc<Report>,
    /// Wakes the NATS thread, if there is one.
    pub nats: StopSignal,
}

/// How the control room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was completed, or the drain timeout passed.
    Drained,
    /// A second signal came, or a worker does not end: end at once.
    AtOnce,
}

/// Runs the control room on this thread until it is told to end by a signal. `serving` is called
/// when signals are handled and clients can attach.
///
/// # Errors
/// The operating system's, when the runtime cannot be made.
pub fn run(server: Server, serving: impl FnOnce()) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(server, serving))
}

async fn serve(server: Server, serving: impl FnOnce()) -> io::Result<Ended> {
    let Server {
        listener,
        admin,
        settings,
        routes,
        workers,
        bell,
        report,
        nats,
    } = server;
    let drain_timeout = settings.drain_timeout;
    let room = Room::new(settings, routes, workers, Arc::clone(&report));
    let room = Rc::new(RefCell::new(room));
    let mut signals = Signals::new()?;
    let notices = Notices::new(bell)?;
    let outlives = listener.outlives();
    let accepting = tokio::task::spawn_local(accept(Rc::clone(&room), listener));
    let manager = Rc::new(Manager::default());
    let watching = tokio::task::spawn_local(watch(
        Arc::clone(&report),
        Rc::clone(&manager),
        Rc::clone(&room),
        nats,
    ));
    let sending = tokio::task::spawn_local(resend(Rc::clone(&room)));
    let answering = tokio::task::spawn_local(admin.serve(report));
    serving();
    manager.tell(&NotifyState::Ready);
    let mut deadline = None;
    let mut ended = loop {
        tokio::select! {
            () = notices.come() => room.borrow_mut().take_notices(),
            () = signals.come() => {
                if deadline.is_some() {
                    break Ended::AtOnce;
                }
                manager.tell(&NotifyState::Stopping);
                tracing::info!(timeout = ?drain_timeout, "draining: a second signal ends at once");
                deadline = Some(Instant::now() + drain_timeout);
                // Whoever connects now waits for the next gateway; without one to come they are
                // better told.
                if outlives {
                    accepting.abort();
                }
                room.borrow_mut().drain();
            }
            () = until(deadline) => {
                tracing::warn!("the drain timeout has passed; what is in flight ends as unknown");
                break Ended::Drained;
            }
        }
        if deadline.is_some() && room.borrow().is_drained() {
            break Ended::Drained;
        }
    };
    room.borrow_mut().stop();
    let stop = Instant::now() + STOP_TIMEOUT;
    while !room.borrow().is_empty() {
        tokio::select! {
            () = notices.come() => room.borrow_mut().take_notices(),
            () = sleep_until(stop) => break,
        }
    }
    if !room.borrow().is_empty() {
        tracing::error!("a worker does not end; the process ends without it");
        ended = Ended::AtOnce;
    }
    for task in [accepting, watching, sending] {
        task.abort();
    }
    answering.abort();
    Ok(ended)
}

/// SIGTERM and SIGINT.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self(terminate, signal(SignalKind::interrupt())?))
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// The bell that the workers ring when they have something to tell.
struct Notices {
    bell: Bell,
    watched: AsyncFd<OwnedFd>,
}

impl Notices {
    fn new(bell: Bell) -> io::Result<Self> {
        let watched = sys::watch_readable(bell.fd().try_clone_to_owned()?)?;
        Ok(Self { bell, watched })
    }

    async fn come(&self) {
        match self.watched.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
        self.bell.wait(Duration::ZERO);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Looks whether the threads advance, and feeds the service manager's watchdog while they do.
///
/// For the watchdog every thread is woken once a period and must have moved at the next look, so
/// that one which is stuck while it seems to sleep is seen too.
async fn watch(
    report: Arc<Report>,
    manager: Rc<Manager>,
    room: Rc<RefCell<Room>>,
    nats: StopSignal,
) {
    let watchdog = sd_notify::watchdog_enabled();
    let period = watchdog.map_or(PULSE, |limit| PULSE.min(limit / 2));
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse = Pulse::default();
    let mut was_live = true;
    loop {
        ticks.tick().await;
        let all_moved = pulse.look(&report, System.now());
        let live = report.live();
        if watchdog.is_some() {
            if all_moved && live.is_ok() {
                manager.tell(&NotifyState::Watchdog);
            }
            room.borrow().wake_workers();
            nats.wake();
        }
        match &live {
            Err(reason) if was_live => tracing::error!(reason, "not alive"),
            Ok(()) if !was_live => tracing::info!("alive again"),
            _ => {}
        }
        was_live = live.is_ok();
    }
}

/// Sends what a worker's mailbox had no room for.
async fn resend(room: Rc<RefCell<Room>>) {
    let behind = room.borrow().behind();
    loop {
        behind.notified().await;
        while !room.borrow_mut().resend() {
            sleep(RESEND).await;
        }
    }
}
