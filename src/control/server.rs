//! The loop: clients that come, say hello and go; notices of the workers; signals.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{HELLO_BYTES, Refusal, farewell};
use ipc_ringbuf::sys::{self, Bell, BellPage};
use nix::sys::socket::{getsockopt, sockopt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::attach::{self, Peer};
use super::listener::Listener;
use crate::route::Route;
use crate::settings::ControlSettings;
use crate::worker::mailbox::{Mail, Notice, Post};

/// How long the listener rests when there are no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(20);
/// Time for the workers to take a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// What it was told.
    pub settings: ControlSettings,
    /// The routes, by number.
    pub routes: Arc<[Route]>,
    /// The workers, by number.
    pub workers: Vec<WorkerHandle>,
    /// What the workers ring.
    pub bell: Bell,
}

/// How the control room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was completed, or the drain timeout passed.
    Drained,
    /// A second signal came: end at once.
    AtOnce,
}

struct Live {
    uid: u32,
    worker: usize,
    bytes: u64,
    memfd: OwnedFd,
    socket: OwnedFd,
    watchers: [JoinHandle<()>; 2],
}

struct Room {
    settings: ControlSettings,
    routes: Arc<[Route]>,
    workers: Vec<WorkerHandle>,
    live: HashMap<u32, Live>,
    next_id: u32,
    draining: bool,
    drained: usize,
}

/// Runs the control room on this thread until it is told to end by a signal.
///
/// # Errors
/// The operating system's, when the runtime cannot be made.
pub fn run(server: Server) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(server))
}

