//! The worker's end of its link, with a record of everything that crosses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use ipc_gateway::bridge::{Code, Reply, Request, Token, Upstream, WorkerEnd};

/// What crossed a link.
#[derive(Clone, Debug)]
pub(crate) enum Crossing {
    /// The worker handed a request over.
    Sent(Request),
    /// The worker took a reply of so many bytes.
    Received {
        token: Token,
        code: Code,
        bytes: u64,
    },
}

/// The record; clones are the same record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Crossing>>>);

impl Record {
    /// What has crossed since the last call, in order.
    pub(crate) fn take(&self) -> Vec<Crossing> {
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, crossing: Crossing) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.push(crossing);
    }
}

/// The real end of a real link, watched.
#[derive(Debug)]
pub(crate) struct Tap {
    end: WorkerEnd,
    record: Record,
}

impl Tap {
    pub(crate) const fn new(end: WorkerEnd, record: Record) -> Self {
        Self { end, record }
    }
}

impl Upstream for Tap {
    fn room(&self) -> usize {
        self.end.room()
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        let copy = request.clone();
        self.end.send(request)?;
        self.record.push(Crossing::Sent(copy));
        Ok(())
    }

    fn flush(&mut self) {
        self.end.flush();
    }

    fn receive(&mut self) -> Option<Reply> {
        let reply = self.end.receive()?;
        self.record.push(Crossing::Received {
            token: reply.token,
            code: reply.code,
            bytes: reply.headers.len() as u64 + reply.payload.len() as u64,
        });
        Some(reply)
    }

    fn has_replies(&self) -> bool {
        self.end.has_replies()
    }

    fn max_payload(&self) -> u32 {
        self.end.max_payload()
    }

    fn arm(&self, waker: &Waker) {
        self.end.arm(waker);
    }

    fn disarm(&self) {
        self.end.disarm();
    }
}
