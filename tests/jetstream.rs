//! A stream that captures a route's subject, and the kinds of route besides `request`.

use ipc_ringbuf::{Code, Outcome, Request};

use crate::support::gateway::{attach, connected_as};
use crate::support::server::Server;
use crate::support::wire::Wire;

/// A route of each kind.
const ROUTES: &str = r#"
[[route]]
name = "audit"
subject = "audit.events"
kind = "publish"

[[route]]
name = "store"
subject = "store.events"
kind = "stream"
timeout = "2s"
"#;

#[test]
fn a_publish_route_completes_as_sent_and_its_message_arrives_unchanged() {
    let server = Server::start();
    let gateway = connected_as(ROUTES, &server);
    let mut wire = Wire::connect(&server);
    wire.subscribe("audit.events");
    let mut client = attach(&gateway);
    let payload: Vec<u8> = (0..=255).collect();
    let sent = client.call(Request::to("audit").payload(&payload)).unwrap();
    assert_eq!(
        (sent.code(), sent.outcome()),
        (Code::Sent, Outcome::Answered)
    );
    assert_eq!(sent.status(), 202);
    assert_eq!(wire.next(), payload);
}

#[test]
fn a_stream_route_completes_as_stored_when_the_stream_has_the_message() {
    let server = Server::with(&["-js"]);
    let gateway = connected_as(ROUTES, &server);
    let mut wire = Wire::connect(&server);
    wire.create_stream("STORE", "store.>");
    let mut client = attach(&gateway);
    for number in 1..=10 {
        let request = Request::to("store").payload("event");
        let stored = client.call(request).unwrap();
        assert_eq!(stored.code(), Code::Stored);
        assert_eq!(stored.status(), 201);
        assert_eq!(wire.stored("STORE"), number);
    }
}

#[test]
fn a_stream_route_without_a_stream_is_told_that_nobody_listens() {
    let server = Server::with(&["-js"]);
    let gateway = connected_as(ROUTES, &server);
    let mut client = attach(&gateway);
    let answer = client.call(Request::to("store").payload("event")).unwrap();
    assert_eq!(answer.code(), Code::NoResponders);
}
