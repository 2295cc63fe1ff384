//! What the control thread tells a worker, and what a worker tells the control thread: two bounded
//! queues of plain values, and the worker's bell.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use ipc_ringbuf::error::{EndReason, PeerMisbehaved};
use ipc_ringbuf::port::{Cursors, Port, Submission};
use ipc_ringbuf::sys::Ringer;

use super::charges::{Charges, UserLoad};
use crate::metrics::session::SessionFigures;
use crate::route::Route;

/// A session that a worker is to serve.
pub struct NewSession {
    /// Number of the session: unique while the gateway runs.
    pub id: u32,
    /// The gateway's end of its region.
    pub port: Port,
    /// A submission that another gateway had taken from it.
    pub carried: Option<Submission>,
    /// What the client rings.
    pub eventfd: OwnedFd,
    /// For each route, in the order of the configuration, whether this client may use it.
    pub routes: Arc<[bool]>,
    /// The tenant that the client is bound to.
    pub tenant: Option<Arc<str>>,
    /// What its requests count against its user's limit.
    pub charges: Charges,
    /// What is shown of it.
    pub figures: Arc<SessionFigures>,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What the client of a session may do.
#[derive(Clone, Debug)]
pub struct Rights {
    /// For each route, by number, whether it may be used.
    pub routes: Arc<[bool]>,
    /// The tenant that the client is bound to.
    pub tenant: Option<Arc<str>>,
    /// The requests of its user, and how many may be in flight; `None`: as many as its sessions
    /// hold.
    pub in_flight: Option<(Arc<UserLoad>, u32)>,
}

impl Rights {
    /// What the requests of a session count against.
    #[must_use]
    pub fn charges(&self) -> Charges {
        let limit = self.in_flight.as_ref();
        limit.map_or_else(Charges::default, |(load, most)| {
            Charges::new(Arc::clone(load), *most)
        })
    }
}

/// What a configuration that was read again says to a worker.
#[derive(Debug)]
pub struct Reload {
    /// The routes, by number. Those that were there keep theirs.
    pub routes: Arc<[Route]>,
    /// What the client of each session of this worker may do from now on.
    pub rights: HashMap<u32, Rights>,
}

/// For whom everything is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// For somebody who looks, and who wants more to be counted for a while.
    Somebody,
    /// For nobody: counts of 32 bits are read before they can come round.
    Nobody,
}

/// From the control thread to a worker.
#[derive(Debug)]
pub enum Mail {
    /// Serve this session.
    Attach(Box<NewSession>),
    /// Go by these routes and rights from now on, then say [`Notice::Reloaded`].
    Reload(Box<Reload>),
    /// Bring what is shown of every session up to date, then say [`Notice::Shown`].
    Show(Look),
    /// End this session: its client is gone, or must go.
    Detach {
        /// Which.
        session: u32,
        /// Why.
        reason: EndReason,
    },
    /// Accept no more requests; finish those in flight, then say [`Notice::Drained`].
    Drain,
    /// Take nothing more and leave it in the rings; finish what is in flight, then say
    /// [`Notice::Drained`].
    Pause,
    /// Let go of every session, for another gateway to go on with: what is in flight is completed
    /// as unknown, what is in the rings stays there.
    HandOver,
    /// End now: what is in flight is completed as unknown.
    Stop,
}

/// From a worker to the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A session has been taken down; its region is no longer mapped by the worker.
    Ended {
        /// Which.
        session: u32,
        /// Why.
        reason: EndReason,
        /// What was wrong with its rings, if that is why.
        fault: Option<PeerMisbehaved>,
    },
    /// Other routes and rights hold for everything that is accepted from now on.
    Reloaded {
        /// Which worker.
        worker: u8,
    },
    /// Everything that was to be shown is.
    Shown {
        /// Which worker.
        worker: u8,
    },
    /// A session was let go of; its region is no longer mapped by the worker.
    HandedOver {
        /// Which.
        session: u32,
        /// Where its rings stand.
        cursors: Cursors,
    },
    /// Nothing is in flight and nothing more will be accepted.
    Drained {
        /// Which worker.
        worker: u8,
    },
}

/// How many mails or notices a session can cause: to attach, and to detach for two reasons at once.
const EACH: usize = 3;
/// How many besides: drain and stop, or pause and hand over; and show, one at a time.
const BESIDES: usize = 3;

struct Queues {
    mail: ArrayQueue<Mail>,
    notices: ArrayQueue<Notice>,
}

/// The control thread's end.
pub struct Post {
    queues: Arc<Queues>,
    ringer: Ringer,
}

/// The worker's end.
pub struct Mailbox {
    queues: Arc<Queues>,
    control: Ringer,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// Makes both ends, with room for what so many sessions cause at once. Late mails about sessions that
/// the worker has ended by itself can still fill it. `worker` rings the worker's bell, `control` the control thread's.
#[must_use]
pub fn mailbox(worker: Ringer, control: Ringer, sessions: usize) -> (Post, Mailbox) {
    let capacity = sessions.saturating_mul(EACH).saturating_add(BESIDES);
    let queues = Arc::new(Queues {
        mail: ArrayQueue::new(capacity),
        notices: ArrayQueue::new(capacity),
    });
    (
        Post {
            queues: Arc::clone(&queues),
            ringer: worker,
        },
        Mailbox { queues, control },
    )
}

impl Post {
    /// Sends a mail and wakes the worker.
    ///
    /// # Errors
    /// Gives the mail back when the worker is so far behind that the queue is full.
    pub fn send(&self, mail: Mail) -> Result<(), Mail> {
        let sent = self.queues.mail.push(mail);
        self.ringer.ring();
        sent
    }

    /// Wakes the worker, to show that it moves.
    pub fn wake(&self) {
        self.ringer.ring();
    }

    /// Whether one more mail can be sent now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.queues.mail.is_full()
    }

    /// The next notice of the worker.
    #[must_use]
    pub fn notice(&self) -> Option<Notice> {
        self.queues.notices.pop()
    }
}

impl Mailbox {
    /// The next mail.
    #[must_use]
    pub fn take(&self) -> Option<Mail> {
        // Mostly there is none, and a look costs less than an attempt.
        if self.has_mail() {
            self.queues.mail.pop()
        } else {
            None
        }
    }

    /// Whether a mail waits.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.queues.mail.is_empty()
    }

    /// Tells the control thread.
    ///
    /// # Errors
    /// Gives the notice back when the control thread is so far behind that the queue is full.
    pub fn tell(&self, notice: Notice) -> Result<(), Notice> {
        let told = self.queues.notices.push(notice);
        self.control.ring();
        told
    }
}
