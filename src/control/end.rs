//! How a gateway ends: drained, at once, or followed by another that goes on with its sessions.
//!
//! ```text
//! serving --SIGTERM--> draining: rejects what comes --> nothing in flight --> stopped
//!         --SIGUSR2--> pausing: leaves what comes in the rings --> nothing in flight, or a second
//!                      has passed --> lets go of every session --> exec
//! ```
//!
//! SIGTERM takes the lower way too when the service manager keeps descriptors for the next gateway.

use std::cell::RefCell;
use std::env;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::manager::Manager;
use super::reloading::Reloads;
use super::room::Room;
use super::server::Notices;
use super::successor::Successor;

/// Time for the workers to take a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that sessions wait for what is in flight before they are handed over.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);

/// SIGTERM or SIGINT, and SIGUSR2.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Upgrade,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Whether a stop has been asked for that nobody was told of.
    pub(super) async fn has_stop_come(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            // What has come is noticed when the runtime has looked.
            () = sleep(Duration::from_millis(1)) => false,
        }
    }

    async fn come(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.upgrade.recv() => Asked::Upgrade,
        }
    }
}

/// To whom the sessions go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this program, which the process becomes.
    Exec(Successor),
    /// To the service manager.
    Store,
}

/// What an end has come to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) at_once: bool,
    pub(super) way: Option<Way>,
}

/// The end.
pub(super) struct End<'a> {
    pub(super) room: &'a Rc<RefCell<Room>>,
    pub(super) manager: &'a Manager,
    pub(super) drain_timeout: Duration,
}

impl End<'_> {
    /// Serves until the end has been asked for, and either nothing is in flight or the time for
    /// that is over.
    pub(super) async fn come(
        &self,
        notices: &Notices,
        (signals, reloads): (&mut Signals, &mut Reloads),
        accepting: &JoinHandle<()>,
        outlives: bool,
    ) -> Outcome {
        // Its file may be another's by the time that it is needed.
        let program = env::current_exe();
        let (room, manager) = (self.room, self.manager);
        let mut outcome = Outcome::default();
        let mut checking = None;
        let mut deadline = None;
        let mut is_stopping = false;
        loop {
            tokio::select! {
                () = notices.come() => {
                    room.borrow_mut().take_notices();
                    reloads.settle(&room.borrow());
                }
                () = reloads.come() => reloads.turn(&mut room.borrow_mut()),
                asked = signals.come() => match asked {
                    Asked::Stop if core::mem::replace(&mut is_stopping, true) => {
                        return Outcome { at_once: true, way: None };
                    }
                    Asked::Stop => {
                        manager.tell(&NotifyState::Stopping);
                        room.borrow().show_drain();
                        if outlives && Manager::store_size().is_some() {
                            outcome.way = Some(Way::Store);
                            deadline = Some(self.pause(accepting));
                            continue;
                        }
                        if outcome.way.take().is_some() {
                            // On the way to another program: what is in flight has until then.
                            tracing::info!("stopping: no other gateway takes over");
                            continue;
                        }
                        let timeout = self.drain_timeout;
                        tracing::info!(?timeout, "draining: a second signal ends at once");
                        deadline = Some(Instant::now() + timeout);
                        // Whoever connects now waits for the next gateway; without one to come
                        // they are better told.
                        if outlives {
                            accepting.abort();
                        }
                        room.borrow_mut().drain();
                    }
                    Asked::Upgrade if deadline.is_none() && checking.is_none() => {
                        match successor(&program, reloads) {
                            Ok(successor) => checking = Some(spawn_local(successor.check())),
                            Err(why) => nobody_takes_over(&why),
                        }
                    }
                    Asked::Upgrade => tracing::warn!("asked for another gateway, which is under way"),
                },
                checked = done(&mut checking) => {
                    checking = None;
                    match checked {
                        Ok(_) if deadline.is_some() => {}
                        Ok(successor) if self.gives_nothing_back().await => {
                            let program = successor.program().display();
                            tracing::info!(%program, "another gateway takes over");
                            manager.reloading();
                            outcome.way = Some(Way::Exec(successor));
                            deadline = Some(self.pause(accepting));
                        }
                        Ok(_) => {
                            let sessions = room.borrow().returning();
                            tracing::error!(
                                sessions,
                                "no other gateway can take over: clients of ended sessions hold their \
                                 memory, which a process cannot leave behind"
                            );
                        }
                        Err(why) => nobody_takes_over(&why),
                    }
                }
                () = until(deadline) => {
                    tracing::warn!("the time to finish is over; what is in flight ends as unknown");
                    return outcome;
                }
            }
            if deadline.is_some() && room.borrow().is_drained() {
                return outcome;
            }
        }
    }

    /// Waits until no ended session's memory is on its way back, for a moment. A thread that waits for a
    /// client to let go of it would keep the process from becoming another program, for as long as that
    /// client likes; so from then on none is started. If the wait is in vain, they are again.
    async fn gives_nothing_back(&self) -> bool {
        self.room.borrow().give_back(false);
        let end = Instant::now() + PAUSE_TIMEOUT;
        while self.room.borrow().returning() > 0 {
            if Instant::now() >= end {
                self.room.borrow().give_back(true);
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// Leaves what comes to the next gateway; returns until when to finish the rest.
    fn pause(&self, accepting: &JoinHandle<()>) -> Instant {
        accepting.abort();
        self.room.borrow_mut().pause();
        Instant::now() + PAUSE_TIMEOUT.min(self.drain_timeout)
    }

    /// Lets go of every session.
    pub(super) async fn let_go(&self, notices: &Notices) {
        self.room.borrow_mut().hand_over();
        self.take_notices(notices).await;
    }

    /// Ends the sessions that are left.
    pub(super) async fn stop(&self, notices: &Notices, outcome: &mut Outcome) {
        self.room.borrow_mut().stop();
        self.take_notices(notices).await;
        if !self.room.borrow().is_empty() {
            tracing::error!("a worker does not end; the process ends without it");
            outcome.at_once = true;
        }
    }

    /// Takes notices until no session is left, but not for ever.
    async fn take_notices(&self, notices: &Notices) {
        let end = Instant::now() + STOP_TIMEOUT;
        while !self.room.borrow().is_empty() {
            tokio::select! {
                () = notices.come() => self.room.borrow_mut().take_notices(),
                () = sleep_until(end) => return,
            }
        }
    }
}

fn nobody_takes_over(why: &str) {
    tracing::error!(why, "no other gateway can take over");
}

/// What this process is to become.
///
/// # Errors
/// Why that cannot be said, or would not go by the same configuration.
fn successor(program: &io::Result<PathBuf>, reloads: &Reloads) -> Result<Successor, String> {
    match program {
        Ok(program) => Ok(Successor::new(program.clone(), reloads.unnamed_file()?)),
        Err(error) => Err(format!("its own program is not known: {error}")),
    }
}

async fn done(
    checking: &mut Option<JoinHandle<Result<Successor, String>>>,
) -> Result<Successor, String> {
    match checking {
        Some(checking) => checking
            .await
            .unwrap_or_else(|error| Err(error.to_string())),
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
