//! Faults 18 to 20: clients that die, fork and come back.

use std::time::{Duration, Instant};

use crate::support::admin::metric;
use crate::support::gateway::{Gateway, connected};
use crate::support::polite::Polite;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::steps::{StepChild, WAYS};
use crate::support::{books, eventually};

/// The moments of fault 18, in their order, and how often a client comes by them at least.
const STEPS: [(&str, u32); 11] = [
    ("connected", 1),
    ("hello-sent", 1),
    ("fds-received", 1),
    ("mapped", 1),
    ("slot-reserved", 12),
    ("half-written", 12),
    ("committed", 4),
    ("woken", 4),
    ("in-flight", 1),
    ("half-read", 12),
    ("detaching", 1),
];
/// Within this time after a client's end everything of it is reclaimed, in 99 of 100 cases: 100 ms,
/// and as much again for a machine that has other things to do.
const RECLAIM: Duration = Duration::from_millis(200);

/// Deaths at each step in each way.
fn runs() -> u32 {
    std::env::var("IPCGW_STEP_RUNS").map_or(5, |runs| runs.parse().unwrap())
}

/// Mappings of sessions' memory that the gateway has.
fn regions(gateway: &Gateway) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).unwrap();
    maps.matches("memfd:ipc-gateway-session").count()
}

/// Each of 11 steps, 4 ways, and as many runs as `IPCGW_STEP_RUNS` says (5; 100 in a long run).
#[test]
fn f18_a_client_that_dies_at_any_step_in_any_way_leaves_nothing_behind() {
    let server = Server::with(&["-D"]);
    let gateway = connected(&server);
    eventually("both connections are made", || server.connections() == 2);
    let _router = Router::start(&server, &[]);
    let mut polite = Polite::start(&gateway.socket, "polite", 200);
    let at_rest = gateway.descriptors();
    let mut times = Vec::new();
    let started = Instant::now();
    for (step, passes) in STEPS {
        for way in WAYS {
            for run in 0..runs() {
                let repeat = 1 + run % passes;
                let mut child = StepChild::start(&gateway.socket, step, way, repeat);
                child.died();
                let what = format!("all is reclaimed: {step} {way} {repeat}");
                let took = eventually(&what, || gateway.descriptors() <= at_rest);
                times.push(took);
            }
        }
        polite.pause();
        let books = books::at_rest(&gateway);
        eventually("the descriptors are those at rest", || {
            gateway.descriptors() == at_rest
        });
        assert_eq!(metric(&gateway, "ipcgw_sessions", ""), 1);
        assert_eq!(regions(&gateway), 1);
        println!("{step}: {books:?}");
        polite.go();
    }
    let took = started.elapsed();
    let sent = polite.end().assert_exact();
    times.sort_unstable();
    let deaths = times.len();
    let [half, most, slowest] = [deaths / 2, deaths * 99 / 100, deaths - 1].map(|at| times[at]);
    println!(
        "{deaths} deaths in {took:?}, all clean; reclaimed in {half:?}, 99 of 100 in {most:?}, the \
         slowest in {slowest:?}; the polite client had {sent} answers"
    );
    assert!(most < RECLAIM, "{most:?}");
    assert!(slowest < 10 * RECLAIM, "{slowest:?}");
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), 0);
}
