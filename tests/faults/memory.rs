//! Faults 8, 10, 11 and 16: the memory, its cursors and its lengths.

use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipc_ringbuf::entry::{DESCRIPTOR_WORDS, Sqe, Words};
use ipc_ringbuf::layout::{Geometry, Layout};
use ipc_ringbuf::region::Region;
use ipc_ringbuf::{ClientBuilder, Code, Request};

use crate::support::admin::{get, metric};
use crate::support::gateway::{Gateway, attach, connected, start, start_configured};
use crate::support::hostile::Hostile;
use crate::support::polite::Polite;
use crate::support::raw::{RawClient, call};
use crate::support::router::Router;
use crate::support::script::Script;
use crate::support::server::Server;
use crate::support::{books, decide, eventually, signal};

/// Sessions that ended because of impossible values of this kind.
fn violations(gateway: &Gateway, kind: &str) -> u64 {
    let label = format!("kind=\"{kind}\"");
    metric(gateway, "ipcgw_ring_violations_total", &label)
}

/// Lines about them in the log.
fn corrupt_lines(gateway: &Gateway) -> usize {
    gateway.log().matches("its rings are corrupt").count()
}

#[test]
fn f08_memory_cannot_be_resized_and_no_access_dies() {
    let gateway = start(&["--upstream", "loopback"]);
    let polite = Polite::start(&gateway.socket, "polite", 200);
    let hostile = Hostile::start(&gateway, 3, 8, &["resize"]);
    let deeds = hostile.end();
    println!("{deeds:?}");
    assert!(deeds.number("seals_held") > 1000);
    assert_eq!(deeds.number("seals_broken"), 0);
    polite.end().assert_exact();
    books::at_rest(&gateway);
}

/// Names a file to shrink under a mapping; without it there is nothing to do.
const SHRINK: &str = "IPCGW_TEST_SHRINK";

/// Not a test of its own but the process that [`f08_without_seals_it_would_die`] starts.
#[test]
fn is_shrunk() {
    let Some(path) = std::env::var_os(SHRINK) else {
        return;
    };
    let layout = Layout::try_from(Geometry::default()).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    file.set_len(layout.region_bytes()).unwrap();
    let region = Region::map(file.as_fd(), layout).unwrap();
    assert_eq!(region.load_descriptor(0), Some([0; DESCRIPTOR_WORDS]));
    file.set_len(0).unwrap();
    let _ = region.load_descriptor(0);
}

/// The control: the same access to memory that is not sealed ends the process.
#[test]
fn f08_without_seals_it_would_die() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::memory::is_shrunk"])
        .env(SHRINK, file.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    // SIGBUS
    assert_eq!(status.signal(), Some(7), "{status}");
}

#[test]
fn f10_wild_submission_cursors_end_their_session_and_no_other() {
    const ENTRIES: u32 = 8;
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--delay", "20ms"]);
    let mut other = attach(&gateway);
    let before = books::at_rest(&gateway);
    let mut ended = 0;
    // After so many honest requests, a tail that is so far from the truth.
    for honest in [0_u32, 3, 11] {
        for lie in [
            ENTRIES + 1,
            ENTRIES + 2,
            1 << 16,
            1 << 31,
            (1 << 31) + 1,
            u32::MAX - 1,
            u32::MAX,
        ] {
            let body = decide("raw", 200);
            let sqe = Sqe {
                payload_len: 200,
                ..call(0)
            };
            let mut raw = RawClient::attach_with(&gateway.socket, ENTRIES, 256);
            for _ in 0..honest {
                assert_eq!(raw.exchange(&sqe.to_words(), &body).code, Code::Ok);
            }
            // One that is on its way when the session is cut.
            let accepted = metric(&gateway, "ipcgw_accepted_total", "");
            raw.submit(1, &sqe.to_words(), &body);
            eventually("it is accepted", || {
                metric(&gateway, "ipcgw_accepted_total", "") == accepted + 1
            });
            let ticket = other.submit(Request::to("decide").payload(&body)).unwrap();
            other.flush();
            raw.claim_submitted((honest + 1).wrapping_add(lie));
            raw.is_cut(&format!("{lie} after {honest}"));
            ended += 1;
            let answer = other.wait(Duration::from_secs(10)).unwrap();
            assert_eq!((answer.ticket(), answer.code()), (ticket, Code::Ok));
        }
    }
    assert_eq!(violations(&gateway, "index"), ended);
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), ended);
    let books = books::at_rest(&gateway);
    assert_eq!(books.abandoned - before.abandoned, ended);
    let lines = corrupt_lines(&gateway) as u64;
    assert!(lines > 0 && lines <= ended, "{lines}");
}

#[test]
fn f16_wild_completion_cursors_end_their_session_and_no_other() {
    const ENTRIES: u32 = 8;
    let gateway = start(&["--upstream", "loopback"]);
    let polite = Polite::start(&gateway.socket, "polite", 200);
    let words = call(0).to_words();
    let mut ended = 0;
    // After so many honest requests, a head that is so far from the truth.
    for honest in [0_u32, 9, 16, 21] {
        for lie in [ENTRIES + 1, 1 << 16, 1 << 31, u32::MAX - ENTRIES, u32::MAX] {
            let mut raw = RawClient::attach_with(&gateway.socket, ENTRIES, 64);
            for _ in 0..honest {
                assert_eq!(raw.exchange(&words, &[]).code, Code::Ok);
            }
            raw.claim_taken(honest.wrapping_add(lie));
            // Nobody needs the head before the ring may be full.
            let mut is_cut = false;
            for _ in 0..=2 * ENTRIES {
                raw.submit(0, &words, &[]);
                eventually("it is completed, or the session is cut", || {
                    is_cut = raw.ended().is_some();
                    is_cut || raw.take_unreleased().is_some()
                });
                if is_cut {
                    break;
                }
            }
            assert!(is_cut, "{lie} after {honest}");
            ended += 1;
        }
    }
    assert_eq!(violations(&gateway, "cq_index"), ended);
    // A head that could be true harms nobody but its client.
    let mut raw = RawClient::attach_with(&gateway.socket, ENTRIES, 64);
    for done in 0..40 {
        assert_eq!(raw.exchange_unreleased(&words, &[]).code, Code::Ok);
        raw.claim_taken(done);
    }
    drop(raw);
    polite.end().assert_exact();
    books::at_rest(&gateway);
    assert_eq!(violations(&gateway, "cq_index"), ended);
}

