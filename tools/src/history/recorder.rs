//! Writes a client's history.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use ipc_ringbuf::{Completion, monotonic_ns};

use super::event::{Event, digest};

/// A client's history, written line by line. The first line is in the file at once, the others after
/// [`flush`](Self::flush) or [`end`](Self::end); what a killed client has not written is missing.
#[derive(Debug)]
pub struct Recorder(BufWriter<File>);

impl Recorder {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(path: &Path, client: &str, tenant: &str) -> io::Result<Self> {
        let mut recorder = Self(BufWriter::with_capacity(1 << 16, File::create(path)?));
        recorder.write(&Event::Start {
            client: client.to_owned(),
            tenant: tenant.to_owned(),
        })?;
        // One that is killed early is known to have been there.
        recorder.flush()?;
        Ok(recorder)
    }

    /// Request `n` is about to be submitted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn submit(
        &mut self,
        n: u64,
        timeout: core::time::Duration,
        idempotent: bool,
        payload: &[u8],
    ) -> io::Result<()> {
        self.write(&Event::Submit {
            n,
            at: monotonic_ns(),
            timeout: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            idempotent,
            digest: digest(payload),
        })
    }

    /// The client library refused request `n`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn refused(&mut self, n: u64) -> io::Result<()> {
        self.write(&Event::Refused {
            n,
            at: monotonic_ns(),
        })
    }

    /// A completion has come. `names_it` says whether a reply names its request.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn complete(&mut self, completion: &Completion<'_>, names_it: bool) -> io::Result<()> {
        let code = completion.code();
        self.write(&Event::Complete {
            n: completion.ticket().0,
            at: monotonic_ns(),
            outcome: code.outcome().name().to_owned(),
            code: code.name().to_owned(),
            names_it,
        })
    }

    /// Hands everything to the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Ends the history in order.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(mut self) -> io::Result<()> {
        self.write(&Event::End { at: monotonic_ns() })?;
        self.0.flush()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, event)?;
        self.0.write_all(b"\n")
    }
}
