//! Made-up runs, and what they come to.

use super::super::flags;
use super::*;
use crate::crew::Killed;
use crate::run::Layout;
use crate::series::Row;
use crate::stage::Ended;

/// A run of `seconds` in each of which so many are answered OK.
fn run(args: &SoakArgs, seconds: u64, ok: u64) -> Measured {
    let mut found = Measured::of(Layout::new(args));
    found.series.rows = (0..seconds)
        .map(|second| Row {
            second,
            sent: ok,
            done: ok,
            ok,
            ..Row::default()
        })
        .collect();
    found.series.total.sent = seconds * ok;
    found
        .series
        .total
        .codes
        .insert("OK".to_owned(), seconds * ok);
    found
}

#[test]
fn what_was_with_killed_clients_is_counted_and_nothing_else_may_be_missing() {
    let args = flags("--faults storm --window 100");
    // The figures of a storm of half an hour, and what became of the difference.
    let mut found = run(&args, 1, 123_173_519);
    found.series.total.sent = 123_173_885;
    let verdict = |found: &Measured| ledger(found, &args).verdict;
    assert_eq!(verdict(&found), Verdict::Fail);
    let killed = |clients, requests| Killed { clients, requests };
    found.killed = killed(7, 366);
    let check = ledger(&found, &args);
    assert_eq!(check.verdict, Verdict::Pass);
    assert!(
        check
            .found
            .contains("366 were with 7 killed clients (at most 700)"),
        "{check:?}"
    );
    // One too few, one too many, and more than their windows hold.
    found.killed = killed(7, 365);
    assert_eq!(verdict(&found), Verdict::Fail);
    found.killed = killed(7, 367);
    assert_eq!(verdict(&found), Verdict::Fail);
    found.killed = killed(3, 366);
    assert_eq!(verdict(&found), Verdict::Fail);
    // A request that is lost adds up, and fails all the same.
    found.killed = killed(7, 365);
    found.series.total.lost = 1;
    assert_eq!(verdict(&found), Verdict::Fail);
}

/// What comes of a Router that received so many, of 1000 answers, 5000 before them and a warm-up.
fn ended(args: &SoakArgs, received: u64, timeouts: u64) -> Verdict {
    let mut found = run(args, 10, 100);
    found
        .series
        .total
        .codes
        .insert("TIMEOUT".to_owned(), timeouts);
    found.measured.codes.insert("OK".to_owned(), 5000);
    found.clients = Some((9, 9));
    let mut warm_up = Account::default();
    warm_up.codes.insert("OK".to_owned(), 1);
    found.ended = Some(Ended {
        in_order: true,
        how: "exit status: 0".to_owned(),
        panics: 0,
        disorderly: 0,
        received,
        warm_up,
        counts: String::new(),
    });
    ends(&found, args).verdict
}

#[test]
fn the_router_received_what_was_answered_and_nothing_twice() {
    let args = flags("--faults none");
    assert_eq!(ended(&args, 6001, 0), Verdict::Pass);
    // What it received before the load does not stand for what it did not.
    assert_eq!(ended(&args, 6000, 0), Verdict::Fail);
    // A request that was published twice.
    assert_eq!(ended(&args, 6002, 0), Verdict::Fail);
    // One without an answer may be among them, and need not.
    assert_eq!(ended(&args, 6001, 1), Verdict::Pass);
    assert_eq!(ended(&args, 6002, 1), Verdict::Pass);
    assert_eq!(ended(&args, 6003, 1), Verdict::Fail);
    // Clients that were killed had more of them.
    let args = flags("--faults storm");
    assert_eq!(ended(&args, 6100, 0), Verdict::Pass);
    assert_eq!(ended(&args, 6000, 0), Verdict::Fail);
}

#[test]
fn what_was_not_submitted_was_not_served() {
    let args = flags("--faults none");
    let mut found = run(&args, 100, 1000);
    assert_eq!(served(&found, &args).verdict, Verdict::Pass);
    found.series.rows[50].given_up = 50;
    found.series.rows[51].refused = 50;
    assert_eq!(served(&found, &args).verdict, Verdict::Pass);
    found.series.rows[52].faulty = 2;
    let check = served(&found, &args);
    assert_eq!(check.verdict, Verdict::Fail);
    assert!(
        check.found.contains("100102 requests, 102 of which"),
        "{check:?}"
    );
}

#[test]
fn recovery_counts_what_a_full_window_kept_back() {
    let args = flags("--faults storm --rate 50%");
    let mut found = run(&args, 100, 1000);
    found.faults.push(Fault::ClientSlow);
    found.series.begin("client slow", 2, 30_000_000_000);
    found.series.end("client slow", 31_000_000_000);
    // While it is broken, anything may be given up.
    found.series.rows[31].given_up = 1000;
    assert_eq!(recovery(&found, &args).verdict, Verdict::Pass);
    found.series.rows[60].given_up = 150;
    assert_eq!(recovery(&found, &args).verdict, Verdict::Fail);
    // That it was as bad before excuses a rate of which nobody knows whether it can be served.
    found.series.rows[10].given_up = 150;
    assert_eq!(recovery(&found, &args).verdict, Verdict::Fail);
    let args = flags("--faults storm --rate 1000");
    assert_eq!(recovery(&found, &args).verdict, Verdict::Inconclusive);
}

#[test]
fn a_fault_that_heals_too_late_is_a_failure_and_each_kinds_slowest_is_told() {
    let args = flags("--faults storm --rate 50%");
    let mut found = run(&args, 100, 1000);
    found.faults.push(Fault::ServerKilled);
    found.series.begin("server killed", 4, 30_000_000_000);
    found.series.end("server killed", 31_000_000_000);
    let healed = |ms| (Fault::ServerKilled, Duration::from_millis(ms));
    found.healed = vec![healed(3500), healed(200)];
    let check = recovery(&found, &args);
    assert_eq!(check.verdict, Verdict::Pass, "{check:?}");
    let words = ", 0 did not heal, 0 not in time, server killed 3.50 s at most; ";
    assert!(check.found.contains(words), "{check:?}");
    found.healed.push(healed(3501));
    let check = recovery(&found, &args);
    assert_eq!(check.verdict, Verdict::Fail);
    assert!(check.found.contains(", 1 not in time, "), "{check:?}");
}
