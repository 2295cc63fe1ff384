//! The NATS room by itself: one worker's link on this thread, a real `nats-server`, and a responder
//! that echoes. Times are for one request and its answer, by how many are on their way at once.
//!
//! `NATS_SERVER` names the server's program; without it `nats-server` is looked for in `PATH`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use ipc_gateway::bridge::{Admissions, Code, Request, Token, Upstream as _, WorkerEnd, link};
use ipc_gateway::clock::{Clock as _, System};
use ipc_gateway::health::{NatsHealth, StopSignal};
use ipc_gateway::metrics::nats::NatsMetrics;
use ipc_gateway::nats::{MAX_HELD, NatsError, run};
use ipc_gateway::route::{ReplyContract, Route, Subject};
use ipc_gateway::settings::NatsSettings;

/// Bytes of a request and of its answer.
const PAYLOAD: usize = 128;
/// Time until a request is given up, which ends the benchmark.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server: set NATS_SERVER or install it");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = log.by_ref().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("Server is ready")));
        std::thread::spawn(move || log.for_each(drop));
        let url = format!("nats://127.0.0.1:{port}");
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Echoes every request; returns when it has its subscription.
fn respond(url: String) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let mut requests = client.subscribe("bench.echo").await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            while let Some(request) = requests.next().await {
                if let Some(reply) = request.reply {
                    client.publish(reply, request.payload).await.ok();
                }
            }
        });
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
}

/// The room on its thread, and its worker's end here.
struct Room {
    worker: WorkerEnd,
    stop: StopSignal,
    thread: Option<JoinHandle<Result<(), NatsError>>>,
    waker: Waker,
    place: u32,
    payload: Bytes,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Room {
    fn start(url: &str) -> Self {
        let route = Route {
            subject: Subject::try_from("bench.echo".to_owned()).unwrap(),
            contract: ReplyContract::Opaque,
            ..Route::decide()
        };
        let (worker, upstream) = link(65_536, 8_192, MAX_HELD);
        let settings = NatsSettings {
            urls: vec![url.to_owned()],
            ..NatsSettings::default()
        };
        let health = Arc::new(NatsHealth::new(0));
        let connected = Arc::clone(&health);
        let stop = StopSignal::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let admissions = Arc::new(Admissions::new(1));
            let metrics = Arc::new(NatsMetrics::default());
            let routes: Arc<[Route]> = [route].into();
            let links = vec![upstream];
            run(
                settings, routes, links, None, admissions, metrics, health, stopping,
            )
        });
        let bound = Instant::now() + PATIENCE;
        while connected.connected() < 2 {
            assert!(Instant::now() < bound, "no connection");
            std::thread::yield_now();
        }
        Self {
            worker,
            stop,
            thread: Some(thread),
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
            place: 0,
            payload: Bytes::from(vec![b'x'; PAYLOAD]),
        }
    }

    fn send(&mut self) {
        self.place = (self.place + 1) % 60_000;
        let request = Request {
            token: Token::new(0, self.place, 1),
            route: 0,
            session: self.place,
            idempotent: false,
            accepted: System.now(),
            deadline: System.now().after(PATIENCE),
            body: self.payload.clone(),
            header_len: 0,
            tenant: None,
        };
        self.worker.send(request).expect("room for the window");
    }

    /// Takes what has come, at least one answer.
    fn receive(&mut self) -> u64 {
        let mut count = 0;
        loop {
            while let Some(reply) = self.worker.receive() {
                assert_eq!(black_box(reply).code, Code::Ok);
                count += 1;
            }
            if count > 0 {
                return count;
            }
            self.worker.arm(&self.waker);
            if !self.worker.has_replies() {
                std::thread::park_timeout(PATIENCE);
            }
            self.worker.disarm();
        }
    }

    /// Time for `count` requests with `window` on their way.
    fn exchange(&mut self, count: u64, window: u64) -> Duration {
        let start = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < count {
            while sent < count && sent - done < window {
                self.send();
                sent += 1;
            }
            self.worker.flush();
            done += self.receive();
        }
        start.elapsed()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn requests(c: &mut Criterion) {
    let server = Server::start();
    respond(server.url.clone());
    let mut room = Room::start(&server.url);
    let mut group = c.benchmark_group("nats");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    for window in [1_u64, 16, 256, 1024] {
        group.bench_function(BenchmarkId::new("window", window), |b| {
            b.iter_custom(|count| room.exchange(count, window));
        });
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
