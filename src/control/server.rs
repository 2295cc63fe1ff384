//! The loop: notices of the workers, signals, the pulse of the threads.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::sys::{self, Bell, BellPage};
use sd_notify::NotifyState;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::admin::AdminListener;
use super::end::{End, Signals, Way};
use super::greet::accept;
use super::handover::{HandOver, Session, held_signals, hold_signals};
use super::inherited::Heir;
use super::listener::Listener;
use super::manager::Manager;
use super::reload::{Reader, door};
use super::reloading::Reloads;
use super::report::{Pulse, Report};
use super::room::Room;
use super::successor::Successor;
use super::take_over::take_over;
use crate::clock::{Clock as _, System, unix_seconds};
use crate::health::StopSignal;
use crate::route::Route;
use crate::settings::ControlSettings;
use crate::worker::mailbox::{Look, Post};

/// Longest time for the service manager to forget what was taken over, before it is given more.
const FORGET_TIMEOUT: Duration = Duration::from_secs(1);
/// How often to look whether the threads advance.
const PULSE: Duration = Duration::from_secs(1);
/// How soon to try again when a worker's mailbox was full.
const RESEND: Duration = Duration::from_millis(10);
/// How often the workers show what they have although nobody looks.
const UNASKED: Duration = Duration::from_secs(60);

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
    /// The bound socket for metrics and probes over TCP, if there is one.
    pub metrics: Option<AdminListener>,
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
    /// Reads the configuration again.
    pub reader: Reader,
    /// Wakes the NATS thread, if there is one.
    pub nats: StopSignal,
    /// What another gateway has left.
    pub heir: Heir,
}

/// How the control room ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Ended {
    /// Everything in flight was completed, or the drain timeout passed.
    Drained,
    /// A second signal came, or a worker does not end: end at once.
    AtOnce,
    /// Its program is to be replaced by another, which takes over.
    Succeeded(HandOver, Successor),
}

/// Runs the control room on this thread until it is told to end by a signal. `serving` is called
/// when signals are handled and clients can attach.
///
/// # Errors
/// The operating system's, when the runtime cannot be made, or what it is to watch cannot be
/// watched.
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
        metrics,
        settings,
        routes,
        workers,
        bell,
        report,
        reader,
        nats,
        heir: Heir(mut heritage),
    } = server;
    let now = unix_seconds();
    report.sources.control.started_at.set(now);
    report.sources.control.configured_at.set(now);
    let drain_timeout = settings.drain_timeout;
    let room = Room::new(settings, routes, workers, Arc::clone(&report));
    let room = Rc::new(RefCell::new(room));
    let (clients, askers) = (listener.watch()?, admin.watch()?);
    let scrapers = metrics.as_ref().map(AdminListener::watch).transpose()?;
    let mut signals = Signals::new()?;
    let notices = Notices::new(bell)?;
    let manager = Rc::new(Manager::default());
    let stored = core::mem::take(&mut heritage.stored);
    take_over(&room, heritage);
    let accepting = spawn_local(accept(Rc::clone(&room), clients));
    let watching = spawn_local(watch(
        Arc::clone(&report),
        Rc::clone(&manager),
        Rc::clone(&room),
        nats.clone(),
    ));
    let sending = spawn_local(resend(Rc::clone(&room)));
    let showing = spawn_local(show(Arc::clone(&report), Rc::clone(&room), nats));
    let (asking, asked) = door();
    let mut reloads = Reloads::new(reader, asked, Rc::clone(&manager))?;
    // Held back by a gateway that was followed by this one, until somebody heeds them.
    held_signals().thread_unblock()?;
    let exposing = scrapers.map(|scrapers| spawn_local(scrapers.expose(Arc::clone(&report))));
    let answering = spawn_local(askers.serve(report, asking));
    serving();
    manager.tell(&NotifyState::Ready);
    let unforgotten = Rc::new(Cell::new(stored.len()));
    let mut forgetting = spawn_local(Manager::forget(stored, Rc::clone(&unforgotten)));
    let end = End {
        room: &room,
        manager: &manager,
        drain_timeout,
    };
    let mut ended = end
        .come(
            &notices,
            (&mut signals, &mut reloads),
            &accepting,
            listener.outlives(),
        )
        .await;
    if let Some(Way::Exec(_) | Way::Store) = &ended.way {
        end.let_go(&notices).await;
    }
    end.stop(&notices, &mut ended).await;
    let tasks = [accepting, watching, sending, showing, answering];
    for task in tasks.into_iter().chain(exposing) {
        task.abort();
        drop(task.await);
    }
    let mut handover = room.borrow_mut().handed_over();
    // What comes later waits for the next gateway.
    hold_signals()?;
    if matches!(ended.way, Some(Way::Exec(_))) && signals.has_stop_come().await {
        // It came when there was no way back, and the next gateway would not know of it.
        manager.tell(&NotifyState::Stopping);
        ended.way = (listener.outlives() && Manager::store_size().is_some()).then_some(Way::Store);
    }
    match ended.way {
        Some(Way::Exec(successor)) => {
            handover.state.clients = Some(listener.release(&mut handover));
            handover.state.admin = admin.release(&mut handover);
            Ok(Ended::Succeeded(handover, successor))
        }
        Some(Way::Store) => {
            // What is still there takes room.
            timeout(FORGET_TIMEOUT, &mut forgetting).await.ok();
            let most = Manager::store_size().unwrap_or(0);
            let surplus = handover.surplus(most.saturating_sub(unforgotten.get()));
            if !surplus.is_empty() {
                let (ended, kept) = (surplus.len(), handover.sessions());
                tracing::warn!(
                    ended,
                    kept,
                    "the service manager keeps too few descriptors (FileDescriptorStoreMax=) for every session"
                );
            }
            surplus.into_iter().for_each(Session::end);
            let sessions = handover.sessions();
            match handover.store(&manager) {
                Ok(()) => tracing::info!(sessions, "left to the service manager"),
                Err(error) => {
                    tracing::error!(%error, "the service manager keeps no sessions: they have ended");
                }
            }
            Ok(Ended::Drained)
        }
        None if ended.at_once => Ok(Ended::AtOnce),
        None => Ok(Ended::Drained),
    }
}

/// The bell that the workers ring when they have something to tell.
pub(super) struct Notices {
    bell: Bell,
    watched: AsyncFd<OwnedFd>,
}

impl Notices {
    fn new(bell: Bell) -> io::Result<Self> {
        let watched = sys::watch_readable(bell.fd().try_clone_to_owned()?)?;
        Ok(Self { bell, watched })
    }

    pub(super) async fn come(&self) {
        match self.watched.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
        self.bell.wait(Duration::ZERO);
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

/// Has the threads show what they have when somebody looks, and once in a while.
async fn show(report: Arc<Report>, room: Rc<RefCell<Room>>, nats: StopSignal) {
    let mut unasked = interval(UNASKED);
    unasked.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = report.asked.notified() => {
                room.borrow_mut().show(Look::Somebody);
                nats.wake();
            }
            _ = unasked.tick() => room.borrow_mut().show(Look::Nobody),
        }
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
