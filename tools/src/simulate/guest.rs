//! A client of the simulated gateway, and what can be seen of its session from outside.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fastrand::Rng;
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::layout::{Line, Ring};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::{Client, Code, Request, SubmitError, doorbell};

use super::ask::Ask;
use super::ledger::{Asked, Ledger, State};
use super::violation::{Checked, Invariant, broken, ensure};

/// Looks in vain after which a client is sure to have noticed that its session has ended.
const LOOKS: u32 = 5_000;
/// First byte of every reply that the model of the Router makes; the request's payload follows.
pub(crate) const ANSWER: u8 = b'A';

/// What a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Keeps to the protocol.
    Honest,
    /// Scribbles on its region.
    Hostile,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its worker may not know of it yet.
    Served,
    /// Its worker is told to end it.
    Leaving,
    /// Its worker has said that it has ended.
    Ended,
}

/// One client and its session.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) id: u32,
    /// The worker that serves it.
    pub(crate) worker: u8,
    pub(crate) nature: Nature,
    pub(crate) stage: Stage,
    /// `None` when the client's process has died.
    pub(crate) client: Option<Client>,
    /// Whether it makes no progress.
    pub(crate) is_stopped: bool,
    pub(crate) shared: Arc<Region>,
    pub(crate) memfd: OwnedFd,
    /// Which routes it may use.
    pub(crate) rights: Arc<[bool]>,
    pub(crate) tenant: Option<Arc<str>>,
    /// Whether it has said that it sleeps.
    pub(crate) sleeps: bool,
    /// Cycles in which others got a turn and it did not, although it had something.
    pub(crate) passed_over: u32,
    completions: RingView,
    submissions: RingView,
    /// Completions seen in the ring.
    observed: u32,
    /// Marks of submissions that the worker has not taken, oldest first.
    waiting: VecDeque<u64>,
    /// Submissions that the worker has taken.
    accepted: u32,
}

/// A completion as it lies in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) mark: u64,
    pub(crate) code: Code,
}

impl Guest {
    #[expect(clippy::too_many_arguments, reason = "what a session is made of")]
    pub(crate) fn new(
        id: u32,
        worker: u8,
        nature: Nature,
        client: Client,
        shared: Arc<Region>,
        memfd: OwnedFd,
        rights: Arc<[bool]>,
        tenant: Option<Arc<str>>,
    ) -> Self {
        Self {
            id,
            worker,
            nature,
            stage: Stage::Served,
            client: Some(client),
            is_stopped: false,
            completions: shared.ring(Ring::Completion),
            submissions: shared.ring(Ring::Submission),
            shared,
            memfd,
            rights,
            tenant,
            sleeps: false,
            passed_over: 0,
            observed: 0,
            waiting: VecDeque::new(),
            accepted: 0,
        }
    }

    pub(crate) const fn is_honest(&self) -> bool {
        matches!(self.nature, Nature::Honest)
    }

    /// Whether it does anything: it lives, goes on, and has a session.
    pub(crate) fn acts(&self) -> bool {
        !self.is_stopped
            && self.stage != Stage::Ended
            && self.client.as_ref().is_some_and(Client::is_attached)
    }

    pub(crate) fn message_size(&self) -> u32 {
        self.shared.layout().message_size()
    }

    /// Blocks that it has.
    pub(crate) fn entries(&self) -> u32 {
        self.shared.layout().entries()
    }

    /// Submissions that the worker has taken.
    pub(crate) const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Completions that the worker has shown since the last call.
    pub(crate) fn observe(&mut self) -> Checked<Vec<Observed>> {
        let mut seen = Vec::new();
        let tail = low(self.completions.tail().load(Ordering::Acquire));
        let fresh = tail.wrapping_sub(self.observed);
        ensure(
            fresh <= self.completions.capacity(),
            Invariant::ExactlyOnce,
            || format!("session {} got {fresh} completions at once", self.id),
        )?;
        while self.observed != tail {
            let block = self.completions.slot(self.observed).load(Ordering::Relaxed);
            self.observed = self.observed.wrapping_add(1);
            let cqe = self
                .shared
                .load_descriptor(block)
                .and_then(|words| Cqe::parse(&words, self.message_size()).ok());
            let Some(cqe) = cqe else {
                return Err(broken(
                    Invariant::ExactlyOnce,
                    format!("session {}: block {block} holds no completion", self.id),
                ));
            };
            seen.push(Observed {
                mark: cqe.user_data,
                code: cqe.code,
            });
        }
        Ok(seen)
    }

    /// Submissions that the worker can see and has not taken.
    pub(crate) fn shown(&self) -> u32 {
        let tail = low(self.submissions.tail().load(Ordering::Acquire));
        tail.wrapping_sub(self.accepted)
    }

    /// The worker has taken the oldest `count` of those that wait: their marks.
    pub(crate) fn accept(&mut self, count: usize) -> Vec<u64> {
        let count = count.min(self.waiting.len());
        self.accepted = self
            .accepted
            .wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        self.waiting.drain(..count).collect()
    }

    /// Whether it waits for completions that have not come.
    pub(crate) fn may_sleep(&self) -> bool {
        let in_ring = low(self.completions.tail().load(Ordering::Acquire));
        let taken = self.completions.head().load(Ordering::Acquire);
        in_ring == taken
            && self
                .client
                .as_ref()
                .is_some_and(|client| client.outstanding() > 0)
    }

    /// Says in the region that it sleeps, as a client does that waits.
    pub(crate) fn sleep(&mut self, how: u32) {
        doorbell::arm(self.shared.line32(Line::ClientBell), how);
        self.sleeps = true;
    }

