//! The ring and a session between two processes, against their peers and floors in the same run.
//!
//! | contender | what crosses, from core 0 to core 1 |
//! |---|---|
//! | `rtrb` | 64-byte values in a ring of the crate `rtrb`, pushed and popped one by one, between two threads |
//! | `ring` | block indices in our ring, each published by itself, between two processes |
//! | `ring by 32` | the same, published by 32 as sessions do under load |
//! | `floor` | 16 KiB buffers: a thread rewrites what another has just copied out; only who has them crosses else |
//! | `session` | 16 KiB payloads from a client to a port in another process, completed without a body |
//!
//! They take turns for several rounds; printed are the medians and the spread of each, and the
//! medians of the ratios within each round. Before and after, a probe says how far apart the cores
//! are: the round trip of a cache line between two threads.
//!
//! Run with `cargo bench --bench peers`; as a test it makes one short round. The second processes
//! are this program again, told by the environment what to be: each serves what it is told on its
//! standard input, and says when it was done.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and says what it has measured"
)]

use std::hint::{black_box, spin_loop};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use core_affinity::get_core_ids;
use ipc_gateway::placement::{CoreId, pin};
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer};
use ipc_ringbuf::sys::{self, monotonic_ns};
use ipc_ringbuf::{Client, ClientBuilder, Code, Request, SubmitError, WaitStrategy};
use support::{SOON, greet, listen_at, welcome};

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

/// Says to a second process what it is to be: `ring PID FD` or `port PATH`.
const ROLE: &str = "IPCGW_BENCH_PEER";
/// Slots of both rings: 256 KiB of 64-byte values.
const SLOTS: u32 = 4096;
const BATCH: u32 = 32;
/// Bytes of a payload, and how many of them are on their way at most: 128 KiB, which stay in the
/// cores' caches.
const PAYLOAD: usize = 16 * 1024;
const BUFFERS: u32 = 8;
/// Empty looks before the processor is given to whoever else needs it, and before the clock is read.
const LOOKS: u32 = 1024;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    values: u64,
    payloads: u64,
    line_trips: u64,
}

const FULL: Size = Size {
    rounds: 9,
    values: 4_000_000,
    payloads: 40_000,
    line_trips: 100_000,
};
const SHORT: Size = Size {
    rounds: 1,
    values: 40_000,
    payloads: 400,
    line_trips: 1_000,
};

/// Looks again and again, lets others run now and then, and gives up when nothing comes.
struct Looks {
    count: u32,
    since: Instant,
}

impl Looks {
    fn new() -> Self {
        Self {
            count: 0,
            since: Instant::now(),
        }
    }

    fn pause(&mut self) {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(LOOKS) {
            assert!(self.since.elapsed() < SOON, "the other side has stopped");
            sys::yield_now();
        } else {
            spin_loop();
        }
    }
}

/// The cores that the two sides run on.
#[derive(Clone, Copy)]
struct Cores(CoreId, CoreId);

impl Cores {
    fn find() -> Option<Self> {
        match *get_core_ids()?.as_slice() {
            [first, second, ..] => Some(Self(first, second)),
            _ => None,
        }
    }
}

/// Runs both on threads of their own, one on each core; the time from the start to the second's end.
fn on_both(
    cores: Cores,
    first: impl FnOnce() + Send,
    second: impl FnOnce() -> u64 + Send,
) -> Duration {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            pin(cores.1);
            start.wait();
            second()
        });
        let begin = scope.spawn(|| {
            pin(cores.0);
            start.wait();
            let begin = monotonic_ns();
            first();
            begin
        });
        let begin = begin.join().unwrap();
        Duration::from_nanos(second.join().unwrap() - begin)
    })
}

