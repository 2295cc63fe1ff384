//! The sessions: made when a client says hello, taken down when it goes.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::error::{EndReason, PeerMisbehaved};
use ipc_ringbuf::handshake::{Refusal, farewell};
use ipc_ringbuf::layout::Layout;
use ipc_ringbuf::sys;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::attach::{self, Excess, Made, Peer};
use super::attach_rate::AttachRates;
use super::handover::HandOver;
use super::reload::Fresh;
use super::report::{Report, Row};
use super::returns::Returns;
use super::server::WorkerHandle;
use super::waiting::Waiting;
use crate::clock::{Clock as _, System};
use crate::metrics::control::Resource;
use crate::route::Route;
use crate::settings::ControlSettings;
use crate::throttle::Throttle;
use crate::worker::charges::UserLoad;
use crate::worker::mailbox::{Mail, Notice, Reload};

mod show;
mod succession;

struct Live {
    peer: Peer,
    /// What the client calls itself.
    name: String,
    layout: Layout,
    /// Shared by all sessions of the user.
    load: Arc<UserLoad>,
    worker: usize,
    bytes: u64,
    memfd: OwnedFd,
    eventfd: OwnedFd,
    socket: OwnedFd,
    /// See the client go.
    watchers: Vec<JoinHandle<()>>,
}

/// Lines of one kind about one user that may come at once.
const LINES: u32 = 20;
/// Time in which one more is allowed.
const LINES_REFILL: Duration = Duration::from_millis(200);

pub(super) struct Room {
    pub(super) settings: ControlSettings,
    pub(super) report: Arc<Report>,
    routes: Arc<[Route]>,
    workers: Vec<WorkerHandle>,
    live: HashMap<u32, Live>,
    returns: Returns,
    /// Whether that begins for sessions that end. Not while another gateway is to take over.
    gives_back: Cell<bool>,
    waiting: Waiting,
    /// Mails for which a worker's mailbox had no room, by worker, oldest first.
    unsent: VecDeque<(usize, Mail)>,
    /// Told when the first of them comes.
    behind: Rc<Notify>,
    /// Fewer log lines about a user who makes many, for each kind of line.
    throttle: Throttle<(&'static str, u32)>,
    rates: AttachRates,
    next_id: u32,
    draining: bool,
    drained: usize,
    /// Workers that have not taken the newest routes yet.
    reloading: usize,
    /// Workers that are to show what they have and have not yet.
    showing: BTreeSet<usize>,
    /// What is left to the next gateway.
    handover: HandOver,
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
        let returns = Returns::new(Arc::clone(&report.sources.control));
        Self {
            settings,
            report,
            routes,
            workers,
            live: HashMap::new(),
            returns,
            gives_back: Cell::new(true),
            waiting: Waiting::default(),
            unsent: VecDeque::new(),
            behind: Rc::default(),
            throttle: Throttle::new(LINES, LINES_REFILL),
            rates: AttachRates::default(),
            next_id: 1,
            draining: false,
            drained: 0,
            reloading: 0,
            showing: BTreeSet::new(),
            handover: HandOver::default(),
        }
    }

    /// Notes a client that has not said hello. The handle is notified when it has to go.
    pub(super) fn wait_for_hello(&mut self, uid: u32) -> Rc<Notify> {
        let (handle, evicted) = self.waiting.add(uid);
        if evicted {
            self.report.sources.control.evicted.increment();
        }
        self.note_waiting();
        handle
    }

    /// The client has said hello, or has gone.
    pub(super) fn no_longer_waits(&mut self, handle: &Rc<Notify>) {
        self.waiting.remove(handle);
        self.note_waiting();
    }

    fn note_waiting(&self) {
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.report.sources.control.pending.set(waiting);
    }

    /// Whether a line of this kind about this user may be logged; counts it if not.
    pub(super) fn may_log(&mut self, kind: &'static str, uid: u32) -> bool {
        let allowed = self.throttle.allows((kind, uid), System.now());
        if !allowed {
            self.report.sources.control.log_suppressed.increment();
        }
        allowed
    }

