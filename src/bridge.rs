//! The hinge between the workers and whatever answers them: plain values in bounded queues.
//!
//! ```text
//!  worker thread                         NATS thread
//!  WorkerEnd --- Outbound (bounded) ---> UpstreamEnd
//!            <--- Inbound (bounded) ----
//! ```
//!
//! The worker reserves room in both queues before it accepts a request, so neither push can fail
//! and nothing here waits. Each side says before it sleeps that it will (`Sleeper`), and is woken
//! only then. Nothing in this file knows NATS, shared memory or a thread.

use core::fmt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
pub use ipc_ringbuf::entry::{Code, Outcome};
pub use ipc_ringbuf::headers;
use ipc_ringbuf::primitive::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use crate::clock::Nanos;

/// Names one request in flight: worker, place in its slab, and the generation of that place.
///
/// A place that is used again has another generation, so an answer that comes late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Most places that one worker's slab may have.
    pub const MAX_PLACES: u32 = 1 << 24;

    /// Packs worker (8 bits), place (24 bits) and generation (32 bits).
    #[must_use]
    pub const fn new(worker: u8, place: u32, generation: u32) -> Self {
        // { worker: 8, place: 24, generation: 32 }
        let place = (place & (Self::MAX_PLACES - 1)) as u64;
        Self(((worker as u64) << 56) | (place << 32) | generation as u64)
    }

    /// The token with these bits, as they came back from outside. Any value is a token; whether
    /// it names a request is for the slab to say.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, for the way out.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The worker that owns the request.
    #[must_use]
    pub const fn worker(self) -> u8 {
        let [worker, ..] = self.0.to_be_bytes();
        worker
    }

    /// The place in that worker's slab.
    #[must_use]
    pub const fn place(self) -> u32 {
        let [_, p0, p1, p2, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([0, p0, p1, p2])
    }

    /// The generation of the place.
    #[must_use]
    pub const fn generation(self) -> u32 {
        let [_, _, _, _, g0, g1, g2, g3] = self.0.to_be_bytes();
        u32::from_be_bytes([g0, g1, g2, g3])
    }
}

/// A request on its way out: accepted, checked, and private to this process.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom the answer belongs to.
    pub token: Token,
    /// Place of the route in the configured list; checked.
    pub route: u16,
    /// Number of the session: requests of one session keep their order on one connection.
    pub session: u32,
    /// Whether it may be sent more than once (route and request both say so).
    pub idempotent: bool,
    /// When it stops being worth sending.
    pub deadline: Nanos,
    /// The header block and after it the payload, as `ipc_ringbuf::headers` encodes them; checked.
    pub body: Bytes,
    /// Bytes of `body` that are headers.
    pub header_len: u32,
    /// The tenant that this session is bound to, which overrides what the client says.
    pub tenant: Option<Arc<str>>,
}

impl Request {
    /// The header block. Decode with `ipc_ringbuf::headers::decode`.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.body
            .get(..self.header_len as usize)
            .unwrap_or_default()
    }

    /// The payload, sharing the body's buffer.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.body
            .slice((self.header_len as usize).min(self.body.len())..)
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The request that this answers.
    pub token: Token,
    /// Outcome and reason.
    pub code: Code,
    /// Header block, as `ipc_ringbuf::headers` encodes it.
    pub headers: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// Milliseconds after which to try again; 0 when nothing is known.
    pub retry_after_ms: u32,
}

impl Reply {
    /// A reply without a body.
    #[must_use]
    pub const fn bare(token: Token, code: Code) -> Self {
        Self {
            token,
            code,
            headers: Bytes::new(),
            payload: Bytes::new(),
            retry_after_ms: 0,
        }
    }

    /// What stands in for a reply of `bytes` bytes that is too large: nothing is cut silently.
    #[must_use]
    pub fn too_large(token: Token, bytes: u64) -> Self {
        let mut note = Vec::new();
        // Digits are a value that any header may have.
        let _ = headers::encode("ipcgw-reply-bytes", &bytes.to_string(), &mut note);
        Self {
            headers: note.into(),
            ..Self::bare(token, Code::BadReply)
        }
    }
}

/// What a worker needs of the side that answers. Never blocks.
pub trait Upstream {
    /// How many more requests [`send`](Self::send) will take now.
    fn room(&self) -> usize;

