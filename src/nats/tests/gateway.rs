//! The room on a thread of its own with one worker's end in the test's hand, and a peer on NATS.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use crate::bridge::{Admissions, Reply, Request, Token, Upstream as _, WorkerEnd, link};
use crate::clock::{Clock as _, System};
use crate::health::{NatsHealth, StopSignal};
use crate::metrics::nats::NatsMetrics;
use crate::nats::{MAX_HELD, NatsError, run};
use crate::route::{ReplyContract, Route, RouteKind, Subject};
use crate::settings::NatsSettings;

/// Longest wait for anything in these tests.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Gateway {
    pub(super) worker: WorkerEnd,
    pub(super) metrics: Arc<NatsMetrics>,
    pub(super) health: Arc<NatsHealth>,
    pub(super) admissions: Arc<Admissions>,
    stop: StopSignal,
    thread: Option<JoinHandle<Result<(), NatsError>>>,
    places: u32,
}

/// The routes of these tests: one of each kind, all on subjects below `t`.
pub(super) const REQUEST: u16 = 0;
pub(super) const PUBLISH: u16 = 1;
pub(super) const STREAM: u16 = 2;
pub(super) const ROUTER: u16 = 3;
pub(super) const ONCE: u16 = 4;

fn route(name: &str, kind: RouteKind, contract: ReplyContract) -> Route {
    Route {
        name: name.to_owned(),
        subject: Subject::try_from(format!("t.{name}")).unwrap(),
        kind,
        contract,
        max_reply: 1 << 20,
        idempotent: true,
        ..Route::decide()
    }
}

pub(super) fn routes() -> Arc<[Route]> {
    [
        route("request", RouteKind::Request, ReplyContract::Opaque),
        route("publish", RouteKind::Publish, ReplyContract::Opaque),
        route("stream", RouteKind::Stream, ReplyContract::Opaque),
        route("router", RouteKind::Request, ReplyContract::Router),
        Route {
            answers_once: true,
            ..route("once", RouteKind::Request, ReplyContract::Opaque)
        },
    ]
    .into()
}

pub(super) fn settings(url: &str) -> NatsSettings {
    NatsSettings {
        urls: vec![url.to_owned()],
        ..NatsSettings::default()
    }
}

impl Gateway {
    pub(super) fn start(settings: NatsSettings) -> Self {
        let gateway = Self::start_unconnected(settings);
        let wanted = gateway.health.configured();
        eventually(|| gateway.health.connected() == wanted);
        gateway
    }

    pub(super) fn start_unconnected(settings: NatsSettings) -> Self {
        let routes = routes();
        let (worker, upstream) = link(65_536, 8_192, MAX_HELD);
        let metrics = Arc::new(NatsMetrics::default());
        let health = Arc::new(NatsHealth::new(
            u32::try_from(settings.connections).unwrap(),
        ));
        let admissions = Arc::new(Admissions::new(routes.len()));
        let stop = StopSignal::new();
        let parts = (
            Arc::clone(&admissions),
            Arc::clone(&metrics),
            Arc::clone(&health),
            stop.clone(),
        );
        let thread = std::thread::spawn(move || {
            let (admissions, metrics, health, stop) = parts;
            run(
                settings,
                routes,
                vec![upstream],
                None,
                admissions,
                metrics,
                health,
                stop,
            )
        });
        Self {
            worker,
            metrics,
            health,
            admissions,
            stop,
            thread: Some(thread),
            places: 0,
        }
    }

    /// A request with a place of its own, not sent yet.
    pub(super) fn request(&mut self, route: u16, payload: &[u8]) -> Request {
        self.places += 1;
        Request {
            token: Token::new(0, self.places, 1),
            route,
            session: self.places,
            idempotent: false,
            accepted: System.now(),
            deadline: System.now().after(LIMIT),
            body: Bytes::copy_from_slice(payload),
            header_len: 0,
            tenant: None,
        }
    }

    pub(super) fn send(&mut self, request: Request) -> Token {
        let token = request.token;
        self.worker.send(request).unwrap();
        self.worker.flush();
        token
    }

    pub(super) fn submit(&mut self, route: u16, payload: &[u8]) -> Token {
        let request = self.request(route, payload);
        self.send(request)
    }

    /// The next reply within `limit`.
    pub(super) fn reply_within(&mut self, limit: Duration) -> Option<Reply> {
        let end = Instant::now() + limit;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Some(reply) = self.worker.receive() {
                return Some(reply);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.worker.arm(&waker);
            if !self.worker.has_replies() {
                std::thread::park_timeout(left);
            }
            self.worker.disarm();
        }
    }

    /// The reply that is there already.
    pub(super) fn worker_reply_now(&mut self) -> Option<Reply> {
        self.worker.receive()
    }

    pub(super) fn reply(&mut self) -> Reply {
        self.reply_within(LIMIT).expect("a reply within the limit")
    }

    pub(super) fn call(&mut self, route: u16, payload: &[u8]) -> Reply {
        let token = self.submit(route, payload);
        let reply = self.reply();
        assert_eq!(reply.token, token);
        reply
    }

    /// Looks at the room, as the control thread does.
    pub(super) fn look(&self) {
        self.health.look();
        self.stop.wake();
    }

    /// Tells the room to end and waits until it has.
    pub(super) fn end(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits, with a bound, until something that another thread does has happened.
pub(super) fn eventually(happened: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !happened() {
        assert!(Instant::now() < end, "did not happen in time");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Somebody else on NATS: a responder, an observer.
pub(super) struct Peer {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
}

impl Peer {
    pub(super) fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async_nats::connect(url)).unwrap();
        Self { runtime, client }
    }

    /// Calls `answer` with every message on a subject.
    pub(super) fn serve<F, A>(&self, subject: &'static str, answer: F)
    where
        F: Fn(Client, Message) -> A + Send + 'static,
        A: Future<Output = ()> + Send,
    {
        let mut requests = self.runtime.block_on(async {
            let subscription = self.client.subscribe(subject).await.unwrap();
            // A round trip: the server knows of the subscription before it hears of requests.
            let mut echo = self.client.subscribe("round.trip").await.unwrap();
            self.client.publish("round.trip", "".into()).await.unwrap();
            echo.next().await.unwrap();
            subscription
        });
        let client = self.client.clone();
        self.runtime.spawn(async move {
            while let Some(message) = requests.next().await {
                answer(client.clone(), message).await;
            }
        });
    }

    /// Sends every payload on a subject back.
    pub(super) fn echo(&self, subject: &'static str) {
        self.serve(subject, |client, message| async move {
            if let Some(reply) = message.reply {
                drop(client.publish(reply, message.payload).await);
            }
        });
    }
}

/// Makes a stream that captures `subject`.
pub(super) fn create_stream(peer: &Peer, subject: &str) {
    let config = format!(r#"{{"name":"T","subjects":["{subject}"],"storage":"file"}}"#);
    let answer = peer.runtime.block_on(async {
        let mut inbox = peer.client.subscribe("_INBOX.test.create").await.unwrap();
        peer.client
            .publish_with_reply(
                "$JS.API.STREAM.CREATE.T",
                "_INBOX.test.create",
                config.into(),
            )
            .await
            .unwrap();
        inbox.next().await.unwrap()
    });
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains(r#""created""#), "{text}");
}
