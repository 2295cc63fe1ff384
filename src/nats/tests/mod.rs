//! The room against a real nats-server.

mod faults;
mod gateway;
mod lines;
mod merged;
mod order;
mod replies;
mod server;

use gateway::{Gateway, Peer, settings};
use server::Server;

fn start() -> (Server, Peer, Gateway) {
    let server = Server::start();
    let peer = Peer::connect(&server.url());
    let gateway = Gateway::start(settings(&server.url()));
    (server, peer, gateway)
}

fn start_with_streams() -> (Server, Peer, Gateway) {
    let server = Server::with(&["-js"]);
    let peer = Peer::connect(&server.url());
    let gateway = Gateway::start(settings(&server.url()));
    (server, peer, gateway)
}
