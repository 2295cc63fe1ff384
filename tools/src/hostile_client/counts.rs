//! What was done, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

/// Totals of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Sessions attached.
    pub(crate) sessions: u64,
    /// Sessions by how they ended; `left` is by this client.
    pub(crate) ends: BTreeMap<String, u64>,
    /// Attachments that the gateway refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Attachments that failed otherwise.
    pub(crate) failed: BTreeMap<String, u64>,
    /// 8-byte words scribbled over regions, descriptors included.
    pub(crate) words: u64,
    /// Cursors overwritten.
    pub(crate) cursors: u64,
    /// Ring entries forged.
    pub(crate) entries: u64,
    /// Descriptors that were overwritten while they could be read.
    pub(crate) flips: u64,
    /// Requests submitted in good form.
    pub(crate) requests: u64,
    /// Completions taken.
    pub(crate) completions: u64,
    /// Holes punched.
    pub(crate) punches: u64,
    /// Attempts to resize, seal or write what is sealed that were refused.
    pub(crate) seals_held: u64,
    /// Such attempts that succeeded: must be none.
    pub(crate) seals_broken: u64,
    /// Writes to eventfds.
    pub(crate) rings: u64,
    /// Eventfds filled and made blocking.
    pub(crate) eventfds_filled: u64,
    /// Packets sent that are not of the protocol.
    pub(crate) packets: u64,
    /// Sockets shut down in part.
    pub(crate) half_closes: u64,
    /// Descriptors sent.
    pub(crate) fds_sent: u64,
}
