//! A worker on a stage: its clock and its upstream in the test's hand, real clients before it.

use core::task::Waker;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ipc_ringbuf::port::{Cursors, Port};
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys::{self, Bell, BellPage};
use ipc_ringbuf::{Client, Code, Request as Ask};

use super::super::charges::Charges;
use super::super::cycle::Worker;
use super::super::mailbox::{Mail, NewSession, Post, mailbox};
use super::super::parts::Parts;
use super::support;
use crate::bridge::{Admissions, Reply, Request, Token, Upstream};
use crate::clock::{Clock, Nanos};
use crate::metrics::session::SessionFigures;
use crate::metrics::worker::WorkerMetrics;
use crate::route::Route;

pub(super) const ENTRIES: u32 = 8;
pub(super) const MESSAGE: u32 = 512;
pub(super) const MAX_PAYLOAD: u32 = 300;

#[derive(Clone)]
pub(super) struct Hand(pub(super) Arc<Mutex<Nanos>>);

impl Clock for Hand {
    fn now(&self) -> Nanos {
        *self.0.lock().unwrap()
    }
}

pub(super) struct Script {
    pub(super) room: usize,
    pub(super) sent: VecDeque<Request>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) flushes: u32,
}

/// The upstream, and the test's handle to it.
#[derive(Clone)]
pub(super) struct Scripted(pub(super) Arc<Mutex<Script>>);

impl Scripted {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

impl Upstream for Scripted {
    fn room(&self) -> usize {
        self.script().room
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        let mut script = self.script();
        let Some(room) = script.room.checked_sub(1) else {
            return Err(request);
        };
        script.room = room;
        script.sent.push_back(request);
        Ok(())
    }

    fn flush(&mut self) {
        self.script().flushes += 1;
    }

    fn receive(&mut self) -> Option<Reply> {
        self.script().replies.pop_front()
    }

    fn has_replies(&self) -> bool {
        !self.script().replies.is_empty()
    }

    fn max_payload(&self) -> u32 {
        MAX_PAYLOAD
    }

    fn arm(&self, _: &Waker) {}

    fn disarm(&self) {}
}

pub(super) struct Stage {
    pub(super) worker: Worker<Scripted, Hand>,
    pub(super) upstream: Scripted,
    pub(super) clock: Hand,
    pub(super) post: Post,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) admissions: Arc<Admissions>,
    /// Wakes nobody: the worker never sleeps here.
    pub(super) _bell: Bell,
    pub(super) sessions: u32,
    /// What is shown of the newest session.
    pub(super) figures: Arc<SessionFigures>,
}

impl Stage {
    pub(super) fn new(burst: u32, max_in_flight: u32) -> Self {
        Self::with(burst, max_in_flight, 64, Route::decide())
    }

    /// A mailbox that is made for so many sessions.
    pub(super) fn with_mailbox(burst: u32, max_in_flight: u32, sessions: usize) -> Self {
        Self::with(burst, max_in_flight, sessions, Route::decide())
    }

    pub(super) fn of(burst: u32, max_in_flight: u32, route: Route) -> Self {
        Self::with(burst, max_in_flight, 64, route)
    }

    pub(super) fn with(burst: u32, max_in_flight: u32, sessions: usize, route: Route) -> Self {
        let (own, bell) = (Bell::new().unwrap(), Bell::new().unwrap());
        let (post, mailbox) = mailbox(own.ringer().unwrap(), bell.ringer().unwrap(), sessions);
        let upstream = Scripted(Arc::new(Mutex::new(Script {
            room: usize::MAX,
            sent: VecDeque::new(),
            replies: VecDeque::new(),
            flushes: 0,
        })));
        let clock = Hand(Arc::new(Mutex::new(Nanos(1_000_000_000))));
        let metrics = Arc::new(WorkerMetrics::for_routes(1));
        let admissions = Arc::new(Admissions::new(1));
        let parts = Parts {
            number: 0,
            upstream: upstream.clone(),
            clock: clock.clone(),
            routes: [route].into(),
            admissions: Arc::clone(&admissions),
            metrics: Arc::clone(&metrics),
            mailbox,
            bell: own,
            page: Arc::new(BellPage::create().unwrap()),
            max_in_flight,
            burst,
            max_queue_delay: Duration::ZERO,
            slow_client_timeout: Duration::from_secs(30),
            first_generation: 7,
        };
        Self {
            worker: Worker::new(parts).unwrap(),
            upstream,
            clock,
            post,
            metrics,
            admissions,
            _bell: bell,
            sessions: 0,
            figures: Arc::default(),
        }
    }

    /// A client whose session has the next number.
    pub(super) fn attach(&mut self) -> Client {
        self.attach_shared(Charges::default()).0
    }

    pub(super) fn attach_with(&mut self, charges: Charges) -> Client {
        self.attach_shared(charges).0
    }

    /// A session that another worker has let go of.
    pub(super) fn adopt(&mut self, id: u32, region: Arc<Region>, cursors: Cursors) {
        self.figures = Arc::default();
        let (socket, _) = sys::packet_pair().unwrap();
        let (port, carried) = Port::resume(region, socket, cursors).unwrap();
        let session = NewSession {
            id,
            port,
            carried,
            eventfd: sys::eventfd().unwrap(),
            routes: [true].into(),
            tenant: None,
            charges: Charges::default(),
            figures: Arc::clone(&self.figures),
        };
        self.post.send(Mail::Attach(Box::new(session))).unwrap();
        self.worker.do_work();
    }

    /// A client, and a second mapping of its session's region.
    pub(super) fn attach_shared(&mut self, charges: Charges) -> (Client, Arc<Region>) {
        let pair = support::pair(ENTRIES, MESSAGE);
        self.sessions += 1;
        self.figures = Arc::default();
        let session = NewSession {
            id: self.sessions,
            port: pair.port,
            carried: None,
            eventfd: pair.eventfd,
            routes: [true].into(),
            tenant: None,
            charges,
            figures: Arc::clone(&self.figures),
        };
        self.post.send(Mail::Attach(Box::new(session))).unwrap();
        self.worker.do_work();
        (pair.client, pair.shared)
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = now.after(by);
    }

    pub(super) fn room(&self, room: usize) {
        self.upstream.script().room = room;
    }

    /// What has been handed over since the last call.
    pub(super) fn sent(&self) -> Vec<Request> {
        self.upstream.script().sent.drain(..).collect()
    }

    pub(super) fn answer(&self, token: Token, payload: Bytes) {
        let reply = Reply {
            payload,
            ..Reply::bare(token, Code::Ok)
        };
        self.upstream.script().replies.push_back(reply);
    }
}

pub(super) fn submit(client: &mut Client, mark: u64, timeout: Duration) {
    let request = Ask::to(0).user_data(mark).timeout(timeout);
    client.submit(request).unwrap();
    client.flush();
}

pub(super) fn take(client: &mut Client) -> Vec<(u64, Code)> {
    let mut taken = Vec::new();
    while let Some(completion) = client.poll() {
        taken.push((completion.ticket().0, completion.code()));
    }
    taken
}
