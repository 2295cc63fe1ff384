//! A worker that is stepped on the room's own thread.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::gateway::{LIMIT, Peer, REQUEST, routes, settings};
use super::server::Server;
use crate::bridge::{
    Admissions, Code, Duty, Reply, Request, Token, Upstream as _, WorkerEnd, link,
};
use crate::clock::{Clock as _, Nanos, System};
use crate::health::{NatsHealth, StopSignal};
use crate::metrics::nats::NatsMetrics;
use crate::nats::{MAX_HELD, run};

/// Hands requests from the test to the link and replies back; rung through a socket.
struct Relay {
    worker: WorkerEnd,
    requests: Receiver<Request>,
    waiting: Option<Request>,
    replies: Sender<Reply>,
    bell: UnixStream,
    stop: StopSignal,
    in_flight: usize,
}

impl Duty for Relay {
    fn do_work(&mut self) -> usize {
        let mut done = 0;
        while let Some(reply) = self.worker.receive() {
            self.in_flight -= 1;
            self.replies.send(reply).unwrap();
            done += 1;
        }
        while let Some(request) = self
            .waiting
            .take()
            .or_else(|| self.requests.try_recv().ok())
        {
            self.in_flight += 1;
            self.worker.send(request).unwrap();
            done += 1;
        }
        self.worker.flush();
        done
    }

    fn prepare_to_sleep(&mut self) -> bool {
        self.waiting = self.requests.try_recv().ok();
        self.waiting.is_none()
    }

    fn awake(&mut self) {
        let mut rings = [0; 64];
        while matches!(self.bell.read(&mut rings), Ok(1..)) {}
    }

    fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn next_due(&self) -> Nanos {
        Nanos::NEVER
    }

    fn finished(&self) -> bool {
        self.stop.is_set() && self.in_flight == 0
    }
}

#[test]
fn a_duty_is_stepped_and_woken_by_its_bell() {
    let server = Server::start();
    let peer = Peer::connect(&server.url());
    peer.echo("t.request");
    let (worker, upstream) = link(64, 64, MAX_HELD);
    let (requests, taken) = channel();
    let (given, replies) = channel();
    let (mut ringer, bell) = UnixStream::pair().unwrap();
    bell.set_nonblocking(true).unwrap();
    let stop = StopSignal::new();
    let relay = Relay {
        worker,
        requests: taken,
        waiting: None,
        replies: given,
        bell,
        stop: stop.clone(),
        in_flight: 0,
    };
    let (settings, ends) = (settings(&server.url()), stop.clone());
    let thread = std::thread::spawn(move || {
        run(
            settings,
            routes(),
            vec![upstream],
            Some(Box::new(relay)),
            Arc::new(Admissions::new(4)),
            Arc::new(NatsMetrics::default()),
            Arc::new(NatsHealth::default()),
            ends,
        )
    });
    for place in 0..200 {
        let request = Request {
            token: Token::new(0, place, 1),
            route: REQUEST,
            session: 0,
            idempotent: false,
            accepted: System.now(),
            deadline: System.now().after(LIMIT),
            body: Bytes::from_static(b"x"),
            header_len: 0,
            tenant: None,
        };
        let token = request.token;
        requests.send(request).unwrap();
        ringer.write_all(b"!").unwrap();
        let reply = replies.recv_timeout(LIMIT).unwrap();
        assert_eq!((reply.token, reply.code), (token, Code::Ok));
    }
    stop.stop();
    thread.join().unwrap().unwrap();
}