    pub(super) fn attach(
        &mut self,
        hello: &[u8],
        peer: &Peer,
        client: &OwnedFd,
    ) -> Result<u32, Refusal> {
        if self.draining {
            return Err(Self::shutting_down());
        }
        let (name, layout) = attach::check(hello, &self.settings)?;
        let id = self.free_id();
        let policy = attach::policy(&self.settings, peer)?;
        let quota = attach::quota(&self.settings, policy);
        let rate = quota.attach_rate;
        if !self.rates.allows(peer.uid, rate, System.now()) {
            let (resource, limit) = (Resource::AttachRate, rate.into());
            return Err(self.over(Excess { resource, limit }));
        }
        let mine = self.live.values().filter(|live| live.peer.uid == peer.uid);
        let has = mine.fold(self.returns.of(peer.uid), |(n, bytes), live| {
            (n + 1, bytes + live.bytes)
        });
        attach::within(quota, has, layout.region_bytes()).map_err(|excess| self.over(excess))?;
        let sessions = self.live.len() + self.returns.sessions() as usize;
        if sessions >= self.settings.max_sessions as usize {
            let most = self.settings.max_sessions;
            let detail = format!("the gateway takes {most} sessions (control.max_sessions)");
            return Err(refusal(EndReason::AttachQuota, detail));
        }
        let worker = self.idlest();
        let Some(handle) = self.workers.get(worker) else {
            return Err(refusal(EndReason::Overloaded, "there is no worker"));
        };
        let socket = client.try_clone().map_err(overloaded)?;
        let load = self.load_of(peer.uid);
        let rights = attach::rights(&self.settings, &self.routes, (peer, policy, &load));
        let made = attach::make(id, layout, rights, client, handle, &self.routes)?;
        self.seat(id, peer, (name, layout), (worker, load), made, socket);
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

    /// The worker with the fewest sessions.
    fn idlest(&self) -> usize {
        let load = |at: &usize| self.live.values().filter(|live| live.worker == *at).count();
        (0..self.workers.len()).min_by_key(load).unwrap_or(0)
    }

    /// Notes a session that a worker has been given.
    fn seat(
        &mut self,
        id: u32,
        peer: &Peer,
        (name, layout): (String, Layout),
        (worker, load): (usize, Arc<UserLoad>),
        made: Made,
        socket: OwnedFd,
    ) {
        let live = Live {
            peer: peer.clone(),
            name: name.clone(),
            layout,
            load,
            worker,
            bytes: made.bytes,
            memfd: made.memfd,
            eventfd: made.eventfd,
            socket,
            watchers: Vec::new(),
        };
        self.live.insert(id, live);
        let row = Row {
            session: id,
            pid: peer.pid,
            uid: peer.uid,
            gid: peer.gid,
            name,
            worker,
            entries: layout.entries(),
            message_size: layout.message_size(),
            bytes: made.bytes,
        };
        self.report.attached(row, made.figures);
    }

    /// Why a client that has not said hello has to go.
    pub(super) fn eviction(&self) -> Refusal {
        if self.draining {
            return Self::shutting_down();
        }
        let detail = "too many clients wait without saying hello";
        refusal(EndReason::Overloaded, detail)
    }

    fn shutting_down() -> Refusal {
        refusal(EndReason::Draining, "the gateway is shutting down")
    }

    /// What the requests of this user are counted in. None are in flight when it has no session.
    fn load_of(&self, uid: u32) -> Arc<UserLoad> {
        let mut mine = self.live.values().filter(|live| live.peer.uid == uid);
        mine.next()
            .map_or_else(Arc::default, |live| Arc::clone(&live.load))
    }

    /// Counts that a user wants more than it may have.
    fn over(&self, excess: Excess) -> Refusal {
        self.report.sources.control.over(excess.resource);
        excess.into()
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
    pub(super) fn watch(&mut self, session: u32, watchers: Vec<JoinHandle<()>>) {
        if let Some(live) = self.live.get_mut(&session) {
            live.watchers = watchers;
        }
    }

    pub(super) fn detach(&mut self, session: u32, reason: EndReason) {
        if let Some(live) = self.live.get(&session) {
            self.tell(live.worker, Mail::Detach { session, reason });
        }
    }

    /// Goes by another configuration. Sessions whose clients may no longer be here are ended;
    /// the others keep what they have, and may do from now on what the new rules say.
    pub(super) fn reload(&mut self, fresh: Fresh) {
        self.settings = fresh.settings;
        self.routes = fresh.routes;
        self.report.set_routes(&self.routes);
        let mut rights: Vec<HashMap<_, _>> = self.workers.iter().map(|_| HashMap::new()).collect();
        let mut denied = Vec::new();
        for (&id, live) in &self.live {
            match attach::policy(&self.settings, &live.peer) {
                Ok(policy) => {
                    let of = (&live.peer, policy, &live.load);
                    let new = attach::rights(&self.settings, &self.routes, of);
                    if let Some(rights) = rights.get_mut(live.worker) {
                        rights.insert(id, new);
                    }
                }
                Err(_) => denied.push(id),
            }
        }
        self.reloading += self.workers.len();
        for (worker, rights) in rights.into_iter().enumerate() {
            let routes = Arc::clone(&self.routes);
            self.tell(worker, Mail::Reload(Box::new(Reload { routes, rights })));
        }
        for session in denied {
            self.detach(session, EndReason::UidDenied);
        }
    }

    /// Workers that do not go by the newest configuration yet.
    pub(super) const fn reloading(&self) -> usize {
        self.reloading
    }

    /// Tells the workers to accept nothing more and to finish what they have.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.waiting.evict_all();
        self.report.drain();
        self.tell_all(|| Mail::Drain);
    }

    /// Wakes every worker, to see whether it moves.
    pub(super) fn wake_workers(&self) {
        for worker in &self.workers {
            worker.post.wake();
        }
    }

    pub(super) fn stop(&mut self) {
        self.tell_all(|| Mail::Stop);
    }

    fn tell_all(&mut self, mail: impl Fn() -> Mail) {
        for worker in 0..self.workers.len() {
            self.tell(worker, mail());
        }
    }

    /// Sends a mail, or keeps it until the worker has room.
    fn tell(&mut self, worker: usize, mail: Mail) {
        if let Some(mail) = self.send(worker, mail) {
            if self.unsent.is_empty() {
                tracing::warn!(worker, "a worker is behind: its mailbox is full");
            }
            self.unsent.push_back((worker, mail));
            self.behind.notify_one();
        }
    }

    /// Gives the mail back if it cannot go now, or must not overtake one that waits.
    fn send(&self, worker: usize, mail: Mail) -> Option<Mail> {
        let handle = self.workers.get(worker)?;
        if self.unsent.iter().any(|(other, _)| *other == worker) {
            return Some(mail);
        }
        handle.post.send(mail).err()
    }

    /// Tries the mails once more for which there was no room. Returns whether all are sent.
    pub(super) fn resend(&mut self) -> bool {
        for (worker, mail) in std::mem::take(&mut self.unsent) {
            if let Some(mail) = self.send(worker, mail) {
                self.unsent.push_back((worker, mail));
            }
        }
        self.unsent.is_empty()
    }

    /// Notified when there is something to [`resend`](Self::resend).
    pub(super) fn behind(&self) -> Rc<Notify> {
        Rc::clone(&self.behind)
    }

    /// Whether every worker has finished what it had.
    pub(super) const fn is_drained(&self) -> bool {
        self.drained >= self.workers.len()
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.draining
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
                Notice::Reloaded { .. } => self.reloading = self.reloading.saturating_sub(1),
                Notice::Shown { worker } => self.shown(worker),
                Notice::HandedOver { session, cursors } => self.leave(session, cursors),
                Notice::Ended {
                    session,
                    reason,
                    fault,
                } => self.end(session, reason, fault),
            }
        }
    }

    /// Takes down what was made for a session. Its memory is given back although the client may
    /// still hold it; not at the gateway's own end, when the client may still read what was
    /// completed and the memory is the client's alone afterwards.
    fn end(&mut self, session: u32, reason: EndReason, fault: Option<PeerMisbehaved>) {
        let Some(live) = self.live.remove(&session) else {
            return;
        };
        for watcher in &live.watchers {
            watcher.abort();
        }
        sys::send_packet(live.socket.as_fd(), &farewell(reason), &[]).ok();
        let (uid, pid) = (live.peer.uid, live.peer.pid);
        if reason != EndReason::Draining
            && let Err(error) = self.begin_return(uid, live.memfd, live.bytes)
        {
            tracing::warn!(session, %error, "cannot give a session's memory back");
        }
        self.report.ended(session);
        self.report.sources.control.end(reason);
        match fault {
            Some(fault) if self.may_log("corrupt", uid) => {
                tracing::warn!(session, uid, pid, %fault, "session ended: its rings are corrupt");
            }
            None if self.may_log("ended", uid) => {
                tracing::info!(session, uid, pid, %reason, "session ended");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipc_ringbuf::sys::{Bell, BellPage};

    use super::*;
    use crate::metrics::export::Sources;
    use crate::settings::{AdminAddress, Quota};
    use crate::worker::mailbox::mailbox;

    fn settings() -> ControlSettings {
        ControlSettings {
            slow_client_timeout: Duration::from_secs(30),
            socket: "gateway.sock".into(),
            socket_mode: 0o600,
            admin: AdminAddress::Unix("admin.sock".into()),
            admin_mode: 0o600,
            metrics: None,
            max_sessions: 1,
            max_entries: 2,
            max_message_size: 1024,
            quota: Quota::default(),
            policies: Vec::new(),
            overflow_uid: 65_534,
            attach_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_a_worker_has_no_room_for_is_sent_later_and_in_order() {
        let bell = Bell::new().unwrap();
        // Room for three mails.
        let (post, mailbox) = mailbox(bell.ringer().unwrap(), bell.ringer().unwrap(), 0);
        let page = Arc::new(BellPage::create().unwrap());
        let sources = Sources {
            routes: Vec::new(),
            workers: vec![Arc::default()],
            nats: None,
            control: Arc::default(),
            log: Arc::default(),
            trace: Arc::default(),
        };
        let report = Arc::new(Report::new(sources, None));
        let workers = vec![WorkerHandle { post, page }];
        let mut room = Room::new(settings(), Arc::new([]), workers, report);
        for session in 1..=5 {
            let reason = EndReason::PeerDied;
            room.tell(0, Mail::Detach { session, reason });
        }
        room.drain();
        let mut taken = Vec::new();
        let mut is_sent = false;
        while !is_sent {
            is_sent = room.resend();
            while let Some(mail) = mailbox.take() {
                taken.push(match mail {
                    Mail::Detach { session, .. } => session,
                    _ => 0,
                });
            }
        }
        assert_eq!(taken, [1, 2, 3, 4, 5, 0]);
    }
}
