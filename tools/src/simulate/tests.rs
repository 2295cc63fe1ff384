//! The simulation itself: that it repeats itself, and that it reaches what it is for.

use ipc_ringbuf::Code;

use super::run::run;
use super::tally::Tally;
use super::violation::{Failure, Invariant, broken};

/// Enough for every kind of fault and every outcome.
const SEEDS: u64 = 60;
const STEPS: u32 = 400;

/// Every kind of fault that is counted.
const FAULTS: &[&str] = &[
    "admission_shut",
    "bells",
    "client_evicted",
    "client_killed",
    "client_stopped",
    "clock_jump",
    "completion_head",
    "connection_full",
    "connection_lost",
    "descriptors",
    "drain",
    "gateway_cursors",
    "hole",
    "loan_dropped",
    "mail_burst",
    "max_payload_shrinks",
    "no_responders",
    "no_room",
    "notices_unread",
    "puback_first",
    "pushes",
    "reply_error",
    "reply_injected",
    "reply_late",
    "reply_misaddressed",
    "reply_never",
    "reply_oversized",
    "reply_twice",
    "request_lost",
    "sent_again",
    "session_replaced",
    "slots",
    "stop",
    "submission_tail",
];

/// Every code that the core can complete with, but for those that only name another reason.
const CODES: &[Code] = &[
    Code::Ok,
    Code::Sent,
    Code::Stored,
    Code::NoResponders,
    Code::StreamError,
    Code::RouterInternal,
    Code::BadRecord,
    Code::TooLarge,
    Code::BadRoute,
    Code::BadHeader,
    Code::Forbidden,
    Code::Overloaded,
    Code::UpstreamDown,
    Code::ExpiredUnsent,
    Code::Draining,
    Code::Timeout,
    Code::UpstreamLost,
    Code::BadReply,
    Code::GatewayRestarted,
];

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 7, 12, 99] {
        let (first, second) = (run(seed, STEPS, false), run(seed, STEPS, false));
        assert_eq!(first, second);
    }
    let (one, other) = (run(1, STEPS, false).unwrap(), run(2, STEPS, false).unwrap());
    assert_ne!(one.hash, other.hash);
}

#[test]
fn no_seed_breaks_a_promise() {
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        match run(seed, STEPS, false) {
            Ok(run) => tally.add(&run.tally),
            Err(failure) => panic!("{failure}"),
        }
    }
    for fault in FAULTS {
        assert!(tally.faults.contains_key(fault), "no {fault}: {tally}");
    }
    for code in CODES {
        assert_ne!(tally.completions.get(code), Some(&0), "no {code}: {tally}");
    }
}

#[test]
fn a_failure_names_its_seed_and_the_command_that_repeats_it() {
    let failure = Failure {
        seed: 7,
        steps: 20,
        step: 3,
        violation: broken(Invariant::Books, "1 = 2 is wrong"),
    };
    let text = failure.to_string();
    for part in [
        "seed 7 failed at step 3",
        "I6",
        "1 = 2 is wrong",
        "--bin simulate -- --seeds 1 --from 7 --steps 20 --trace",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
