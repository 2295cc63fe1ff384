//! Where a test may end a client's process: between any two steps of the protocol.
//!
//! Only with the feature `steps`, which is for tests: without it this module does not exist and
//! the marks in the client's code are nothing.

use std::sync::OnceLock;

/// A moment in a client's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The socket is connected, nothing has been said.
    Connected,
    /// The hello is sent, the answer not read.
    HelloSent,
    /// The answer and its descriptors are received, nothing is mapped.
    FdsReceived,
    /// The region and the bell page are mapped.
    Mapped,
    /// A block is taken for a request.
    SlotReserved,
    /// The request's headers are in the block.
    HeadersWritten,
    /// The payload is in the block too; its descriptor is still that of an earlier lap.
    HalfWritten,
    /// One more word of the descriptor is written.
    DescriptorWord,
    /// The block's index is in the ring, the tail not yet moved.
    Entered,
    /// The completion ring's head is stored, for what was taken before.
    Released,
    /// The tail is stored: the gateway can see the request.
    Committed,
    /// The gateway has been rung, if it slept.
    Woken,
    /// Requests are on their way and the client is about to wait.
    InFlight,
    /// A completion's body is copied out, its block not yet free.
    HalfRead,
    /// The region is no longer mapped; the socket is still open.
    Detaching,
}

impl Step {
    /// All, in the order in which a client comes by them first.
    pub const ALL: [Self; 15] = [
        Self::Connected,
        Self::HelloSent,
        Self::FdsReceived,
        Self::Mapped,
        Self::SlotReserved,
        Self::HeadersWritten,
        Self::HalfWritten,
        Self::DescriptorWord,
        Self::Entered,
        Self::Released,
        Self::Committed,
        Self::Woken,
        Self::InFlight,
        Self::HalfRead,
        Self::Detaching,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::HelloSent => "hello-sent",
            Self::FdsReceived => "fds-received",
            Self::Mapped => "mapped",
            Self::SlotReserved => "slot-reserved",
            Self::HeadersWritten => "headers-written",
            Self::HalfWritten => "half-written",
            Self::DescriptorWord => "descriptor-word",
            Self::Entered => "entered",
            Self::Released => "released",
            Self::Committed => "committed",
            Self::Woken => "woken",
            Self::InFlight => "in-flight",
            Self::HalfRead => "half-read",
            Self::Detaching => "detaching",
        }
    }
}

type Hook = Box<dyn Fn(Step) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Calls `hook` at every step from now on, on the thread that takes it. Only the first call of a
/// process counts.
pub fn on_each(hook: impl Fn(Step) + Send + Sync + 'static) {
    // A second hook is dropped.
    let _ = HOOK.set(Box::new(hook)).is_ok();
}

/// Called by the marks in the client's code.
pub(crate) fn reached(step: Step) {
    if let Some(hook) = HOOK.get() {
        hook(step);
    }
}

/// Stands among a session's fields between the region and the socket, and says when it is dropped.
#[derive(Debug)]
pub(crate) struct Detaching;

impl Drop for Detaching {
    fn drop(&mut self) {
        reached(Step::Detaching);
    }
}