    /// Whether a sleeping client was woken.
    pub(crate) fn was_woken(&self) -> bool {
        doorbell::asleep(self.shared.line32(Line::ClientBell)) == doorbell::AWAKE
    }

    /// Submits a request and enters it in the ledger; whether there was room.
    pub(crate) fn submit(&mut self, ask: &Ask, ledger: &mut Ledger, rng: &mut Rng) -> bool {
        let mark = ledger.next_mark();
        let payload = ask.payload(mark, self.id);
        let Some(client) = &mut self.client else {
            return false;
        };
        let request = ask.request(mark);
        let submitted = if rng.u8(..4) == 0 {
            match client.loan(request) {
                Ok(mut loan) => {
                    let written = loan.write_all(&payload);
                    written.map_err(drop).map(|()| loan.submit()).is_ok()
                }
                Err(_) => false,
            }
        } else {
            client.submit(request.payload(&payload)).is_ok()
        };
        if submitted {
            self.waiting.push_back(mark);
            ledger.ask(Asked {
                session: self.id,
                route: ask.route,
                idempotent: ask.key.is_some(),
                timeout_ns: ask.timeout_ns(),
                headers: ask.encoded(),
                payload,
                header_fault: ask.header_fault,
                state: State::Submitted,
            });
        }
        submitted
    }

    /// Takes a block and gives it back unused.
    pub(crate) fn drop_loan(&mut self) {
        if let Some(client) = &mut self.client
            && let Ok(mut loan) = client.loan(Request::to(0))
        {
            // What is written into a loan that is dropped goes nowhere.
            drop(loan.write_all(b"never sent"));
        }
    }

    /// Asks for what the client library must refuse.
    pub(crate) fn submit_nonsense(&mut self) -> Checked {
        let size = self.message_size() as usize;
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        let large = vec![0; size + 1];
        let refused = matches!(
            client.submit(Request::to(0).payload(&large)),
            Err(SubmitError::TooLarge { .. })
        ) && matches!(
            client.submit(Request::to("nowhere")),
            Err(SubmitError::UnknownRoute(_))
        ) && matches!(
            client.submit(Request::to(0).header("a b", "c")),
            Err(SubmitError::BadHeader(..))
        );
        ensure(refused, Invariant::RejectedUnseen, || {
            format!("client {} sent what it must refuse", self.id)
        })
    }

    pub(crate) fn flush(&mut self) {
        if let Some(client) = &mut self.client {
            client.flush();
        }
    }

    /// Takes up to `most` completions and checks each against the ledger. Returns how many, and
    /// how many of them were successes.
    pub(crate) fn take(&mut self, most: u32, ledger: &mut Ledger) -> Checked<u32> {
        let mut taken = 0;
        let Some(client) = &mut self.client else {
            return Ok(0);
        };
        while taken < most
            && let Some(completion) = client.poll()
        {
            taken += 1;
            if self.nature == Nature::Hostile {
                continue;
            }
            let (mark, code) = (completion.ticket().0, completion.code());
            check_taken(self.id, mark, code, completion.payload(), ledger)?;
            ledger.taken(mark, code);
        }
        Ok(taken)
    }

    /// Takes everything after the session has ended, until the client has noticed that.
    pub(crate) fn finish(&mut self, ledger: &mut Ledger) -> Checked {
        // The client may have submitted more before it knew.
        ledger.lose(self.id);
        for _ in 0..LOOKS {
            self.take(u32::MAX, ledger)?;
        }
        let left = self.client.as_ref().map_or(0, Client::outstanding);
        ensure(
            left == 0 || self.nature == Nature::Hostile,
            Invariant::ExactlyOnce,
            || {
                format!(
                    "client {} waits for {left} after its session's end",
                    self.id
                )
            },
        )?;
        self.client = None;
        ledger.forget(self.id);
        Ok(())
    }
}

/// The position in a tail word.
const fn low(tail: u64) -> u32 {
    let [p0, p1, p2, p3, ..] = tail.to_le_bytes();
    u32::from_le_bytes([p0, p1, p2, p3])
}

fn check_taken(id: u32, mark: u64, code: Code, payload: &[u8], ledger: &Ledger) -> Checked {
    let Some(asked) = ledger.asked(mark).filter(|asked| asked.session == id) else {
        return Err(broken(
            Invariant::Isolation,
            format!("client {id} took a completion for {mark}, which is not its own"),
        ));
    };
    let agrees = match asked.state {
        State::Completed(expected) => code == expected,
        // Only a gateway that ends in order says that it was not taken.
        State::Untaken => matches!(code, Code::Draining | Code::GatewayRestarted),
        State::Lost => code == Code::GatewayRestarted,
        _ => false,
    };
    ensure(agrees, Invariant::ExactlyOnce, || {
        format!(
            "client {id} took {code} for {mark}, which is {:?}",
            asked.state
        )
    })?;
    let text = format!("{mark:016x}");
    let names_it = || {
        payload
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    let own = match code {
        Code::Ok => payload
            .split_first()
            .is_some_and(|(first, rest)| *first == ANSWER && rest.starts_with(&asked.payload)),
        Code::Stored | Code::StreamError | Code::RouterInternal => names_it(),
        Code::BadReply => payload.is_empty() || names_it(),
        _ => payload.is_empty(),
    };
    ensure(own, Invariant::AnsweredSeen, || {
        format!("client {id} took {code} for {mark} with the reply of another: {payload:?}")
    })
}
