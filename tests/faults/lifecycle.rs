//! Faults 18 to 20: clients that die, fork and come back.

use std::path::Path;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Code, Request};

use crate::support::admin::metric;
use crate::support::gateway::{Gateway, attach, connected, start};
use crate::support::polite::Polite;
use crate::support::router::Router;
use crate::support::script::Script;
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
    std::env::var("IPCGW_STEP_RUNS").map_or(100, |runs| runs.parse().unwrap())
}

/// Mappings of sessions' memory that the gateway has.
fn regions(gateway: &Gateway) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).unwrap();
    maps.matches("memfd:ipc-gateway-session").count()
}

/// Each of 11 steps, 4 ways, and as many runs as `IPCGW_STEP_RUNS` says: 100, which take about 40
/// seconds.
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
                // With more on their way there may be an answer each time that it looks.
                let one: &[_] = &["--window", "1"];
                let arguments = if step == "in-flight" { one } else { &[] };
                let socket = &gateway.socket;
                let mut child = StepChild::start(socket, step, way, repeat, arguments);
                child.died();
                let what = format!("all is reclaimed: {step} {way} {repeat}");
                let took = eventually(&what, || gateway.descriptors() <= at_rest);
                times.push(took);
            }
        }
        polite.pause();
        let books = books::at_rest(&gateway);
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

/// Waits until the process that forked is dead, though nobody has waited for it; returns the number
/// of its child.
fn orphan_of(script: &Script) -> u32 {
    let path = format!("/proc/{}/stat", script.pid());
    eventually("the parent is dead", || {
        let stat = std::fs::read_to_string(&path).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('Z')
    });
    let mut child = None;
    eventually("the child says its number", || {
        let said = script.said.text();
        child = said
            .lines()
            .find_map(|line| line.strip_prefix("child ")?.parse().ok());
        child.is_some()
    });
    child.unwrap()
}

#[test]
fn f19_a_forked_child_does_not_keep_the_session_of_its_dead_parent() {
    let server = Server::with(&["-D"]);
    let gateway = connected(&server);
    eventually("both connections are made", || server.connections() == 2);
    let _router = Router::start(&server, &["--delay", "3s"]);
    let mut polite = Polite::start(&gateway.socket, "polite", 100);
    polite.pause();
    let before = books::at_rest(&gateway).accepted;
    let at_rest = gateway.descriptors();
    let mut forked = Script::start("fork.py", &gateway);
    forked.said.wait_for("sent\n");
    let accepted = || books::Books::of(&gateway).accepted;
    eventually("its requests are accepted", || accepted() == before + 8);
    polite.go();
    forked.go();
    let child = orphan_of(&forked);
    let took = eventually("the session is gone", || gateway.descriptors() <= at_rest);
    println!("reclaimed in {took:?} while the child lives");
    assert!(took < 10 * RECLAIM, "{took:?}");
    forked.go();
    forked.said.wait_for("scribbled\n");
    eventually("the polite client works on", || {
        accepted() >= before + 8 + 50
    });
    assert!(Path::new(&format!("/proc/{child}")).exists());
    assert_eq!(regions(&gateway), 1);
    assert_eq!(
        metric(&gateway, "ipcgw_sessions_ended_total", "PEER_DIED"),
        1
    );
    polite.end().assert_exact();
    let books = books::at_rest(&gateway);
    assert!(books.abandoned > 0, "{books:?}");
}

/// The library's mapping is not there in a child at all.
#[test]
fn f19_the_client_librarys_mapping_is_not_inherited_by_fork() {
    let gateway = start(&["--upstream", "loopback"]);
    let mut client = attach(&gateway);
    let request = Request::to("decide").payload(b"x");
    assert_eq!(client.call(request).unwrap().code(), Code::Ok);
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut regions = 0;
    let mut is_region = false;
    for line in smaps.lines() {
        let Some(flags) = line.strip_prefix("VmFlags:") else {
            // The head of a mapping ends with what is mapped; the other lines are `Name: value`.
            if !line.split(' ').next().unwrap().ends_with(':') {
                is_region = line.contains("memfd:ipc-gateway-session");
            }
            continue;
        };
        if is_region {
            regions += 1;
            assert!(flags.split(' ').any(|flag| flag == "dc"), "{flags}");
        }
    }
    assert!(regions > 0);
}

#[test]
fn f20_no_old_answer_reaches_a_client_that_has_come_back() {
    const LIVES: u32 = 40;
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &["--delay", "30ms"]);
    let mut marks = Vec::new();
    for life in 0..LIVES {
        // The same marks in every life; the payloads say which life it is.
        marks.push(format!("life{life}"));
        let name = marks.last().unwrap();
        let arguments = ["--name", name, "--window", "8", "--requests", "8"];
        let start = |step, way| StepChild::start(&gateway.socket, step, way, 1, &arguments);
        if life % 4 == 3 {
            // Each answer is its own, or this fails.
            start("none", "kill").lived();
        } else {
            start("in-flight", WAYS[life as usize % 2]).died();
        }
    }
    let books = books::at_rest(&gateway);
    println!("{books:?}");
    let died = u64::from(LIVES - LIVES / 4);
    assert!(books.abandoned > died, "{books:?}");
    // The Router has answered the dead, and their answers were counted.
    let late = || {
        metric(&gateway, "ipcgw_late_replies_total", "")
            + metric(&gateway, "ipcgw_unmatched_replies_total", "")
    };
    // A probe before the Router's start may have been answered late too.
    eventually("the answers to the dead have come", || {
        late() >= books.abandoned
    });
    println!("{} late answers", late());
    // Most of them had sent something before they died.
    let seen = router.payloads().concat();
    let was_seen = |mark: &&String| seen.contains(&format!("\"{mark}-0\""));
    let lives = marks.iter().filter(was_seen).count();
    assert!(lives > marks.len() / 2, "{lives}");
}
