//! Fault 38: other users of the server, who guess or see where answers go.

use ipc_ringbuf::{Client, Code, Request, Ticket};

use super::Setup;
use crate::support::admin::{get, metric};
use crate::support::gateway::{Gateway, attach, connected_as, start_configured, until_connected};
use crate::support::server::Server;
use crate::support::wire::Wire;
use crate::support::{SOON, decide, eventually};

const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");

const ECHO: &str = "[[route]]\nname = \"echo\"\nsubject = \"test.echo\"\n";
/// What numbers in reply subjects are written with, six bits each.
const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Most digits of a token, which begins with no zero, and digits of what stands before it.
const TOKEN: usize = 11;
const CHECK: usize = 6;
/// Guesses of somebody who has seen nothing.
const GUESSES: u64 = 10_000;

#[test]
fn f38_guessed_replies_match_nothing_and_permissions_keep_answers_from_others() {
    let first = unrestricted();
    let second = unrestricted();
    assert_ne!(first, second, "an inbox is used again");
    as_documented();
}

fn submit(client: &mut Client) -> Ticket {
    let request = Request::to("echo").payload(b"ask").timeout(SOON);
    let ticket = client.submit(request).unwrap();
    client.flush();
    ticket
}

/// On a server without users everybody may do everything. Returns the name of the inbox.
fn unrestricted() -> String {
    let server = Server::start();
    let gateway = connected_as(ECHO, &server);
    let mut client = attach(&gateway);
    let mut router = Wire::connect(&server);
    router.subscribe("test.echo");
    let ticket = submit(&mut client);
    let (body, reply) = router.next_with_reply();
    assert_eq!(body, b"ask");
    let reply = reply.unwrap();
    let [prefix, boot, serial, token] = reply.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("{reply}");
    };
    assert_eq!((prefix, boot.len()), ("_INBOX", 2 * TOKEN));
    let shortest = 1 + CHECK;
    assert!((shortest..=shortest + TOKEN).contains(&token.len()));
    guesses(&server, serial);
    assert_eq!(metric(&gateway, "ipcgw_unmatched_replies_total", ""), 0);
    let inbox = format!("{prefix}.{boot}.{serial}");
    neighbours(&server, &gateway, &inbox, token);
    assert_eq!(client.outstanding(), 1);
    router.publish(&reply, "the answer");
    let completion = client.wait(SOON).unwrap();
    assert_eq!(completion.ticket(), ticket);
    assert_eq!(
        (completion.code(), completion.payload()),
        (Code::Ok, &b"the answer"[..])
    );
    // What nothing but permissions prevents: the token of a request that waits was seen.
    submit(&mut client);
    let (_, reply) = router.next_with_reply();
    let mut sniffer = Wire::connect(&server);
    sniffer.publish(&reply.unwrap(), "forged");
    let completion = client.wait(SOON).unwrap();
    assert_eq!(completion.payload(), b"forged");
    boot.to_owned()
}

fn digits(number: u64, count: usize) -> String {
    let digit = |at: usize| {
        let value = (u128::from(number) >> (6 * at)) & 63;
        char::from(DIGITS.as_bytes()[usize::try_from(value).unwrap()])
    };
    (0..count).rev().map(digit).collect()
}

/// A token as it is written: without the zeros that it begins with.
fn shortest(token: u64) -> String {
    digits(token, TOKEN).trim_start_matches('A').to_owned()
}

fn number(digits: &str) -> u64 {
    let value = |digit| u64::try_from(DIGITS.find(digit).unwrap()).unwrap();
    digits
        .chars()
        .fold(0, |number, digit| (number << 6) | value(digit))
}

/// Inboxes that nobody has: 128 bits are unknown.
fn guesses(server: &Server, serial: &str) {
    let mut stranger = Wire::connect(server);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..GUESSES {
        let (high, low, token) = (next(), next(), next());
        let [high, low] = [high, low].map(|it| digits(it, TOKEN));
        let (check, token) = (digits(0, CHECK), shortest(token));
        let subject = format!("_INBOX.{high}{low}.{serial}.r{check}{token}");
        stranger.publish(&subject, "guessed");
    }
    stranger.settle();
}