    /// Hands a request over.
    ///
    /// # Errors
    /// Gives the request back when there is no [`room`](Self::room).
    fn send(&mut self, request: Request) -> Result<(), Request>;

    /// Ends a batch of sends: wakes the other side if it sleeps.
    fn flush(&mut self);

    /// The next answer, if one has come. At most one comes for a token.
    fn receive(&mut self) -> Option<Reply>;

    /// Whether an answer waits; used after the worker has said that it will sleep.
    fn has_replies(&self) -> bool;

    /// Largest body in bytes, headers as they go on the wire included, that the other side takes.
    fn max_payload(&self) -> u32;

    /// Says that the worker will sleep unless [`has_replies`](Self::has_replies) says otherwise
    /// after this.
    fn arm(&self, waker: &Waker);

    /// Says that the worker is awake: it need not be woken for an answer.
    fn disarm(&self);
}

/// Answers by itself: every request comes back `OK` with its own headers and payload.
#[derive(Debug, Default)]
pub struct Loopback {
    replies: VecDeque<Reply>,
}

impl Upstream for Loopback {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        let mut headers = request.body;
        let payload = headers.split_off((request.header_len as usize).min(headers.len()));
        self.replies.push_back(Reply {
            token: request.token,
            code: Code::Ok,
            headers,
            payload,
            retry_after_ms: 0,
        });
        Ok(())
    }

    fn flush(&mut self) {}

    fn receive(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    fn max_payload(&self) -> u32 {
        u32::MAX
    }

    fn arm(&self, _waker: &Waker) {}

    fn disarm(&self) {}
}

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

struct Link {
    outbound: ArrayQueue<Request>,
    inbound: ArrayQueue<Reply>,
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
    let link = Arc::new(Link {
        outbound: ArrayQueue::new(outbound.max(1)),
        inbound: ArrayQueue::new(inbound),
        worker: Sleeper::default(),
        upstream: Sleeper::default(),
        max_payload: AtomicU32::new(1024 * 1024),
    });
    (
        WorkerEnd {
            link: Arc::clone(&link),
        },
        UpstreamEnd { link },
    )
}

/// The worker's end of a link.
pub struct WorkerEnd {
    link: Arc<Link>,
}

impl fmt::Debug for WorkerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerEnd").finish_non_exhaustive()
    }
}

impl Upstream for WorkerEnd {
    fn room(&self) -> usize {
        self.link
            .outbound
            .capacity()
            .saturating_sub(self.link.outbound.len())
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        self.link.outbound.push(request)
    }

    fn flush(&mut self) {
        self.link.upstream.ring();
    }

    fn receive(&mut self) -> Option<Reply> {
        self.link.inbound.pop()
    }

    fn has_replies(&self) -> bool {
        !self.link.inbound.is_empty()
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
    link: Arc<Link>,
}

impl fmt::Debug for UpstreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamEnd").finish_non_exhaustive()
    }
}

impl UpstreamEnd {
    /// The next request, in the order of acceptance.
    #[must_use]
    pub fn pop(&self) -> Option<Request> {
        self.link.outbound.pop()
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.link.outbound.len()
    }

    /// Most requests that the worker keeps in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.link.inbound.capacity() / 2
    }

    /// Whether the worker's end is gone: nobody waits for an answer any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.link) == 1
    }

    /// Answers a request. A token may be answered once; call [`flush`](Self::flush) after a batch.
    ///
    /// # Errors
    /// Gives the reply back when the worker has fallen so far behind that the queue is full, which
    /// the queue's size rules out as long as each token is answered once.
    pub fn answer(&self, reply: Reply) -> Result<(), Reply> {
        self.link.inbound.push(reply)
    }

    /// Ends a batch of answers: wakes the worker if it sleeps.
    pub fn flush(&self) {
        self.link.worker.ring();
    }

    /// Says that this side will sleep unless [`waiting`](Self::waiting) is above 0 after this.
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

/// How much of a route's traffic is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everything.
    Open,
    /// Every second request; the others are rejected as `OVERLOADED`.
    Half {
        /// Milliseconds after which to try again.
        retry_after_ms: u32,
    },
    /// Nothing: all are rejected as `OVERLOADED`.
    Closed {
        /// Milliseconds after which to try again.
        retry_after_ms: u32,
    },
    /// A closure has run out: some probes first, and everything once one is answered.
    Probing {
        /// Which closure: counts from 1.
        closure: u32,
    },
}

