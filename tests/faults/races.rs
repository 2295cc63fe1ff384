//! Faults 13 and 15: what changes, or is used again, while it is on its way.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_ringbuf::entry::Sqe;
use ipc_ringbuf::{Code, Request};

use crate::support::admin::metric;
use crate::support::gateway::{attach, connected, connected_as};
use crate::support::raw::{RawClient, call};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{books, decide, eventually, hostile};

/// Two requests in good form and two in bad, all of them in the same block at the same time: what
/// the Router sees is one that was checked, whole.
#[test]
fn f13_what_was_checked_is_what_is_sent_whatever_the_client_changes() {
    const ENTRIES: u32 = 8;
    const MESSAGE: u32 = 512;
    const ECHO: u16 = 1;
    let routes = "[[route]]\nname = \"echo\"\nsubject = \"test.echo\"\n\
                  [[route]]\nname = \"others\"\nsubject = \"test.echo\"\nallow_uids = [4242]\n";
    let server = Server::with(&["-D"]);
    let gateway = connected_as(routes, &server);
    let router = Router::start(&server, &["--echo", "--subject", "test.echo"]);
    eventually("all have connected", || server.connections() == 3);
    // Header blocks of the same length: k: v1, and one that would end the line.
    let (good, evil) = (b"\x01\0\x02\0kv1", b"\x01\0\x02\0k\r\n");
    let header_len = u32::try_from(good.len()).unwrap();
    let sqe = |header_len, payload_len, route| Sqe {
        header_len,
        payload_len,
        ..call(route)
    };
    let descriptors = [
        sqe(header_len, 100, ECHO),
        sqe(0, 200, ECHO),
        sqe(header_len, MESSAGE, ECHO),
        sqe(header_len, 100, 2),
    ]
    .map(|sqe| sqe.to_words());
    let bodies = [
        [&good[..], &[b'a'; 300]].concat(),
        [&evil[..], &[b'b'; 300]].concat(),
    ];
    let mut raw = RawClient::attach_with(&gateway.socket, ENTRIES, MESSAGE);
    let before = books::at_rest(&gateway);
    let (over, flips) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut free: Vec<u32> = (0..ENTRIES).collect();
    let mut submitted = 0;
    std::thread::scope(|scope| {
        let (region, memory) = (raw.region.clone(), raw.memory());
        let places: Vec<u64> = (0..ENTRIES).map(|block| raw.body_at(block)).collect();
        let (over, flips) = (&over, &flips);
        let (descriptors, bodies) = (&descriptors, &bodies);
        scope.spawn(move || {
            for turn in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                for (block, at) in (0..ENTRIES).zip(&places) {
                    region.store_descriptor(block, &descriptors[turn % 4]);
                    memory.write_all_at(&bodies[turn / 4 % 2], *at).unwrap();
                }
                flips.fetch_add(u64::from(ENTRIES), Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let length = Duration::from_secs(hostile::seconds() / 3);
        while start.elapsed() < length || free.len() < ENTRIES as usize {
            if start.elapsed() < length
                && let Some(block) = free.pop()
            {
                raw.submit(block, &descriptors[0], &bodies[0]);
                submitted += 1;
            }
            free.extend(raw.take());
        }
        over.store(true, Ordering::Relaxed);
    });
    let books = books::at_rest(&gateway);
    assert_eq!(books.accepted - before.accepted, submitted);
    assert_eq!(books.abandoned, before.abandoned);
    let mut seen = [0_u64; 2];
    for line in router.log() {
        if line["subject"] != "test.echo" {
            continue;
        }
        // The copy of a descriptor may be a mix of two; it was checked as it is.
        let payload = line["payload"].as_str().unwrap();
        assert!(
            [100, 200, MESSAGE as usize].contains(&payload.len()),
            "{line}"
        );
        // With headers: those that were found good, and a payload that begins after them. Without:
        // the same bytes, all of them payload.
        let has_headers = line["headers"].get("k").is_some();
        let skipped = if has_headers { 0 } else { good.len() };
        if has_headers {
            assert_eq!(line["headers"]["k"], "v1", "{line}");
            assert!(payload.len() < MESSAGE as usize, "{line}");
        }
        let mut body = payload.bytes().take(300).skip(skipped);
        assert!(body.all(|byte| b"ab".contains(&byte)), "{line}");
        seen[usize::from(!has_headers)] += 1;
    }
    let flips = flips.into_inner();
    println!("{submitted} submitted under {flips} changes; the Router saw {seen:?}");
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    // Each that passed was sent once, and each that did not pass was not.
    let passed = metric(&gateway, "ipcgw_completions_total", "code=\"OK\"");
    assert_eq!(seen.iter().sum::<u64>(), passed);
    for code in ["TOO_LARGE", "BAD_HEADER", "FORBIDDEN"] {
        let rejected = metric(&gateway, "ipcgw_completions_total", code);
        assert!(rejected > 0, "{code}");
    }
    assert_eq!(server.connections(), 3, "{}", server.log());
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), 0);
}

#[test]
fn f15_marks_may_be_the_same_and_come_back_as_they_were() {
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--delay", "20ms"]);
    let mut client = attach(&gateway);
    for mark in [0, 7, u64::MAX] {
        for number in 0..32 {
            let body = decide(&format!("same-{number}"), 200);
            let request = Request::to("decide").payload(&body).user_data(mark);
            client.submit(request).unwrap();
        }
        client.flush();
        let mut answered = Vec::new();
        while client.outstanding() > 0 {
            let answer = client.wait(Duration::from_secs(10)).unwrap();
            assert_eq!((answer.ticket().0, answer.code()), (mark, Code::Ok));
            let payload = String::from_utf8_lossy(answer.payload());
            let its = (0..32).filter(|n| payload.contains(&format!("\"same-{n}\"")));
            answered.extend(its);
        }
        answered.sort_unstable();
        assert!(answered.into_iter().eq(0..32));
    }
}

/// The Router holds the answer of a place until the place is used again.
#[test]
fn f15_an_answer_never_completes_the_next_request_in_its_place() {
    const ROUNDS: u64 = 8;
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--delay", "300ms"]);
    let mut client = attach(&gateway);
    let before = books::at_rest(&gateway);
    for round in 0..ROUNDS {
        let first = decide(&format!("first-{round}"), 200);
        let request = Request::to("decide").payload(&first);
        let timeout = Duration::from_millis(100);
        let answer = client.call(request.timeout(timeout)).unwrap();
        assert_eq!(answer.code(), Code::Timeout);
        // Nothing else is in flight, so this is in the same place; the first one's answer comes
        // before its own.
        let second = decide(&format!("second-{round}"), 200);
        let answer = client.call(Request::to("decide").payload(&second)).unwrap();
        assert_eq!(answer.code(), Code::Ok);
        let payload = String::from_utf8_lossy(answer.payload());
        assert!(
            payload.contains(&format!("\"second-{round}\"")),
            "{payload}"
        );
    }
    let late = metric(&gateway, "ipcgw_late_replies_total", "")
        + metric(&gateway, "ipcgw_unmatched_replies_total", "reason=\"late\"");
    assert_eq!(late, ROUNDS);
    let books = books::at_rest(&gateway);
    assert_eq!(books.accepted - before.accepted, 2 * ROUNDS);
}