/// The inbox is known, and the suffix of another request: `r`, 36 bits that only the gateway can
/// compute, and the token.
fn neighbours(server: &Server, gateway: &Gateway, inbox: &str, suffix: &str) {
    let (check, token) = suffix[1..].split_at(CHECK);
    let known = number(token);
    let mut sniffer = Wire::connect(server);
    let mut forged = 0;
    let mut publish = |suffix: String| {
        sniffer.publish(&format!("{inbox}.{suffix}"), "forged");
        forged += 1;
    };
    // Every token that differs in one bit, and the next ones: other generations of the place, other
    // places, other workers.
    let bits = (0..64).map(|bit| known ^ (1 << bit));
    for other in bits.chain((1..100).map(|step| known.wrapping_add(step))) {
        publish(format!("r{check}{}", shortest(other)));
    }
    for bit in 0..36 {
        let other = number(check) ^ (1 << bit);
        publish(format!("r{}{token}", digits(other, CHECK)));
    }
    // The same token, written otherwise.
    publish(format!("r{check}A{token}"));
    // Markers and statuses of the gateway's own, and what is nothing.
    for other in ["m", "b", "s", "x", ""] {
        publish(format!("{other}{check}{token}"));
    }
    for other in ["x", "0", "r", "m0000000000000001", "b", token] {
        publish(other.to_owned());
    }
    sniffer.settle();
    let counted = |reason| metric(gateway, "ipcgw_unmatched_replies_total", reason);
    eventually("they are counted", || counted("forged") == forged);
    assert_eq!(counted("late") + counted("duplicate"), 0);
}

/// The permissions that the operators' document recommends.
fn documented() -> String {
    let (_, rest) = OPERATIONS
        .split_once("### Users of the NATS server")
        .unwrap();
    let (_, rest) = rest.split_once("```text\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let words = ["GATEWAY", "ROUTER", "OTHERS"];
    words.iter().fold(text.to_owned(), |text, word| {
        text.replace(&format!("${word}_PASSWORD"), &word.to_lowercase())
    })
}

fn as_documented() {
    let setup = Setup::new();
    let server = setup.start(&documented());
    let text = "[nats]\nuser = \"gateway\"\npassword = \"gateway\"\ninbox_prefix = \"gw.inbox\"\n\
                [[route]]\nname = \"event\"\nsubject = \"beamline.router.v1.decide\"\n\
                kind = \"publish\"\n";
    let gateway = start_configured(text, &["--nats", &server.url()]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let mut router = Wire::connect_as(&server, "router", "router");
    router.subscribe("beamline.router.v1.decide");
    let mut other = Wire::connect_as(&server, "others", "others");
    for attempt in [
        "SUB gw.inbox.> 1\r\n",
        "SUB gw.> 2\r\n",
        "SUB beamline.router.v1.decide 3\r\n",
        "SUB beamline.router.v1.* 4\r\n",
        "PUB gw.inbox.x 0\r\n\r\n",
        "PUB beamline.router.v1.decide 0\r\n\r\n",
    ] {
        let complaints = other.complaints(attempt);
        let refused = complaints
            .iter()
            .any(|it| it.contains("Permissions Violation"));
        // A wildcard may be taken, and then does not get what is denied.
        assert!(
            refused || attempt.contains("gw.>") || attempt.contains("v1.*"),
            "{attempt}"
        );
    }
    other.subscribe(">");
    for _ in 0..20 {
        let body = decide("as-documented", 200);
        let request = Request::to("decide").payload(&body).timeout(SOON);
        client.submit(request).unwrap();
        client.flush();
        let (asked, reply) = router.next_with_reply();
        assert_eq!(asked, body);
        let (answer, reply) = (r#"{"ok":true}"#, reply.unwrap());
        router.publish(&reply, answer);
        let completion = client.wait(SOON).unwrap();
        assert_eq!(
            (completion.code(), completion.payload()),
            (Code::Ok, answer.as_bytes())
        );
        // Once each, and nowhere else.
        for subject in [&reply, "gw.inbox.x", "others.x"] {
            let complaints = router.complaints(&format!("PUB {subject} 0\r\n\r\n"));
            assert!(complaints[0].contains("Permissions Violation"), "{subject}");
        }
    }
    let event = client.call(Request::to("event").payload(b"x")).unwrap();
    assert_eq!(event.code(), Code::Sent);
    other.publish("others.done", "all seen");
    assert_eq!(other.next(), b"all seen");
    // Everything that the gateway does is permitted.
    assert_eq!(metric(&gateway, "ipcgw_nats_errors_total", ""), 0);
    assert_eq!(metric(&gateway, "ipcgw_unmatched_replies_total", ""), 0);
    assert_eq!(get(&gateway, "/readyz").0, 200);
}