/// Nanoseconds in which a cache line goes from one core to the other and back.
fn line_round_trip(cores: Cores, trips: u64) -> f64 {
    #[repr(align(128))]
    struct Line(AtomicU64);
    let line = &Line(AtomicU64::new(0));
    // Odd when it is the second side's turn.
    let turns = |own: u64| {
        let mut looks = Looks::new();
        for trip in 0..trips {
            while line.0.load(Ordering::Acquire) != 2 * trip + own {
                looks.pause();
            }
            line.0.store(2 * trip + own + 1, Ordering::Release);
        }
    };
    let time = on_both(
        cores,
        || turns(0),
        || {
            turns(1);
            monotonic_ns()
        },
    );
    time.as_nanos() as f64 / trips as f64
}

fn rtrb(cores: Cores, count: u64) -> Duration {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<[u64; 8]>::new(SLOTS as usize);
    on_both(
        cores,
        || {
            let mut looks = Looks::new();
            for number in 0..count {
                while producer.push([number; 8]).is_err() {
                    looks.pause();
                }
            }
        },
        || {
            let mut looks = Looks::new();
            for number in 0..count {
                let value = loop {
                    match consumer.pop() {
                        Ok(value) => break value,
                        Err(_) => looks.pause(),
                    }
                };
                assert_eq!(black_box(value), [number; 8]);
            }
            monotonic_ns()
        },
    )
}

/// Buffers that go round between two threads: the first fills them from its own memory, the second
/// copies them to its own. What hands them over is a ring of pointers.
fn floor(cores: Cores, count: u64) -> Duration {
    let (mut filled, mut to_copy) = rtrb::RingBuffer::<Box<[u8]>>::new(BUFFERS as usize);
    let (mut copied, mut to_fill) = rtrb::RingBuffer::<Box<[u8]>>::new(BUFFERS as usize);
    for _ in 0..BUFFERS {
        copied.push(vec![0; PAYLOAD].into_boxed_slice()).unwrap();
    }
    on_both(
        cores,
        || {
            let (payload, mut looks) = (vec![b'x'; PAYLOAD], Looks::new());
            for _ in 0..count {
                let mut buffer = loop {
                    match to_fill.pop() {
                        Ok(buffer) => break buffer,
                        Err(_) => looks.pause(),
                    }
                };
                buffer.copy_from_slice(black_box(&payload));
                filled.push(buffer).unwrap();
            }
        },
        || {
            let (mut body, mut looks) = (vec![0; PAYLOAD], Looks::new());
            for _ in 0..count {
                let buffer = loop {
                    match to_copy.pop() {
                        Ok(buffer) => break buffer,
                        Err(_) => looks.pause(),
                    }
                };
                body.copy_from_slice(&buffer);
                black_box(&body);
                copied.push(buffer).unwrap();
            }
            monotonic_ns()
        },
    )
}

/// A second process. Ended when it is dropped.
struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn spawn(role: String) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Tells it how much will come, and returns when it is ready.
    fn order(&mut self, count: u64) {
        writeln!(self.orders, "{count}").unwrap();
        assert_eq!(self.answer(), 0, "it says that it is ready");
    }

    /// The next number that it says.
    fn answer(&mut self) -> u64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The second process's part: for each order says that it is ready, does it, and says when it was
/// done.
fn serve(mut order: impl FnMut(u64)) {
    pin(Cores::find().unwrap().1);
    for line in std::io::stdin().lines() {
        let count = line.unwrap().parse().unwrap();
        println!("0");
        order(count);
        println!("{}", monotonic_ns());
    }
}

/// Our ring, its producer here and its consumer in another process.
struct RingPeers {
    producer: Producer<RingView>,
    next: u32,
    peer: Peer,
}

impl RingPeers {
    fn layout() -> Layout {
        let geometry = Geometry {
            entries: SLOTS,
            message_size: 64,
        };
        Layout::try_from(geometry).unwrap()
    }

