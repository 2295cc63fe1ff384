//! A worker on a stage: it answers by itself (the loopback upstream), is stepped by hand, and serves
//! one client and as many sessions as are asked for whose clients do nothing.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipc_gateway::bridge::{Admissions, Loopback};
use ipc_gateway::clock::Clock;
use ipc_gateway::metrics::worker::WorkerMetrics;
use ipc_gateway::route::{ReplyContract, Route};
use ipc_gateway::settings::WorkerSettings;
use ipc_gateway::worker::charges::Charges;
use ipc_gateway::worker::cycle::Worker;
use ipc_gateway::worker::mailbox::{Mail, NewSession, Post, mailbox};
use ipc_gateway::worker::parts::Parts;
use ipc_ringbuf::layout::{Geometry, Layout};
use ipc_ringbuf::port::Port;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys::{self, Bell, BellPage};
use ipc_ringbuf::{Client, Code, Request};

use super::support;

/// Most sessions that a stage is made for.
const MOST: usize = 1_100;
/// Blocks of the client's session; the default session's.
pub(crate) const ENTRIES: u32 = 256;

/// The stage.
pub(crate) struct Stage<C> {
    pub(crate) worker: Worker<Loopback, C>,
    pub(crate) client: Client,
    post: Post,
    sessions: u32,
    /// The other ends of the idle sessions' sockets.
    peers: Vec<OwnedFd>,
    /// What the worker rings for the control thread, which is not there.
    _control: Bell,
}

impl<C: Clock> Stage<C> {
    /// A worker with one client whose blocks hold `message_size` bytes.
    pub(crate) fn new(clock: C, message_size: u32) -> Self {
        let (bell, control) = (Bell::new().unwrap(), Bell::new().unwrap());
        let (post, mailbox) = mailbox(bell.ringer().unwrap(), control.ringer().unwrap(), MOST);
        let settings = WorkerSettings::default();
        let route = Route {
            contract: ReplyContract::Opaque,
            ..Route::decide()
        };
        let worker = Worker::new(Parts {
            number: 0,
            upstream: Loopback::default(),
            clock,
            routes: [route].into(),
            admissions: Arc::new(Admissions::new(1)),
            metrics: Arc::new(WorkerMetrics::for_routes(1)),
            mailbox,
            bell,
            page: Arc::new(BellPage::create().unwrap()),
            max_in_flight: settings.max_in_flight,
            burst: settings.burst,
            max_queue_delay: settings.max_queue_delay,
            slow_client_timeout: Duration::from_secs(30),
            first_generation: 7,
        });
        let pair = support::pair(ENTRIES, message_size);
        let mut stage = Self {
            worker: worker.unwrap(),
            client: pair.client,
            post,
            sessions: 0,
            peers: Vec::new(),
            _control: control,
        };
        stage.seat(pair.port, pair.eventfd);
        stage
    }

    /// Seats sessions whose clients are attached and submit nothing.
    pub(crate) fn seat_idle(&mut self, count: u32) {
        let geometry = Geometry {
            entries: 16,
            ..Geometry::default()
        };
        let layout = Layout::try_from(geometry).unwrap();
        for _ in 0..count {
            let memfd = sys::sealed_memfd("idle", layout.region_bytes()).unwrap();
            let region = Region::map(memfd.as_fd(), layout).unwrap();
            let (near, far) = sys::packet_pair().unwrap();
            self.peers.push(far);
            self.seat(Port::new(region, near), sys::eventfd().unwrap());
        }
    }

    fn seat(&mut self, port: Port, eventfd: OwnedFd) {
        self.sessions += 1;
        let session = NewSession {
            id: self.sessions,
            port,
            carried: None,
            eventfd,
            routes: [true].into(),
            tenant: None,
            charges: Charges::default(),
            figures: Arc::default(),
        };
        self.post.send(Mail::Attach(Box::new(session))).unwrap();
        self.worker.do_work();
    }

    /// Submits `count` requests with this payload and shows them to the worker.
    #[inline]
    pub(crate) fn submit(&mut self, count: u32, payload: &[u8]) {
        for _ in 0..count {
            self.client.submit(Request::to(0).payload(payload)).unwrap();
        }
        self.client.flush();
    }

    /// Takes every completion that there is; returns how many there were.
    #[inline]
    pub(crate) fn take(&mut self) -> u32 {
        let mut taken = 0;
        while let Some(completion) = self.client.poll() {
            assert_eq!(completion.code(), Code::Ok);
            taken += 1;
        }
        taken
    }
}