/// The admission of every route, written by the side that hears of backpressure and read by the
/// workers. One word a route.
#[derive(Debug)]
pub struct Admissions {
    words: Vec<AtomicU64>,
}

impl Admissions {
    /// All open.
    #[must_use]
    pub fn new(routes: usize) -> Self {
        Self {
            words: (0..routes).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Sets the admission of one route; a number that is no route is ignored.
    pub fn set(&self, route: u16, admission: Admission) {
        // { retry_after_ms or closure: 32, state: 2 }
        let word = match admission {
            Admission::Open => 0,
            Admission::Half { retry_after_ms } => (u64::from(retry_after_ms) << 2) | 1,
            Admission::Closed { retry_after_ms } => (u64::from(retry_after_ms) << 2) | 2,
            Admission::Probing { closure } => (u64::from(closure) << 2) | 3,
        };
        if let Some(slot) = self.words.get(usize::from(route)) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The admission of one route.
    #[must_use]
    pub fn of(&self, route: u16) -> Admission {
        let word = self
            .words
            .get(usize::from(route))
            .map_or(0, |w| w.load(Ordering::Relaxed));
        let retry_after_ms = u32::try_from(word >> 2).unwrap_or(u32::MAX);
        match word & 3 {
            1 => Admission::Half { retry_after_ms },
            2 => Admission::Closed { retry_after_ms },
            3 => Admission::Probing {
                closure: retry_after_ms,
            },
            _ => Admission::Open,
        }
    }
}

/// What the thread of another room steps: a worker, seen from the NATS runtime in merged mode.
pub trait Duty: Send {
    /// One duty cycle; returns how much was done, 0 when there was nothing to do.
    fn do_work(&mut self) -> usize;

    /// Says that this side will sleep, and looks once more: `false` means there is work after all.
    fn prepare_to_sleep(&mut self) -> bool;

    /// Says that this side is awake again.
    fn awake(&mut self);

    /// A descriptor that becomes readable when a client or the control thread has rung.
    fn bell(&self) -> std::os::fd::BorrowedFd<'_>;

    /// The next moment at which something is due without being rung for.
    fn next_due(&self) -> Nanos;

    /// Whether the gateway has told it to end and it has nothing left to do.
    fn finished(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_keeps_its_parts() {
        let token = Token::new(3, 0x00ab_cdef, 0xdead_beef);
        assert_eq!((token.worker(), token.place()), (3, 0x00ab_cdef));
        assert_eq!(token.generation(), 0xdead_beef);
        assert_eq!(Token::from_bits(token.bits()), token);
    }

    #[test]
    fn full_link_gives_the_request_back() {
        let (mut worker, upstream) = link(1, 1, 0);
        let request = Request {
            token: Token::new(0, 1, 2),
            route: 0,
            session: 0,
            idempotent: false,
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
        assert_eq!(upstream.pop().map(|r| r.token), Some(Token::new(0, 1, 2)));
    }

    #[test]
    fn everything_that_the_other_side_can_have_may_be_answered_at_once() {
        let (in_flight, outbound, held) = (1, 4, 2);
        let (mut worker, upstream) = link(in_flight, outbound, held);
        let mut taken = Vec::new();
        // The one place times out again and again, while the other side holds, and is then stopped.
        for generation in 0.. {
            let request = Request {
                token: Token::new(0, 0, generation),
                route: 0,
                session: 0,
                idempotent: false,
                deadline: Nanos(0),
                body: Bytes::new(),
                header_len: 0,
                tenant: None,
            };
            if worker.send(request).is_err() {
                break;
            }
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

    #[test]
    fn admission_survives_its_word() {
        let admissions = Admissions::new(1);
        for admission in [
            Admission::Half { retry_after_ms: 7 },
            Admission::Closed {
                retry_after_ms: u32::MAX,
            },
            Admission::Open,
        ] {
            admissions.set(0, admission);
            assert_eq!(admissions.of(0), admission);
        }
        assert_eq!(admissions.of(9), Admission::Open);
    }
}