    fn new() -> Self {
        let layout = Self::layout();
        let memfd = sys::sealed_memfd("bench-peers", layout.region_bytes()).unwrap();
        let region = Region::map(memfd.as_fd(), layout).unwrap();
        let role = format!("ring {} {}", std::process::id(), memfd.as_raw_fd());
        let mut peers = Self {
            producer: Producer::new(region.ring(Ring::Submission)),
            next: 0,
            peer: Peer::spawn(role),
        };
        // When it has done nothing, it has mapped the memory.
        peers.push(0, 1);
        peers
    }

    fn serve(pid: &str, fd: &str) {
        let memfd = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/fd/{fd}"))
            .unwrap();
        let region = Region::map(memfd.as_fd(), Self::layout()).unwrap();
        let mut consumer = Consumer::new(region.ring(Ring::Submission));
        let mut expected = 0_u32;
        serve(|count| {
            let mut looks = Looks::new();
            let end = expected.wrapping_add(u32::try_from(count).unwrap());
            while expected != end {
                let Some(value) = consumer.pop().unwrap() else {
                    consumer.release();
                    looks.pause();
                    continue;
                };
                assert_eq!(value, expected);
                expected = expected.wrapping_add(1);
                if expected.is_multiple_of(BATCH) {
                    consumer.release();
                }
            }
            consumer.release();
        });
    }

    fn push(&mut self, count: u64, batch: u32) -> Duration {
        self.peer.order(count);
        let (begin, mut looks) = (monotonic_ns(), Looks::new());
        let end = self.next.wrapping_add(u32::try_from(count).unwrap());
        while self.next != end {
            while self.producer.push(self.next).unwrap().is_err() {
                self.producer.publish();
                looks.pause();
            }
            self.next = self.next.wrapping_add(1);
            if self.producer.staged() >= batch {
                self.producer.publish();
            }
        }
        self.producer.publish();
        // With nothing to do it is done before we have begun.
        Duration::from_nanos(self.peer.answer().saturating_sub(begin))
    }
}

/// A session, its client here and its port in another process.
struct SessionPeers {
    client: Client,
    payload: Vec<u8>,
    peer: Peer,
}

impl SessionPeers {
    fn new(dir: &Path) -> Self {
        let path = dir.join("socket");
        let mut peer = Peer::spawn(format!("port {}", path.display()));
        assert_eq!(peer.answer(), 0, "it listens");
        let client = ClientBuilder::new()
            .socket(&path)
            .entries(BUFFERS)
            .message_size(u32::try_from(PAYLOAD).unwrap())
            .wait_strategy(WaitStrategy::Spin)
            .attach_timeout(SOON)
            .connect();
        Self {
            client: client.unwrap(),
            payload: vec![b'x'; PAYLOAD],
            peer,
        }
    }

    fn serve(path: &str) {
        let listener = listen_at(Path::new(path));
        println!("0");
        let (socket, hello) = greet(&listener);
        let (mut port, _, _, _awake, _) = welcome(socket, &hello);
        let mut body = BytesMut::with_capacity(PAYLOAD);
        serve(|count| {
            let (mut taken, mut looks) = (0, Looks::new());
            while taken < count {
                let Some(submission) = port.pop().unwrap() else {
                    port.publish();
                    looks.pause();
                    continue;
                };
                body.clear();
                port.copy_body(submission.block, &submission.sqe.unwrap(), &mut body);
                assert_eq!(black_box(&body).len(), PAYLOAD);
                let cqe = Cqe::bare(submission.user_data, Code::Ok);
                port.complete(submission.block, cqe, &[], &[]).unwrap();
                taken += 1;
                if port.publish_due() {
                    port.publish();
                }
            }
            port.publish();
        });
    }

