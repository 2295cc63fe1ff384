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

use ipc_gateway::placement::pin;

use cores::Cores;
use peer::ROLE;
use rates::Rates;
use ring_peers::RingPeers;
use session_peers::SessionPeers;

mod cores;
mod looks;
mod peer;
mod rates;
mod ring_peers;
mod session_peers;
#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../../ringbuf/tests/support/mod.rs"]
mod support;
mod threads;

/// Slots of both rings: 256 KiB of 64-byte values.
const SLOTS: u32 = 4096;
/// Entries that sessions publish together under load.
const BATCH: u32 = 32;
/// Bytes of a payload, and how many of them are on their way at most: 128 KiB, which stay in the
/// cores' caches.
const PAYLOAD: usize = 16 * 1024;
const BUFFERS: u32 = 8;

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

fn probe(cores: Cores, size: Size) {
    let mut trips = Rates(
        (0..5)
            .map(|_| threads::line_round_trip(cores, size.line_trips))
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
        rtrb_rates.note(size.values, threads::rtrb(cores, size.values));
        ring_by_32.note(size.values, ring_peers.push(size.values, BATCH));
        ring.note(size.values, ring_peers.push(size.values, 1));
        floor_rates.note(size.payloads, threads::floor(cores, size.payloads));
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
