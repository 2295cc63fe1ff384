//! The sessions: made when a client says hello, taken down when it goes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{Refusal, farewell};
use ipc_ringbuf::sys;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::attach::{self, Peer};
use super::report::{Report, Row};
use super::server::WorkerHandle;
use super::throttle::Throttle;
use crate::clock::{Clock as _, System};
use crate::route::Route;
use crate::settings::ControlSettings;
use crate::worker::mailbox::{Mail, Notice};

/// Clients that may be connected without having said hello; the oldest goes when one more comes.
const PENDING: usize = 256;

struct Live {
    uid: u32,
    worker: usize,
    bytes: u64,
    memfd: OwnedFd,
    socket: OwnedFd,
    watchers: [JoinHandle<()>; 2],
}

pub(super) struct Room {
    pub(super) settings: ControlSettings,
    pub(super) report: Arc<Report>,
    routes: Arc<[Route]>,
    workers: Vec<WorkerHandle>,
    live: HashMap<u32, Live>,
    /// Clients that have not said hello, oldest first.
    pending: VecDeque<Rc<Notify>>,
    throttle: Throttle,
    next_id: u32,
    draining: bool,
    drained: usize,
}

pub(super) fn refusal(reason: EndReason, detail: impl ToString) -> Refusal {
    Refusal {
        reason,
        detail: detail.to_string(),
    }
}

fn overloaded(error: io::Error) -> Refusal {
    refusal(EndReason::Overloaded, error)
}

impl Room {
    pub(super) fn new(
        settings: ControlSettings,
        routes: Arc<[Route]>,
        workers: Vec<WorkerHandle>,
        report: Arc<Report>,
    ) -> Self {
        Self {
            settings,
            report,
            routes,
            workers,
            live: HashMap::new(),
            pending: VecDeque::new(),
            throttle: Throttle::default(),
            next_id: 1,
            draining: false,
            drained: 0,
        }
    }

