//! A session between two processes.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::sys::monotonic_ns;
use ipc_ringbuf::{Client, ClientBuilder, Code, Request, SubmitError, WaitStrategy};

use super::looks::Looks;
use super::peer::{Peer, serve};
use super::support::{SOON, greet, listen_at, welcome};
use super::{BUFFERS, PAYLOAD};

/// A session, its client here and its port in another process.
pub(crate) struct SessionPeers {
    client: Client,
    payload: Vec<u8>,
    peer: Peer,
}

impl SessionPeers {
    pub(crate) fn new(dir: &Path) -> Self {
        let path = dir.join("socket");
        let mut peer = Peer::spawn(format!("port {}", path.display()));
        assert_eq!(peer.answer(), 0, "it listens");
        let client = ClientBuilder::new()
            .socket(&path)
            .entries(BUFFERS)
            .message_size(u32::try_from(PAYLOAD).unwrap())
            .wait_strategy(WaitStrategy::Spin)
            .attach_timeout(SOON)
            .connect();
        Self {
            client: client.unwrap(),
            payload: vec![b'x'; PAYLOAD],
            peer,
        }
    }

    pub(crate) fn serve(path: &str) {
        let listener = listen_at(Path::new(path));
        println!("0");
        let (socket, hello) = greet(&listener);
        let (mut port, _, _, _awake, _) = welcome(socket, &hello);
        let mut body = BytesMut::with_capacity(PAYLOAD);
        serve(|count| {
            let (mut taken, mut looks) = (0, Looks::new());
            while taken < count {
                let Some(submission) = port.pop().unwrap() else {
                    port.publish();
                    looks.pause();
                    continue;
                };
                body.clear();
                port.copy_body(submission.block, &submission.sqe.unwrap(), &mut body);
                assert_eq!(black_box(&body).len(), PAYLOAD);
                let cqe = Cqe::bare(submission.user_data, Code::Ok);
                port.complete(submission.block, cqe, &[], &[]).unwrap();
                taken += 1;
                if port.publish_due() {
                    port.publish();
                }
            }
            port.publish();
        });
    }

    pub(crate) fn send(&mut self, count: u64) -> Duration {
        self.peer.order(count);
        let (begin, mut looks) = (monotonic_ns(), Looks::new());
        let (mut sent, mut taken) = (0, 0);
        while taken < count {
            while sent < count {
                match self.client.submit(Request::to(0).payload(&self.payload)) {
                    Ok(_) => sent += 1,
                    Err(SubmitError::Full(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            self.client.flush();
            let before = taken;
            while let Some(completion) = self.client.poll() {
                assert_eq!(completion.code(), Code::Ok);
                taken += 1;
            }
            if taken == before {
                looks.pause();
            }
        }
        // With nothing to do it is done before we have begun.
        Duration::from_nanos(self.peer.answer().saturating_sub(begin))
    }
}
