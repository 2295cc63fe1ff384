//! Requests that are not on a connection: those that wait for one, in order of arrival.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use crate::bridge::{Code, Request};
use crate::clock::Nanos;

/// How long before its deadline a request that waits for a connection is given up. It would not be
/// answered any more; and from the deadline on its worker says that it may have run. This side's timer
/// can be a millisecond late, and the rest is for the word to reach the worker.
const LEAD: Duration = Duration::from_millis(3);

/// Bytes below which a body that is kept does not share its memory with others: a worker's batches are
/// 64 KiB.
const SMALL: usize = 4096;

/// A request and what has happened to it so far.
#[derive(Debug)]
pub struct Held {
    /// The request.
    pub request: Request,
    /// When it was accepted, or when it was due to be sent again.
    pub arrived: Nanos,
    /// How it ended last time, when it was sent before. If it cannot be sent now, this is what it
    /// completes with: it may have run.
    pub before: Option<Code>,
    /// Times that it was sent again.
    pub resends: u8,
}

impl Held {
    /// A request as it comes from its link, which waits since then.
    #[must_use]
    pub const fn new(request: Request, since: Nanos) -> Self {
        Self {
            request,
            arrived: since,
            before: None,
            resends: 0,
        }
    }

    /// Gives a small body memory of its own: the whole batch that it shares would be kept with it.
    pub(super) fn own(&mut self) {
        let body = &mut self.request.body;
        if body.len() < SMALL {
            *body = Bytes::copy_from_slice(body);
        }
    }

    /// When it expires, and when nobody waits for a connection any longer; `fail_fast` is as for
    /// [`Queue::expire`].
    #[must_use]
    pub fn ends(&self, fail_fast: Option<Duration>) -> (Nanos, Nanos) {
        let deadline = self.request.deadline;
        fail_fast.map_or((deadline, Nanos::NEVER), |limit| {
            (deadline.before(LEAD), self.arrived.after(limit))
        })
    }
}

/// The requests of one line that wait, oldest first.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Held>,
}

impl Queue {
    /// Lets a request wait behind those that wait already.
    pub fn push(&mut self, held: Held) {
        self.waiting.push_back(held);
    }

    /// The one that has waited longest.
    pub fn pop(&mut self) -> Option<Held> {
        self.waiting.pop_front()
    }

    /// Puts back what [`pop`](Self::pop) gave and could not be sent.
    pub fn put_back(&mut self, held: Held) {
        self.waiting.push_front(held);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out what has waited too long and calls `give_up` with it and the reason. `fail_fast`
    /// is the longest wait for a connection, `None` while there is one. Returns when to look again.
    pub fn expire(
        &mut self,
        now: Nanos,
        fail_fast: Option<Duration>,
        mut give_up: impl FnMut(Held, Code),
    ) -> Nanos {
        let mut next = Nanos::NEVER;
        for held in core::mem::take(&mut self.waiting) {
            let (expires, patience) = held.ends(fail_fast);
            if expires <= now {
                give_up(held, Code::ExpiredUnsent);
            } else if patience <= now {
                give_up(held, Code::UpstreamDown);
            } else {
                next = next.min(expires).min(patience);
                self.waiting.push_back(held);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bridge::Token;

    fn held(deadline: u64) -> Held {
        let request = Request {
            token: Token::new(0, 0, 0),
            route: 0,
            session: 0,
            idempotent: false,
            accepted: Nanos(0),
            deadline: Nanos(deadline),
            body: Bytes::new(),
            header_len: 0,
            tenant: None,
        };
        Held::new(request, Nanos(0))
    }

    #[test]
    fn waiting_ends_at_the_deadline_or_when_no_connection_comes() {
        const MS: u64 = 1_000_000;
        let mut queue = Queue::default();
        queue.push(held(10 * MS));
        queue.push(held(1_000 * MS));
        let mut ended = Vec::new();
        let limit = Some(Duration::from_millis(50));
        // Without a connection a little before the deadline, with one at it.
        assert_eq!(queue.expire(Nanos(7 * MS), None, |_, _| ()), Nanos(10 * MS));
        let next = queue.expire(Nanos(7 * MS), limit, |_, code| ended.push(code));
        assert_eq!(
            (ended.as_slice(), next),
            ([Code::ExpiredUnsent].as_slice(), Nanos(50 * MS))
        );
        let now = Nanos(50 * MS);
        assert_eq!(queue.expire(now, None, |_, _| ()), Nanos(1_000 * MS));
        let next = queue.expire(now, limit, |_, code| ended.push(code));
        assert_eq!((ended[1], next), (Code::UpstreamDown, Nanos::NEVER));
        assert!(queue.is_empty());
    }
}