    fn send(&mut self, count: u64) -> Duration {
        self.peer.order(count);
        let (begin, mut looks) = (monotonic_ns(), Looks::new());
        let (mut sent, mut taken) = (0, 0);
        while taken < count {
            while sent < count {
                match self.client.submit(Request::to(0).payload(&self.payload)) {
                    Ok(_) => sent += 1,
                    Err(SubmitError::Full(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            self.client.flush();
            let before = taken;
            while let Some(completion) = self.client.poll() {
                assert_eq!(completion.code(), Code::Ok);
                taken += 1;
            }
            if taken == before {
                looks.pause();
            }
        }
        // With nothing to do it is done before we have begun.
        Duration::from_nanos(self.peer.answer().saturating_sub(begin))
    }
}

/// What one contender has reached in each round.
#[derive(Default)]
struct Rates(Vec<f64>);

impl Rates {
    fn note(&mut self, count: u64, time: Duration) {
        self.0.push(count as f64 / time.as_secs_f64());
    }

    fn sorted(&self) -> Vec<f64> {
        let mut rates = self.0.clone();
        rates.sort_by(f64::total_cmp);
        rates
    }

    fn median(&self) -> f64 {
        let rates = self.sorted();
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    /// Prints what was reached, each divided by `unit`.
    fn print(&self, name: &str, unit: f64, unit_name: &str) {
        let rates = self.sorted();
        let (least, most) = (rates.first().unwrap(), rates.last().unwrap());
        println!(
            "{name:<12}{:>8.2} {unit_name} ({:.2} to {:.2})",
            self.median() / unit,
            least / unit,
            most / unit
        );
    }

    /// The ratios to another contender within each round.
    fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    fn print_ratio(&self, name: &str, target: f64) {
        let rates = self.sorted();
        let (least, most) = (rates.first().unwrap(), rates.last().unwrap());
        let median = self.median();
        let verdict = if median >= target {
            "reached"
        } else {
            "missed"
        };
        println!(
            "{name:<24}{median:>6.2} ({least:.2} to {most:.2}), target {target:.1}: {verdict}"
        );
    }
}

fn probe(cores: Cores, size: Size) {
    let mut trips = Rates(
        (0..5)
            .map(|_| line_round_trip(cores, size.line_trips))
            .collect(),
    );
    trips.0.sort_by(f64::total_cmp);
    println!("cache-line round trip {:.0} ns", trips.median());
}

fn compare(cores: Cores, size: Size) {
    let dir = tempfile::tempdir().unwrap();
    let mut ring_peers = RingPeers::new();
    let mut session_peers = SessionPeers::new(dir.path());
    pin(cores.0);
    probe(cores, size);
    let [
        mut rtrb_rates,
        mut ring,
        mut ring_by_32,
        mut floor_rates,
        mut session,
    ]: [Rates; 5] = Default::default();
    for _ in 0..size.rounds {
        rtrb_rates.note(size.values, rtrb(cores, size.values));
        ring_by_32.note(size.values, ring_peers.push(size.values, BATCH));
        ring.note(size.values, ring_peers.push(size.values, 1));
        floor_rates.note(size.payloads, floor(cores, size.payloads));
        session.note(size.payloads, session_peers.send(size.payloads));
    }
    probe(cores, size);
    let million = "million/s";
    rtrb_rates.print("rtrb", 1e6, million);
    ring.print("ring", 1e6, million);
    ring_by_32.print("ring by 32", 1e6, million);
    let gigabyte = 1e9 / PAYLOAD as f64;
    floor_rates.print("floor", gigabyte, "GB/s");
    session.print("session", gigabyte, "GB/s");
    ring_by_32
        .over(&rtrb_rates)
        .print_ratio("ring by 32 / rtrb", 2.0);
    session
        .over(&floor_rates)
        .print_ratio("session / floor", 0.8);
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        match *role.split(' ').collect::<Vec<_>>() {
            ["ring", pid, fd] => RingPeers::serve(pid, fd),
            ["port", path] => SessionPeers::serve(path),
            _ => panic!("{ROLE} is {role}"),
        }
        return;
    }
    let Some(cores) = Cores::find() else {
        println!("there is one core only: nothing can be compared");
        return;
    };
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    compare(cores, if is_bench { FULL } else { SHORT });
}