async fn serve(server: Server) -> io::Result<Ended> {
    let Server {
        listener,
        settings,
        routes,
        workers,
        bell,
    } = server;
    let drain_timeout = settings.drain_timeout;
    let room = Rc::new(RefCell::new(Room {
        settings,
        routes,
        workers,
        live: HashMap::new(),
        next_id: 1,
        draining: false,
        drained: 0,
    }));
    let accepting = tokio::task::spawn_local(accept(Rc::clone(&room), listener));
    let notices = sys::watch_readable(bell.fd().try_clone_to_owned()?)?;
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut deadline = None;
    let ended = loop {
        tokio::select! {
            ready = notices.readable() => {
                ready?.clear_ready();
                bell.wait(Duration::ZERO);
                room.borrow_mut().take_notices();
            }
            () = either(&mut term, &mut int) => {
                if deadline.is_some() {
                    break Ended::AtOnce;
                }
                deadline = Some(tokio::time::Instant::now() + drain_timeout);
                room.borrow_mut().tell_all(|| Mail::Drain);
                room.borrow_mut().draining = true;
            }
            () = until(deadline) => break Ended::Drained,
        }
        if deadline.is_some() && room.borrow().drained >= room.borrow().workers.len() {
            break Ended::Drained;
        }
    };
    room.borrow_mut().tell_all(|| Mail::Stop);
    let stop = tokio::time::Instant::now() + STOP_TIMEOUT;
    while !room.borrow().live.is_empty() {
        tokio::select! {
            ready = notices.readable() => {
                ready?.clear_ready();
                bell.wait(Duration::ZERO);
                room.borrow_mut().take_notices();
            }
            () = tokio::time::sleep_until(stop) => break,
        }
    }
    accepting.abort();
    Ok(ended)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn accept(room: Rc<RefCell<Room>>, listener: Listener) {
    let Ok(watched) = listener.socket.try_clone().and_then(sys::watch_readable) else {
        return;
    };
    loop {
        let Ok(mut ready) = watched.readable().await else {
            return;
        };
        match sys::accept(listener.socket.as_fd()) {
            Ok(client) => {
                tokio::task::spawn_local(greet(Rc::clone(&room), client));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn greet(room: Rc<RefCell<Room>>, client: OwnedFd) {
    if let Err(refusal) = welcome(&room, &client).await {
        tracing::info!(reason = %refusal.reason, detail = %refusal.detail, "client refused");
        sys::send_packet(client.as_fd(), &refusal.encode(), &[]).ok();
    }
}

fn refusal(reason: EndReason, detail: impl ToString) -> Refusal {
    Refusal {
        reason,
        detail: detail.to_string(),
    }
}

async fn welcome(room: &Rc<RefCell<Room>>, client: &OwnedFd) -> Result<(), Refusal> {
    let os = |error: io::Error| refusal(EndReason::Overloaded, error);
    let credentials = getsockopt(client, sockopt::PeerCredentials).map_err(|e| os(e.into()))?;
    let peer = Peer {
        uid: credentials.uid(),
        gid: credentials.gid(),
    };
    let pidfd = getsockopt(client, sockopt::PeerPidfd).ok();
    attach::policy(&room.borrow().settings, peer)?;
    let watched = client
        .try_clone()
        .and_then(sys::watch_readable)
        .map_err(os)?;
    let bound = room.borrow().settings.attach_timeout;
    let hello = tokio::time::timeout(bound, watched.readable()).await;
    let Ok(Ok(mut ready)) = hello else {
        return Err(refusal(EndReason::Protocol, "no hello in time"));
    };
    ready.clear_ready();
    drop(ready);
    let mut packet = [0; HELLO_BYTES + 1];
    let bytes = sys::receive_plain(client.as_fd(), &mut packet);
    let bytes = bytes
        .ok()
        .flatten()
        .ok_or_else(|| refusal(EndReason::Protocol, "no hello"))?;
    let id = room
        .borrow_mut()
        .attach(packet.get(..bytes).unwrap_or_default(), peer, client)?;
    // From here on anything that is readable ends the session: bytes are not of the protocol.
    let by_socket = tokio::task::spawn_local({
        let room = Rc::clone(room);
        async move {
            let _gone = watched.readable().await;
            room.borrow().detach(id, EndReason::Detached);
        }
    });
    let by_process = tokio::task::spawn_local({
        let room = Rc::clone(room);
        async move {
            match pidfd.map(sys::watch_readable) {
                Some(Ok(pidfd)) => drop(pidfd.readable().await),
                _ => std::future::pending().await,
            }
            room.borrow().detach(id, EndReason::PeerDied);
        }
    });
    if let Some(live) = room.borrow_mut().live.get_mut(&id) {
        live.watchers = [by_socket, by_process];
    }
    Ok(())
}

impl Room {
    fn attach(&mut self, hello: &[u8], peer: Peer, client: &OwnedFd) -> Result<u32, Refusal> {
        if self.draining {
            return Err(refusal(EndReason::Draining, "the gateway is shutting down"));
        }
        let layout = attach::check(hello, &self.settings)?;
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
            return Err(refusal(
                EndReason::AttachQuota,
                "the gateway has no room for a session",
            ));
        }
        let load = |at: &usize| self.live.values().filter(|live| live.worker == *at).count();
        let worker = (0..self.workers.len()).min_by_key(load).unwrap_or(0);
        let Some(handle) = self.workers.get(worker) else {
            return Err(refusal(EndReason::Overloaded, "there is no worker"));
        };
        let os = |error: io::Error| refusal(EndReason::Overloaded, error);
        let socket = client.try_clone().map_err(os)?;
        let id = self.next_id;
        let tenant = policy.and_then(|policy| policy.tenant.as_deref());
        let made = attach::make(id, layout, (peer, tenant), client, handle, &self.routes)?;
        self.next_id = id.wrapping_add(1);
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
        tracing::info!(session = id, uid = peer.uid, "client attached");
        Ok(id)
    }

    fn detach(&self, session: u32, reason: EndReason) {
        let worker = self
            .live
            .get(&session)
            .and_then(|live| self.workers.get(live.worker));
        if let Some(worker) = worker
            && worker.post.send(Mail::Detach { session, reason }).is_err()
        {
            tracing::error!(session, "a worker is too far behind to end a session");
        }
    }

    fn tell_all(&self, mail: impl Fn() -> Mail) {
        for worker in &self.workers {
            if worker.post.send(mail()).is_err() {
                tracing::error!("a worker is too far behind to be told to end");
            }
        }
    }

    fn take_notices(&mut self) {
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
        tracing::info!(session, %reason, "session ended");
    }
}
