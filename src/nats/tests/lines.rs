//! What is shown of the lines, and how long a message takes on each.

use super::gateway::PUBLISH;
use super::*;
use crate::bridge::Code;
use crate::health::{LineHealth, LineState};
use crate::settings::{NatsAuth, NatsSettings, Secret};

fn lines(gateway: &Gateway) -> Vec<LineHealth> {
    gateway.health.lines()
}

fn state(gateway: &Gateway) -> Option<LineState> {
    lines(gateway).first().map(|line| line.state)
}

fn round_trip(gateway: &Gateway) -> u64 {
    lines(gateway)[0].up.as_ref().unwrap().round_trip_ns
}

#[test]
fn lines_say_how_far_they_are_and_where_they_lead() {
    let mut server = Server::start();
    let gateway = Gateway::start(settings(&server.url()));
    gateway::eventually(|| {
        let lines = lines(&gateway);
        lines.len() == 2 && lines.iter().all(|line| line.state == LineState::Connected)
    });
    for (number, line) in lines(&gateway).into_iter().enumerate() {
        assert_eq!(line.line, number);
        assert!(line.server.ends_with(&server.address()), "{}", line.server);
        let up = line.up.unwrap();
        assert!(!up.server_name.is_empty());
        assert!(up.round_trip_ns > 0 && up.since.0 > 0);
    }
    server.kill();
    gateway::eventually(|| state(&gateway) == Some(LineState::Waiting));
    assert_eq!(lines(&gateway)[0].up, None);
    server.restart();
    gateway::eventually(|| state(&gateway) == Some(LineState::Connected));
}

#[test]
fn round_trips_are_measured_when_somebody_looks() {
    let server = Server::start();
    let gateway = Gateway::start(NatsSettings {
        connections: 1,
        ..settings(&server.url())
    });
    gateway::eventually(|| state(&gateway) == Some(LineState::Connected));
    let first = round_trip(&gateway);
    // It is measured anew each time, and shown the next time.
    gateway::eventually(|| {
        gateway.look();
        round_trip(&gateway) != first
    });
    assert!(round_trip(&gateway) > 0);
    // A server that is slow is seen to be.
    server.pause();
    gateway.look();
    let paused = std::time::Instant::now();
    gateway::eventually(|| paused.elapsed().as_millis() >= 50);
    server.signal("-CONT");
    // Shown at a look, and until the next: no other measurement begins without one.
    gateway::eventually(|| paused.elapsed().as_millis() >= 500);
    gateway.look();
    gateway::eventually(|| round_trip(&gateway) >= 40_000_000);
    assert_eq!(gateway.metrics.unmatched_forged.get(), 0);
}

#[test]
fn a_user_that_may_not_publish_to_its_inbox_has_the_round_trip_of_its_connection_and_no_publishes()
{
    let server = Server::configured(
        r#"authorization { users = [ { user: gw, password: pw,
            permissions: { publish: { deny: ["_INBOX.>"] } } } ] }"#,
    );
    let (user, password) = ("gw".to_owned(), Secret::new("pw".to_owned()));
    let mut gateway = Gateway::start(NatsSettings {
        auth: NatsAuth::Password { user, password },
        connections: 1,
        ..settings(&server.url())
    });
    gateway::eventually(|| state(&gateway) == Some(LineState::Connected));
    let first = round_trip(&gateway);
    assert!(first > 0);
    let turns = gateway.metrics.turns.get();
    gateway.look();
    gateway::eventually(|| gateway.metrics.turns.get() > turns + 1);
    assert_eq!(round_trip(&gateway), first);
    assert_eq!(gateway.metrics.errors_permission.get(), 0);
    // Nothing could confirm what is published.
    assert_eq!(gateway.call(PUBLISH, b"x").code, Code::Forbidden);
    assert_eq!(gateway.metrics.published.get(), 0);
}
