//! The room against a real nats-server.

mod gateway;
mod server;

use core::time::Duration;

use async_nats::{HeaderMap, HeaderValue};
use gateway::{Gateway, LIMIT, PUBLISH, Peer, REQUEST, ROUTER, STREAM, eventually, settings};
use server::Server;

use crate::bridge::Code;

fn start() -> (Server, Peer, Gateway) {
    let server = Server::start();
    let peer = Peer::connect(&server.url());
    let gateway = Gateway::start(settings(&server.url()));
    (server, peer, gateway)
}

#[test]
fn a_request_comes_back_with_its_reply() {
    let (_server, peer, mut gateway) = start();
    peer.echo("t.request");
    let reply = gateway.call(REQUEST, b"ping");
    assert_eq!((reply.code, &reply.payload[..]), (Code::Ok, &b"ping"[..]));
    assert!(reply.headers.is_empty());
    gateway.end();
}
