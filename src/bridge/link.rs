//! The two queues between a worker and the side that answers, and who sleeps at either end.

use core::fmt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use atomic_waker::AtomicWaker;
use ipc_ringbuf::primitive::{AtomicBool, AtomicU32, Ordering, fence};

use super::batches::{Receiver, Sender, batches};
use super::{Reply, Request, Upstream};

/// Whether one side sleeps, and how to wake it.
#[derive(Debug, Default)]
struct Sleeper {
    asleep: AtomicBool,
    waker: AtomicWaker,
}

impl Sleeper {
    /// Says that this side will sleep unless it finds work in one more look.
    fn arm(&self, waker: &Waker) {
        self.waker.register(waker);
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`: either the other side sees `asleep`, or the look that
        // follows sees what it pushed.
        fence(Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes this side if it sleeps. Called after a push, once a batch.
    fn ring(&self) {
        // Pairs with the fence in `arm`.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.asleep.store(false, Ordering::Relaxed);
            self.waker.wake();
        }
    }
}

/// What both ends share, besides the queues.
struct Link {
    worker: Sleeper,
    upstream: Sleeper,
    max_payload: AtomicU32,
}

/// Makes the two ends of a pair of queues. `in_flight` is the most requests that the worker keeps
/// in flight, `outbound` the most that wait to be taken by the other side, and `held` the most that
/// the other side has taken and keeps until they can be sent.
#[must_use]
pub fn link(in_flight: usize, outbound: usize, held: usize) -> (WorkerEnd, UpstreamEnd) {
    // A token is answered at most once. Between two looks of the worker at this queue those in
    // flight can all be answered, time out, and be replaced by as many that are answered too. And
    // what waits or is held is answered although the worker may have given it up long ago and used
    // its place again, more than once.
    let inbound = in_flight
        .max(1)
        .saturating_mul(2)
        .saturating_add(outbound.max(1))
        .saturating_add(held);
    let (requests, outbound) = batches(outbound.max(1));
    let (replies, inbound) = batches(inbound);
    let link = Arc::new(Link {
        worker: Sleeper::default(),
        upstream: Sleeper::default(),
        max_payload: AtomicU32::new(1024 * 1024),
    });
    (
        WorkerEnd {
            requests,
            replies: inbound,
            link: Arc::clone(&link),
        },
        UpstreamEnd {
            requests: outbound,
            replies,
            link,
        },
    )
}

/// The worker's end of a link.
pub struct WorkerEnd {
    requests: Sender<Request>,
    replies: Receiver<Reply>,
    link: Arc<Link>,
}

impl fmt::Debug for WorkerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerEnd").finish_non_exhaustive()
    }
}

impl Upstream for WorkerEnd {
    fn room(&self) -> usize {
        self.requests.room()
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        self.requests.push(request)
    }

    fn flush(&mut self) {
        self.requests.flush();
        self.link.upstream.ring();
    }

    fn receive(&mut self) -> Option<Reply> {
        self.replies.pop()
    }

    fn receive_batch(&mut self, batch: &mut VecDeque<Reply>) {
        self.replies.take(batch);
    }

    fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    fn max_payload(&self) -> u32 {
        self.link.max_payload.load(Ordering::Relaxed)
    }

    fn arm(&self, waker: &Waker) {
        self.link.worker.arm(waker);
    }

    fn disarm(&self) {
        self.link.worker.disarm();
    }
}

/// The answering side's end of a link.
pub struct UpstreamEnd {
    requests: Receiver<Request>,
    replies: Sender<Reply>,
    link: Arc<Link>,
}

impl fmt::Debug for UpstreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamEnd").finish_non_exhaustive()
    }
}

impl UpstreamEnd {
    /// The next request that was flushed, in the order of acceptance.
    pub fn pop(&mut self) -> Option<Request> {
        self.requests.pop()
    }

    /// Whether a request waits.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether the worker's end is gone: nobody waits for an answer any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.link) == 1
    }

    /// Answers a request. A token may be answered once. The worker sees it after
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// Gives the reply back when the worker has fallen so far behind that the queue is full, which
    /// the queue's size rules out as long as each token is answered once.
    pub fn answer(&mut self, reply: Reply) -> Result<(), Reply> {
        self.replies.push(reply)
    }

    /// Ends a batch of answers: wakes the worker if it sleeps.
    pub fn flush(&mut self) {
        self.replies.flush();
        self.link.worker.ring();
    }

    /// Says that this side will sleep unless it [`has_requests`](Self::has_requests) after this.
    pub fn arm(&self, waker: &Waker) {
        self.link.upstream.arm(waker);
    }

    /// Says that this side is awake.
    pub fn disarm(&self) {
        self.link.upstream.disarm();
    }

    /// Publishes the largest body, in bytes, that the broker takes now.
    pub fn set_max_payload(&self, bytes: u32) {
        self.link.max_payload.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Code, Token};
    use super::*;
    use crate::clock::Nanos;

    #[test]
    fn full_link_gives_the_request_back() {
        let (mut worker, mut upstream) = link(1, 1, 0);
        let request = Request {
            token: Token::new(0, 1, 2),
            route: 0,
            session: 0,
            idempotent: false,
            accepted: Nanos(0),
            deadline: Nanos::NEVER,
            body: Bytes::from_static(b"hp"),
            header_len: 1,
            tenant: None,
        };
        assert!(worker.send(request.clone()).err().is_none());
        assert_eq!(worker.room(), 0);
        assert_eq!(
            worker.send(request).map_err(|back| back.payload()),
            Err("p".into())
        );
        assert!(!upstream.has_requests());
        worker.flush();
        assert!(upstream.has_requests());
        assert_eq!(upstream.pop().map(|r| r.token), Some(Token::new(0, 1, 2)));
    }

    #[test]
    fn everything_that_the_other_side_can_have_may_be_answered_at_once() {
        let (in_flight, outbound, held) = (1, 4, 2);
        let (mut worker, mut upstream) = link(in_flight, outbound, held);
        let mut taken = Vec::new();
        // The one place times out again and again, while the other side holds, and is then stopped.
        for generation in 0.. {
            let request = Request {
                token: Token::new(0, 0, generation),
                route: 0,
                session: 0,
                idempotent: false,
                accepted: Nanos(0),
                deadline: Nanos(0),
                body: Bytes::new(),
                header_len: 0,
                tenant: None,
            };
            if worker.send(request).is_err() {
                break;
            }
            worker.flush();
            if taken.len() < held {
                taken.extend(upstream.pop());
            }
        }
        taken.extend(core::iter::from_fn(|| upstream.pop()));
        assert_eq!(taken.len(), outbound + held);
        for request in taken {
            let reply = Reply::bare(request.token, Code::ExpiredUnsent);
            upstream.answer(reply).unwrap();
        }
    }
}
