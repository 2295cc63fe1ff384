//! Those who ask for the configuration to be read again: answered one after another.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::manager::Manager;
use super::reload::{Answer, NotReloaded, Reader};
use super::room::Room;
use crate::clock::unix_seconds;

/// Time for the workers to go by a new configuration before the answer says that they do not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who asked.
enum Asker {
    /// SIGHUP.
    Signal,
    /// The admin server, which waits for the answer.
    Admin(oneshot::Sender<Answer>),
}

impl Asker {
    const fn name(&self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Admin(_) => "POST /reload",
        }
    }
}

/// A change that not every worker goes by yet.
struct Open {
    asker: Asker,
    answer: Answer,
    until: Instant,
}

/// The askers, and the change that is under way.
pub(super) struct Reloads {
    reader: Reader,
    signal: Signal,
    asked: mpsc::Receiver<oneshot::Sender<Answer>>,
    manager: Rc<Manager>,
    /// Who has come and has not been heard.
    came: Option<Asker>,
    open: Option<Open>,
}

impl Reloads {
    /// From now on SIGHUP does not end the process.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(
        reader: Reader,
        asked: mpsc::Receiver<oneshot::Sender<Answer>>,
        manager: Rc<Manager>,
    ) -> io::Result<Self> {
        Ok(Self {
            reader,
            signal: signal(SignalKind::hangup())?,
            asked,
            manager,
            came: None,
            open: None,
        })
    }

    /// The configuration file, if the next gateway has to be told of it.
    ///
    /// # Errors
    /// Why it could not read the same.
    pub(super) fn unnamed_file(&self) -> Result<Option<PathBuf>, String> {
        self.reader.unnamed_file()
    }

    /// Waits until there is something for [`turn`](Self::turn) to do. May be dropped at any time.
    pub(super) async fn come(&mut self) {
        if self.came.is_some() {
            return;
        }
        if let Some(open) = &self.open {
            return sleep_until(open.until).await;
        }
        let asker = tokio::select! {
            Some(()) = self.signal.recv() => Asker::Signal,
            Some(asker) = self.asked.recv() => Asker::Admin(asker),
            else => return pending().await,
        };
        self.came = Some(asker);
    }

    /// Reads the configuration for who has come, or no longer waits for the workers.
    pub(super) fn turn(&mut self, room: &mut Room) {
        if let Some(asker) = self.came.take() {
            self.reload(asker, room);
        } else if let Some(open) = self.open.take_if(|open| open.until <= Instant::now()) {
            self.close(open, room);
        }
    }

    /// Answers when every worker has gone over to the new configuration.
    pub(super) fn settle(&mut self, room: &Room) {
        if room.reloading() == 0
            && let Some(open) = self.open.take()
        {
            self.close(open, room);
        }
    }

    fn reload(&mut self, asker: Asker, room: &mut Room) {
        if matches!(asker, Asker::Signal) {
            self.manager.reloading();
        }
        let answer = if room.is_draining() {
            Answer::Draining
        } else {
            match self.reader.read() {
                Err(not) => Answer::Not(not),
                Ok(fresh) if fresh.changes.is_empty() => Answer::Unchanged,
                Ok(mut fresh) => {
                    let changes = std::mem::take(&mut fresh.changes);
                    room.reload(fresh);
                    Answer::Changed { changes, behind: 0 }
                }
            }
        };
        let is_under_way = matches!(answer, Answer::Changed { .. });
        let open = Open {
            asker,
            answer,
            until: Instant::now() + PATIENCE,
        };
        if is_under_way {
            self.open = Some(open);
        } else {
            self.close(open, room);
        }
    }

    fn close(&self, open: Open, room: &Room) {
        let Open {
            asker, mut answer, ..
        } = open;
        let metrics = &room.report.sources.control;
        match &mut answer {
            Answer::Changed { behind, .. } => {
                *behind = room.reloading();
                metrics.configured_at.set(unix_seconds());
            }
            Answer::Unchanged => metrics.configured_at.set(unix_seconds()),
            Answer::Not(_) | Answer::Draining => {}
        }
        if let Some(how) = answer.counted() {
            metrics.reloaded(how);
        }
        answer.log(asker.name());
        match asker {
            Asker::Signal => {
                let status = match &answer {
                    Answer::Not(NotReloaded::Invalid(_)) => "configuration not reloaded: invalid",
                    Answer::Not(NotReloaded::Restart(_)) => {
                        "configuration not reloaded: it needs a restart"
                    }
                    _ => "",
                };
                self.manager
                    .tell_all(&[NotifyState::Ready, NotifyState::Status(status)]);
            }
            // Who no longer waits for the answer has it in the log.
            Asker::Admin(waiting) => drop(waiting.send(answer)),
        }
    }
}