#[test]
fn f11_lengths_that_cannot_be_are_a_fault_of_their_request_only() {
    const MESSAGE: u32 = 64;
    let gateway = start(&["--upstream", "loopback"]);
    let mut raw = RawClient::attach(&gateway.socket, MESSAGE);
    let good = call(0).to_words();
    let edges = [
        0,
        1,
        63,
        64,
        65,
        8192,
        8193,
        1 << 16,
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ];
    let mut cases = Vec::new();
    for header_len in edges {
        for payload_len in edges {
            let sqe = Sqe {
                header_len,
                payload_len,
                ..call(0)
            };
            cases.push(sqe.to_words());
        }
    }
    // Everything else in a descriptor that must be as it is.
    cases.extend([[0; DESCRIPTOR_WORDS], [u64::MAX; DESCRIPTOR_WORDS]]);
    for (word, bits) in [
        (1, 0x03),
        (1, 0x0200),
        (2, 1 << 32),
        (5, 1),
        (6, 1 << 63),
        (7, 1),
    ] {
        let mut words = good;
        words[word] ^= bits;
        cases.push(words);
    }
    // And what nobody thought of.
    let mut state = 11_u64;
    cases.extend((0..2000).map(|_| scramble(good, &mut state)));
    for words in cases {
        let completion = raw.exchange(&words, &[]);
        let [user_data, ..] = words;
        assert_eq!(completion.user_data, user_data);
        match Sqe::parse(&words, MESSAGE) {
            Err(fault) => assert_eq!(completion.code, fault.code(), "{words:x?}"),
            Ok(sqe) if sqe.route != 0 => {
                let codes = [Code::BadRoute, Code::BadHeader];
                assert!(codes.contains(&completion.code), "{words:x?}");
            }
            Ok(sqe) if sqe.header_len != 0 => {
                let codes = [Code::Ok, Code::BadHeader, Code::ExpiredUnsent];
                assert!(codes.contains(&completion.code), "{words:x?}");
            }
            // A claim of having been submitted long ago has run out.
            Ok(sqe) if sqe.submitted_ns != 0 => {
                let codes = [Code::Ok, Code::ExpiredUnsent];
                assert!(codes.contains(&completion.code), "{words:x?}");
            }
            Ok(sqe) => {
                assert_eq!(completion.code, Code::Ok, "{words:x?}");
                assert_eq!(completion.payload_len, sqe.payload_len);
            }
        }
    }
    // The session is as good as ever.
    assert_eq!(raw.exchange(&good, &[]).code, Code::Ok);
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), 0);
}

/// A descriptor with one field replaced, from a generator of splitmix64.
fn scramble(mut words: Words, state: &mut u64) -> Words {
    let mut next = || {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let at = usize::try_from(next() % DESCRIPTOR_WORDS as u64).unwrap();
    words[at] = match next() % 3 {
        0 => next(),
        1 => words[at] ^ (1 << (next() % 64)),
        _ => next() % 200,
    };
    words
}

/// A client can hold the lock that giving its memory back needs. It pays for it with its quota.
#[test]
fn f14_a_client_that_locks_its_memory_holds_up_nobody() {
    let text = "[control.quota]\nsessions = 3\n";
    let gateway = start_configured(text, &["--upstream", "loopback"]);
    let mut other = attach(&gateway);
    let script = Script::start("hold.py", &gateway);
    script.said.wait_for("\n");
    if script.said.text().starts_with("cannot") {
        println!(
            "not tried: this user may not use userfaultfd: {}",
            script.said.text()
        );
        return;
    }
    eventually("its session has ended", || {
        metric(&gateway, "ipcgw_sessions_ended_total", "DETACHED") == 1
    });
    let start = Instant::now();
    let third = attach(&gateway);
    assert_eq!(get(&gateway, "/livez").0, 200);
    let request = Request::to("decide").payload(b"x");
    assert_eq!(other.call(request).unwrap().code(), Code::Ok);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // The memory that is not back is still its user's.
    let builder = ClientBuilder::new().socket(&gateway.socket);
    let refused = builder.connect().err().map(|error| error.to_string());
    assert!(refused.unwrap().contains("3 sessions"));
    assert!(metric(&gateway, "ipcgw_returning_bytes", "") > 0);
    // A process with a thread that waits for that lock could not become another program.
    signal("-USR2", gateway.pid());
    eventually("it says so", || {
        gateway
            .log()
            .contains("no other gateway can take over: clients of ended sessions hold")
    });
    let request = Request::to("decide").payload(b"x");
    assert_eq!(other.call(request).unwrap().code(), Code::Ok);
    drop(script);
    drop(attach(&gateway));
    drop((other, third));
    eventually("all is given back", || {
        !gateway.holds_regions() && metric(&gateway, "ipcgw_returning_bytes", "") == 0
    });
}
