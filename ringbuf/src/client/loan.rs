//! [`Loan`]: a block to write a payload in place.

use std::io;

use super::handle::Client;
use super::request::Ticket;
use crate::entry::Sqe;

/// A block on loan. What is written goes straight into shared memory: the producer's only copy.
/// [`submit`](Self::submit) sends it; dropping it gives the block back unused.
///
/// It is an [`io::Write`], so that serialisers can write into it. A `&mut [u8]` is not to be had:
/// shared memory is never borrowed.
///
/// ```no_run
/// use std::io::Write as _;
/// use std::time::Duration;
/// use ipc_ringbuf::{CallError, ClientBuilder, Request, Ticket};
///
/// let mut client = ClientBuilder::new().connect()?;
/// let mut loan = client.loan(Request::to("decide")).map_err(CallError::from)?;
/// loan.write_all(
///     br#"{"tenant_id":"acme","request_id":"1","task":{"type":"chat","payload":{"text":"hi"}}}"#,
/// )?;
/// assert!(!loan.is_empty());
/// println!("{} bytes written, room for {}", loan.len(), loan.room());
/// let ticket: Ticket = loan.submit();
/// let completion = client.wait(Duration::from_secs(1));
/// assert!(completion.is_none_or(|completion| completion.ticket() == ticket));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loan<'c> {
    client: &'c mut Client,
    block: Option<u32>,
    sqe: Sqe,
    room: u32,
}

impl<'c> Loan<'c> {
    pub(super) const fn new(client: &'c mut Client, block: u32, sqe: Sqe, room: u32) -> Self {
        let sqe = Sqe {
            payload_len: 0,
            ..sqe
        };
        Self {
            client,
            block: Some(block),
            sqe,
            room,
        }
    }

    /// Bytes of payload that can still be written.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.room - self.sqe.payload_len
    }

    /// Bytes of payload written.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.sqe.payload_len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sqe.payload_len == 0
    }

    /// Submits what was written. As with [`Client::submit`], [`Client::flush`] shows it at the
    /// latest.
    pub fn submit(mut self) -> Ticket {
        match self.block.take() {
            Some(block) => self.client.push_loan(block, self.sqe),
            None => Ticket(self.sqe.user_data),
        }
    }
}

impl io::Write for Loan<'_> {
    /// Writes what fits; 0 when the block is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(block) = self.block else {
            return Ok(0);
        };
        let fits = bytes.len().min(self.room() as usize);
        let part = bytes.get(..fits).unwrap_or_default();
        let at = self.sqe.header_len + self.sqe.payload_len;
        if !self.client.write_loan(block, at, part) {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the gateway is gone",
            ));
        }
        self.sqe.payload_len += u32::try_from(fits).unwrap_or(0);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.client.return_loan(block);
        }
    }
}
