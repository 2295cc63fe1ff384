//! Where everything lies in a session's region (`docs/PROTOCOL.md`, section 3).
//!
//! ```text
//! 0      header page: magic, version, geometry (for tools; nobody decides by it)
//! 4096   six lines of 128 bytes: SQ tail, SQ head, CQ tail, CQ head, client bell, gateway state
//! 5120   SQ slots: entries x u32      CQ slots: entries x u32     (each rounded up to 128)
//! page   blocks: entries x stride, each [64-byte descriptor][headers][payload]
//! ```
//!
//! Invariant: a [`Layout`] exists only for a geometry that was checked, and every offset that it
//! gives lies inside `region_bytes`. Both processes compute it for themselves from the two numbers
//! of the handshake; nothing is ever read from the region to find something in the region.

use core::fmt;

use crate::entry::DESCRIPTOR_BYTES;

/// Smallest number of ring entries.
pub const MIN_ENTRIES: u32 = 2;
/// Largest number of ring entries.
pub const MAX_ENTRIES: u32 = 32_768;
/// Smallest message size, in bytes.
pub const MIN_MESSAGE_SIZE: u32 = 64;
/// Largest message size, in bytes.
pub const MAX_MESSAGE_SIZE: u32 = 64 * 1024 * 1024;
/// Largest region, in bytes.
pub const MAX_REGION_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// First word of a region.
pub const REGION_MAGIC: u64 = u64::from_le_bytes(*b"IPCGRING");
/// The version of everything that two processes must agree on.
pub const WIRE_VERSION: u32 = 1;

const PAGE: u64 = 4096;
/// Two cache lines: the adjacent-line prefetcher of x86 fetches lines in pairs.
const LINE: u64 = 128;
const LINES_AT: u64 = PAGE;
const SLOTS_AT: u64 = LINES_AT + 8 * LINE;

/// A line of its own with one word in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Line {
    /// u64, client writes: position of the submission ring and newest block index.
    SubmissionTail = 0,
    /// u32, gateway writes: how far it has consumed.
    SubmissionHead = 1,
    /// u64, gateway writes: position of the completion ring and newest block index.
    CompletionTail = 2,
    /// u32, client writes: how far it has consumed.
    CompletionHead = 3,
    /// u32, both write: whether and how the client wants to be woken.
    ClientBell = 4,
    /// u32, gateway writes: 0 while the session is open, else the reason of its end.
    GatewayState = 5,
}

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Client to gateway.
    Submission,
    /// Gateway to client.
    Completion,
}

/// What a client asks for at attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Ring entries, and as many blocks: a power of two.
    pub entries: u32,
    /// Bytes of headers and payload that a block holds.
    pub message_size: u32,
}

impl Default for Geometry {
    /// About 1 MiB: 256 entries of 4,032 bytes.
    fn default() -> Self {
        Self {
            entries: 256,
            message_size: 4032,
        }
    }
}

/// Why a geometry is refused.
///
/// ```
/// use ipc_ringbuf::{AttachError, ClientBuilder, GeometryError};
///
/// // Too small for any message, which is seen before the gateway is asked.
/// let refused = ClientBuilder::new().message_size(1).connect().unwrap_err();
/// assert!(matches!(refused, AttachError::Geometry(GeometryError::MessageSize(1))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// Entries are not a power of two in the allowed range.
    Entries(u32),
    /// The message size is out of range.
    MessageSize(u32),
    /// The region would be larger than [`MAX_REGION_BYTES`].
    Region(u64),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(n) => write!(
                f,
                "{n} entries: ask for a power of two from {MIN_ENTRIES} to {MAX_ENTRIES}"
            ),
            Self::MessageSize(n) => write!(
                f,
                "message size {n}: ask for {MIN_MESSAGE_SIZE} to {MAX_MESSAGE_SIZE} bytes"
            ),
            Self::Region(n) => write!(
                f,
                "a region of {n} bytes: ask for fewer entries or smaller messages, at most {MAX_REGION_BYTES} bytes"
            ),
        }
    }
}

impl core::error::Error for GeometryError {}

/// The offsets of a region with a checked geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    entries: u32,
    message_size: u32,
    stride: u64,
    completion_slots_at: u64,
    blocks_at: u64,
    region_bytes: u64,
}

impl TryFrom<Geometry> for Layout {
    type Error = GeometryError;