    /// Notes a client that has not said hello. The handle is notified when it has to go.
    pub(super) fn wait_for_hello(&mut self) -> Rc<Notify> {
        if self.pending.len() >= PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            self.report.sources.control.evicted.increment();
            oldest.notify_one();
        }
        let handle = Rc::new(Notify::new());
        self.pending.push_back(Rc::clone(&handle));
        self.note_pending();
        handle
    }

    /// The client has said hello, or has gone.
    pub(super) fn no_longer_waits(&mut self, handle: &Rc<Notify>) {
        self.pending.retain(|other| !Rc::ptr_eq(other, handle));
        self.note_pending();
    }

    fn note_pending(&self) {
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.report.sources.control.pending.set(pending);
    }

    /// Whether a line of this kind about this user may be logged; counts it if not.
    pub(super) fn may_log(&mut self, kind: &'static str, uid: u32) -> bool {
        let allowed = self.throttle.allows(kind, uid, System.now());
        if !allowed {
            self.report.sources.control.log_suppressed.increment();
        }
        allowed
    }

    pub(super) fn attach(
        &mut self,
        hello: &[u8],
        peer: Peer,
        client: &OwnedFd,
    ) -> Result<u32, Refusal> {
        if self.draining {
            let reason = EndReason::Draining;
            return Err(refusal(reason, "the gateway is shutting down"));
        }
        let (name, layout) = attach::check(hello, &self.settings)?;
        let id = self.free_id();
        let policy = attach::policy(&self.settings, peer)?;
        let quota = policy
            .and_then(|p| p.quota.as_ref())
            .unwrap_or(&self.settings.quota);
        let mine = self.live.values().filter(|live| live.uid == peer.uid);
        let has = mine.fold((0_u32, 0_u64), |(n, bytes), live| {
            (n + 1, bytes + live.bytes)
        });
        attach::within(quota, has, layout.region_bytes())?;
        if self.live.len() >= self.settings.max_sessions as usize {
            let most = self.settings.max_sessions;
            let detail = format!("the gateway takes {most} sessions (control.max_sessions)");
            return Err(refusal(EndReason::AttachQuota, detail));
        }
        let load = |at: &usize| self.live.values().filter(|live| live.worker == *at).count();
        let worker = (0..self.workers.len()).min_by_key(load).unwrap_or(0);
        let Some(handle) = self.workers.get(worker) else {
            return Err(refusal(EndReason::Overloaded, "there is no worker"));
        };
        let socket = client.try_clone().map_err(overloaded)?;
        let tenant = policy.and_then(|policy| policy.tenant.as_deref());
        let made = attach::make(id, layout, (peer, tenant), client, handle, &self.routes)?;
        let none = || tokio::task::spawn_local(std::future::ready(()));
        let live = Live {
            uid: peer.uid,
            worker,
            bytes: made.bytes,
            memfd: made.memfd,
            socket,
            watchers: [none(), none()],
        };
        self.live.insert(id, live);
        self.report.attached(Row {
            session: id,
            pid: peer.pid,
            uid: peer.uid,
            gid: peer.gid,
            name,
            worker,
            entries: layout.entries(),
            message_size: layout.message_size(),
            bytes: made.bytes,
        });
        if self.may_log("attached", peer.uid) {
            tracing::info!(
                session = id,
                uid = peer.uid,
                pid = peer.pid,
                "client attached"
            );
        }
        Ok(id)
    }

    /// A number that no session has.
    fn free_id(&mut self) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            if !self.live.contains_key(&id) {
                return id;
            }
        }
    }

    /// Names the tasks that see a session's client go.
    pub(super) fn watch(&mut self, session: u32, watchers: [JoinHandle<()>; 2]) {
        if let Some(live) = self.live.get_mut(&session) {
            live.watchers = watchers;
        }
    }

    pub(super) fn detach(&self, session: u32, reason: EndReason) {
        let worker = self
            .live
            .get(&session)
            .and_then(|live| self.workers.get(live.worker));
        // The mailbox has room for every mail that the sessions can cause.
        if let Some(worker) = worker
            && worker.post.send(Mail::Detach { session, reason }).is_err()
        {
            tracing::error!(session, "a worker is too far behind to end a session");
        }
    }

    /// Tells the workers to accept nothing more and to finish what they have.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.report.drain();
        self.tell_all(|| Mail::Drain);
    }

    pub(super) fn stop(&self) {
        self.tell_all(|| Mail::Stop);
    }

    fn tell_all(&self, mail: impl Fn() -> Mail) {
        for worker in &self.workers {
            if worker.post.send(mail()).is_err() {
                tracing::error!("a worker is too far behind to be told to end");
            }
        }
    }

    /// Whether every worker has finished what it had.
    pub(super) const fn is_drained(&self) -> bool {
        self.drained >= self.workers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn take_notices(&mut self) {
        let mut notices = Vec::new();
        for worker in &self.workers {
            notices.extend(std::iter::from_fn(|| worker.post.notice()));
        }
        for notice in notices {
            match notice {
                Notice::Drained { .. } => self.drained += 1,
                Notice::Ended { session, reason } => self.end(session, reason),
            }
        }
    }

    /// Takes down what was made for a session. Its memory is given back although the client may
    /// still hold it; not at the gateway's own end, when the client may still read what was
    /// completed and the memory is the client's alone afterwards.
    fn end(&mut self, session: u32, reason: EndReason) {
        let Some(live) = self.live.remove(&session) else {
            return;
        };
        for watcher in &live.watchers {
            watcher.abort();
        }
        sys::send_packet(live.socket.as_fd(), &farewell(reason), &[]).ok();
        if reason != EndReason::Draining
            && let Err(error) = sys::punch_hole(live.memfd.as_fd(), live.bytes)
        {
            tracing::warn!(session, %error, "cannot give a session's memory back");
        }
        self.report.ended(session);
        self.report.sources.control.end(reason);
        if self.may_log("ended", live.uid) {
            tracing::info!(session, %reason, "session ended");
        }
    }
}
