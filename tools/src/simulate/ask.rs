//! What a client will ask for, and the bytes that say whose request it is.

use core::time::Duration;

use fastrand::Rng;
use ipc_ringbuf::{Code, Request, headers};

/// What a client will ask for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) route: u16,
    /// Bytes of payload; at least [`Ask::LEAST`] are written.
    pub(crate) bytes: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) key: Option<String>,
    pub(crate) header: Option<(&'static str, &'static str)>,
    pub(crate) header_fault: Option<Code>,
}

impl Ask {
    /// Bytes that say whose request it is.
    pub(crate) const LEAST: usize = 12;

    /// A short request to the plain route.
    pub(crate) const fn plain(timeout: Duration) -> Self {
        Self {
            route: 0,
            bytes: Self::LEAST,
            timeout: Some(timeout),
            key: None,
            header: None,
            header_fault: None,
        }
    }

    /// Mark and session, and then bytes that depend on the mark.
    pub(crate) fn payload(&self, mark: u64, session: u32) -> Vec<u8> {
        let mut payload = mark.to_le_bytes().to_vec();
        payload.extend_from_slice(&session.to_le_bytes());
        let mut filler = Rng::with_seed(mark);
        payload.extend((Self::LEAST..self.bytes).map(|_| filler.u8(..)));
        payload
    }

    /// The mark that a payload begins with.
    pub(crate) fn mark_of(payload: &[u8]) -> Option<u64> {
        payload
            .first_chunk()
            .map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(crate) fn timeout_ns(&self) -> u64 {
        let nanos = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.timeout.map_or(0, |timeout| nanos(timeout).max(1))
    }

    /// The headers in the order of [`request`](Self::request).
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut block = Vec::new();
        // Only headers that the client library takes are chosen.
        if let Some((name, value)) = self.header {
            let _ = headers::encode(name, value, &mut block);
        }
        if let Some(key) = &self.key {
            let _ = headers::encode("idempotency_key", key, &mut block);
        }
        block
    }

    /// Bytes of the headers.
    pub(crate) fn header_bytes(&self) -> usize {
        self.encoded().len()
    }

    pub(crate) fn request(&self, mark: u64) -> Request<'static> {
        let mut request = Request::to(self.route).user_data(mark);
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        if let Some(key) = &self.key {
            request = request.idempotency_key(key);
        }
        match self.timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }
}
