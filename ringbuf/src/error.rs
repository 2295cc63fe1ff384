//! Errors, by whose fault they are.

use core::fmt;
use std::io;

use crate::layout::WIRE_VERSION;

/// The other process broke the protocol of shared memory. The session cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A producer's position is further ahead than the ring is long, or went back.
    Tail {
        /// What the shared word said.
        claimed: u32,
    },
    /// A consumer's position is ahead of what was published, or went back.
    Head {
        /// What the shared word said.
        claimed: u32,
    },
    /// A ring entry names a block that does not exist.
    NoSuchBlock(u32),
    /// A ring entry names a block that is already on its way.
    BlockInFlight(u32),
    /// A completion ring is full although every block has a place in it.
    CompletionRingFull,
    /// A completion descriptor makes no sense.
    BadCompletion,
}

impl PeerMisbehaved {
    /// What [`kind`](Self::kind) can say.
    pub const KINDS: [&'static str; 5] = ["index", "cq_index", "block", "in_flight", "completion"];

    /// A short name for metrics, one of [`KINDS`](Self::KINDS).
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Tail { .. } => "index",
            Self::Head { .. } | Self::CompletionRingFull => "cq_index",
            Self::NoSuchBlock(_) => "block",
            Self::BlockInFlight(_) => "in_flight",
            Self::BadCompletion => "completion",
        }
    }
}

impl fmt::Display for PeerMisbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tail { claimed } => write!(f, "impossible ring tail {claimed}"),
            Self::Head { claimed } => write!(f, "impossible ring head {claimed}"),
            Self::NoSuchBlock(block) => write!(f, "block {block} does not exist"),
            Self::BlockInFlight(block) => write!(f, "block {block} submitted twice"),
            Self::CompletionRingFull => f.write_str("completion ring is full"),
            Self::BadCompletion => f.write_str("malformed completion descriptor"),
        }
    }
}

impl core::error::Error for PeerMisbehaved {}

/// Why a session ended, or was refused. Numbers and names are stable for ever.
///
/// ```
/// use ipc_ringbuf::EndReason;
///
/// let reason = EndReason::from_number(11).unwrap();
/// assert_eq!((reason, reason.name()), (EndReason::SlowClient, "SLOW_CLIENT"));
/// assert_eq!(reason.advice(), "attach again");
/// assert!(EndReason::ALL.iter().all(|reason| !reason.advice().is_empty()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[non_exhaustive]
pub enum EndReason {
    /// The client detached.
    Detached = 1,
    /// The client's process ended.
    PeerDied = 2,
    /// The rings of the session held impossible values.
    RingCorrupt = 3,
    /// The control socket held something that is not of the protocol.
    Protocol = 4,
    /// This user may not attach.
    UidDenied = 5,
    /// No common wire version.
    Version = 6,
    /// This user, or the gateway, has as many sessions or as much memory as it may.
    AttachQuota = 7,
    /// The gateway lacks descriptors or memory.
    Overloaded = 8,
    /// The gateway is shutting down, or has.
    Draining = 9,
    /// The geometry asked for is not allowed.
    Geometry = 10,
    /// The client did not take its completions.
    SlowClient = 11,
}

impl EndReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::Detached,
        Self::PeerDied,
        Self::RingCorrupt,
        Self::Protocol,
        Self::UidDenied,
        Self::Version,
        Self::AttachQuota,
        Self::Overloaded,
        Self::Draining,
        Self::Geometry,
        Self::SlowClient,
    ];

    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| *reason as u16 == number)
    }

    /// What a client can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Detached | Self::PeerDied | Self::SlowClient => "attach again",
            Self::RingCorrupt | Self::Protocol => "this is a fault of the client",
            Self::UidDenied => "run as a user that the gateway's policies admit",
            Self::Version => "install client and gateway of the same release",
            Self::AttachQuota => {
                "close other sessions, or ask for fewer entries or smaller messages"
            }
            Self::Overloaded | Self::Draining => "try again later",
            Self::Geometry => "ask for fewer entries or smaller messages",
        }
    }

    /// The upper-case name used in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detached => "DETACHED",
            Self::PeerDied => "PEER_DIED",
            Self::RingCorrupt => "RING_CORRUPT",
            Self::Protocol => "PROTOCOL",
            Self::UidDenied => "UID_DENIED",
            Self::Version => "VERSION",
            Self::AttachQuota => "ATTACH_QUOTA",
            Self::Overloaded => "OVERLOADED",
            Self::Draining => "DRAINING",
            Self::Geometry => "GEOMETRY",
            Self::SlowClient => "SLOW_CLIENT",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a client could not attach.
///
/// ```
/// use ipc_ringbuf::{AttachError, ClientBuilder};
///
/// let error = ClientBuilder::new().socket("/nonexistent/gateway.sock").connect().unwrap_err();
/// assert!(matches!(error, AttachError::NotRunning { .. }));
/// assert!(error.to_string().starts_with("no gateway at /nonexistent/gateway.sock"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// Nobody listens at the path.
    NotRunning {
        /// The socket's path.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The socket may not be opened by this user.
    Permission {
        /// The socket's path.
        path: std::path::PathBuf,
    },
    /// The process at the other end is not one that this client trusts.
    ServerNotTrusted {
        /// The user it runs as.
        uid: u32,
    },
    /// The gateway refused.
    Refused {
        /// Why.
        reason: EndReason,
        /// What the gateway says about it.
        detail: String,
    },
    /// The geometry asked for is impossible.
    Geometry(crate::layout::GeometryError),
    /// What answered is not an ipc-gateway, or not one of this wire version.
    Protocol(&'static str),
    /// The connection was closed without an answer.
    Ended,
    /// The gateway did not answer in time.
    Timeout,
    /// Another failure of the operating system.
    Io(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { path, source } => write!(
                f,
                "no gateway at {} ({source}): start `ipc-gateway serve`, or name its socket",
                path.display()
            ),
            Self::Permission { path } => write!(
                f,
                "no permission to open {}: run as a user that the gateway's socket admits",
                path.display()
            ),
            Self::ServerNotTrusted { uid } => {
                write!(
                    f,
                    "the gateway at this socket runs as user {uid}, whom this client does not \
                     trust: name another socket, or that user in IPC_GATEWAY_SERVER_UID"
                )
            }
            Self::Refused { reason, detail } => {
                let advice = reason.advice();
                write!(f, "gateway refused: {reason}: {detail}: {advice}")
            }
            Self::Geometry(error) => error.fmt(f),
            Self::Protocol(what) => write!(
                f,
                "not an ipc-gateway of wire version {WIRE_VERSION}: {what}: name the socket of one, \
                 or install client and gateway of the same release"
            ),
            Self::Ended => f.write_str(
                "not an ipc-gateway, or one that has just ended: the connection was closed without \
                 an answer: name the socket of one, or try again",
            ),
            Self::Timeout => f.write_str(
                "the gateway did not answer in time: it is stopped or overloaded, see its log",
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl AttachError {
    /// Whether a gateway was there and is just ending: its successor may let the client in.
    pub(crate) fn is_ending(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => *reason == EndReason::Draining,
            Self::Ended => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}

impl core::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotRunning { source, .. } | Self::Io(source) => Some(source),
            Self::Geometry(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}
