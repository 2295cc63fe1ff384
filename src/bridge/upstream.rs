//! The side that answers, as a worker sees it.

use std::collections::VecDeque;
use std::task::Waker;

use super::{Code, Reply, Request};

/// What a worker needs of the side that answers. Never blocks.
pub trait Upstream {
    /// How many more requests [`send`](Self::send) will take now.
    fn room(&self) -> usize;

    /// Hands a request over. The other side sees it after [`flush`](Self::flush).
    ///
    /// # Errors
    /// Gives the request back when there is no [`room`](Self::room).
    fn send(&mut self, request: Request) -> Result<(), Request>;

    /// Ends a batch of sends: wakes the other side if it sleeps.
    fn flush(&mut self);

    /// The next answer, if one has come. At most one comes for a token.
    fn receive(&mut self) -> Option<Reply>;

    /// Puts the next answers that have come into `batch`, which is empty, in their order; none if none
    /// has. Who has them all before them can look ahead, and give them back together.
    fn receive_batch(&mut self, batch: &mut VecDeque<Reply>) {
        debug_assert!(batch.is_empty(), "it is filled anew");
        batch.extend(self.receive());
    }

    /// Whether an answer waits.
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
            times: None,
        });
        Ok(())
    }

    fn flush(&mut self) {}

    fn receive(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    fn receive_batch(&mut self, batch: &mut VecDeque<Reply>) {
        core::mem::swap(batch, &mut self.replies);
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