    fn try_from(geometry: Geometry) -> Result<Self, GeometryError> {
        let Geometry {
            entries,
            message_size,
        } = geometry;
        if !entries.is_power_of_two() || !(MIN_ENTRIES..=MAX_ENTRIES).contains(&entries) {
            return Err(GeometryError::Entries(entries));
        }
        if !(MIN_MESSAGE_SIZE..=MAX_MESSAGE_SIZE).contains(&message_size) {
            return Err(GeometryError::MessageSize(message_size));
        }
        // No step below can overflow: entries <= 2^15, stride <= 2^27.
        let stride = (u64::from(message_size) + DESCRIPTOR_BYTES as u64).next_multiple_of(64);
        let slots = (u64::from(entries) * 4).next_multiple_of(LINE);
        let completion_slots_at = SLOTS_AT + slots;
        let blocks_at = (completion_slots_at + slots).next_multiple_of(PAGE);
        let region_bytes = (blocks_at + u64::from(entries) * stride).next_multiple_of(PAGE);
        if region_bytes > MAX_REGION_BYTES {
            return Err(GeometryError::Region(region_bytes));
        }
        Ok(Self {
            entries,
            message_size,
            stride,
            completion_slots_at,
            blocks_at,
            region_bytes,
        })
    }
}

impl Layout {
    /// Ring entries and blocks.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes of headers and payload that a block holds.
    #[must_use]
    pub const fn message_size(&self) -> u32 {
        self.message_size
    }

    /// Bytes from one block to the next.
    #[must_use]
    pub const fn stride(&self) -> u64 {
        self.stride
    }

    /// Bytes of the whole region: whole pages.
    #[must_use]
    pub const fn region_bytes(&self) -> u64 {
        self.region_bytes
    }

    /// Offset of a line.
    #[must_use]
    pub const fn line_at(&self, line: Line) -> u64 {
        LINES_AT + line as u64 * LINE
    }

    /// Offset of a ring's first slot.
    #[must_use]
    pub const fn slots_at(&self, ring: Ring) -> u64 {
        match ring {
            Ring::Submission => SLOTS_AT,
            Ring::Completion => self.completion_slots_at,
        }
    }

    /// Offset of a block's descriptor, if there is such a block.
    #[inline]
    #[must_use]
    pub const fn block_at(&self, block: u32) -> Option<u64> {
        if block < self.entries {
            Some(self.blocks_at + block as u64 * self.stride)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(entries: u32, message_size: u32) -> Result<Layout, GeometryError> {
        Layout::try_from(Geometry {
            entries,
            message_size,
        })
    }

    #[test]
    fn default_session_costs_about_a_mebibyte() {
        let layout = Layout::try_from(Geometry::default()).unwrap();
        assert_eq!(layout.stride(), 4096);
        assert_eq!(layout.region_bytes(), 1024 * 1024 + 2 * 4096);
    }

    #[test]
    fn nothing_overlaps_and_everything_is_inside() {
        for entries in [2, 16, 4096, MAX_ENTRIES] {
            for message_size in [64, 65, 127, 4032, 65_536] {
                let layout = layout(entries, message_size).unwrap();
                let lines = layout.line_at(Line::GatewayState) + LINE;
                assert!(lines <= layout.slots_at(Ring::Submission));
                let slots = u64::from(entries) * 4;
                let completion = layout.slots_at(Ring::Completion);
                assert!(layout.slots_at(Ring::Submission) + slots <= completion);
                let first = layout.block_at(0).unwrap();
                assert!(completion + slots <= first);
                let last = layout.block_at(entries - 1).unwrap();
                assert!(last + layout.stride() <= layout.region_bytes());
                assert_eq!((first % 64, layout.stride() % 64), (0, 0));
                assert_eq!(layout.block_at(entries), None);
            }
        }
    }

    #[test]
    fn odd_geometries_are_refused() {
        assert_eq!(layout(0, 64), Err(GeometryError::Entries(0)));
        assert_eq!(layout(3, 64), Err(GeometryError::Entries(3)));
        assert_eq!(layout(65_536, 64), Err(GeometryError::Entries(65_536)));
        assert_eq!(layout(2, 0), Err(GeometryError::MessageSize(0)));
        assert_eq!(
            layout(2, u32::MAX),
            Err(GeometryError::MessageSize(u32::MAX))
        );
        assert!(matches!(
            layout(MAX_ENTRIES, MAX_MESSAGE_SIZE),
            Err(GeometryError::Region(_))
        ));
    }
}
