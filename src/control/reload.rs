//! The configuration, read again while the gateway runs: asked for by SIGHUP or `POST /reload`,
//! taken as a whole or not at all, and answered when every worker goes by it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::control::Reloading;
use crate::route::Route;
use crate::settings::ControlSettings;

/// Requests to read the configuration again that may wait; more are told to come later.
const WAITING: usize = 16;

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The full name of the key; that of a route stands in it, as in `route.decide.timeout`.
    pub key: String,
    /// What it was, as it stands in a file; none if it was not there.
    pub from: Option<String>,
    /// What it is; none if it is there no longer.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = "nothing";
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        let (from, to) = (from.unwrap_or(none), to.unwrap_or(none));
        write!(f, "{} from {from} to {to}", self.key)
    }
}

/// What the configuration says now.
#[derive(Debug)]
pub struct Fresh {
    /// What the control room is told.
    pub settings: ControlSettings,
    /// The routes, by number; those removed are still there.
    pub routes: Arc<[Route]>,
    /// What is different. If nothing is, nothing else matters.
    pub changes: Vec<Change>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// The configuration cannot be used: what is wrong, and where.
    Invalid(Vec<String>),
    /// It would need a restart: the keys that cannot change while the gateway runs.
    Restart(Vec<Change>),
}

/// The configuration that holds, and where it stands.
pub trait Configured {
    /// Reads it again. What it says holds for the rooms other than this one, for the log and for
    /// NATS, once this has returned.
    ///
    /// # Errors
    /// [`NotReloaded`]; nothing has changed then.
    fn read(&mut self) -> Result<Fresh, NotReloaded>;

    /// The file that it was read from, if nobody has named that: whoever follows has to be told.
    ///
    /// # Errors
    /// Why whoever follows could not read the same.
    fn unnamed_file(&self) -> Result<Option<PathBuf>, String>;
}

/// Reads the configuration.
pub struct Reader(Box<dyn Configured>);

impl Reader {
    /// One that reads this.
    pub fn new(configured: impl Configured + 'static) -> Self {
        Self(Box::new(configured))
    }

    pub(super) fn read(&mut self) -> Result<Fresh, NotReloaded> {
        self.0.read()
    }

    pub(super) fn unnamed_file(&self) -> Result<Option<PathBuf>, String> {
        self.0.unnamed_file()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// What became of a request to read the configuration again.
#[derive(Debug)]
pub(super) enum Answer {
    Changed {
        changes: Vec<Change>,
        /// Workers that do not go by it yet, because they stand still.
        behind: usize,
    },
    Unchanged,
    Not(NotReloaded),
    Draining,
}

impl Answer {
    /// What it counts as; none if the configuration was not read.
    pub(super) const fn counted(&self) -> Option<Reloading> {
        match self {
            Self::Changed { .. } => Some(Reloading::Changed),
            Self::Unchanged => Some(Reloading::Unchanged),
            Self::Not(NotReloaded::Invalid(_)) => Some(Reloading::Invalid),
            Self::Not(NotReloaded::Restart(_)) => Some(Reloading::Restart),
            Self::Draining => None,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Changed { .. } | Self::Unchanged => StatusCode::OK,
            Self::Not(NotReloaded::Invalid(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Not(NotReloaded::Restart(_)) => StatusCode::CONFLICT,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Changed { changes, behind } => {
                json!({ "result": "changed", "changes": changes, "workers_behind": behind })
            }
            Self::Unchanged => json!({ "result": "unchanged", "changes": [] }),
            Self::Not(NotReloaded::Invalid(errors)) => {
                json!({ "result": "invalid", "errors": errors })
            }
            Self::Not(NotReloaded::Restart(changes)) => {
                json!({ "result": "restart", "changes": changes })
            }
            Self::Draining => json!({ "result": "draining" }),
        }
    }

    /// Writes the log line.
    pub(super) fn log(&self, asked_by: &'static str) {
        match self {
            Self::Changed { changes, behind } => {
                let changes = list(changes);
                tracing::info!(asked_by, changes, behind, "configuration reloaded");
            }
            Self::Unchanged => {
                tracing::info!(asked_by, "configuration read again: nothing has changed");
            }
            Self::Not(NotReloaded::Invalid(errors)) => {
                let errors = errors.join("; ");
                tracing::error!(
                    asked_by,
                    errors,
                    "configuration not reloaded: it cannot be used; the one before still holds"
                );
            }
            Self::Not(NotReloaded::Restart(changes)) => {
                let changes = list(changes);
                tracing::error!(
                    asked_by,
                    changes,
                    "configuration not reloaded: these keys need a restart; the one before still \
                     holds"
                );
            }
            Self::Draining => tracing::info!(asked_by, "configuration not reloaded: draining"),
        }
    }
}

fn list(changes: &[Change]) -> String {
    let texts: Vec<String> = changes.iter().map(Change::to_string).collect();
    texts.join("; ")
}

/// Where the admin server asks.
pub(super) type Door = mpsc::Sender<oneshot::Sender<Answer>>;

/// The door and the end at which the control room hears of those who ask.
pub(super) fn door() -> (Door, mpsc::Receiver<oneshot::Sender<Answer>>) {
    mpsc::channel(WAITING)
}
