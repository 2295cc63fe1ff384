//! What one client process is to do.

use serde::{Deserialize, Serialize};

/// What to do when iceoryx2 is missing.
#[cfg(not(feature = "iceoryx2"))]
pub(crate) const NO_ICEORYX2: &str =
    "iceoryx2 was not built in: build ipc-tools with --features iceoryx2";

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Each process has its own connection and calls `request()` of async-nats
    DirectRequest,
    /// One process with its own inbox keeps as many requests in flight: no IPC
    DirectPipelined,
    /// One process with a hand-written NATS client: what the server can do
    Raw,
    /// Processes through ipc-gateway, on a route that promises one answer to each request
    Gateway,
    /// The same on a route that promises nothing: no reply subject is used twice
    GatewayUnique,
    /// Processes through a gateway over a Unix-domain socket
    Uds,
    /// Request-response of iceoryx2 with a process that echoes
    #[value(skip)]
    Iceoryx2,
}

impl Contender {
    /// Those that reach NATS.
    pub(crate) const ALL: [Self; 6] = [
        Self::DirectRequest,
        Self::DirectPipelined,
        Self::Raw,
        Self::Gateway,
        Self::GatewayUnique,
        Self::Uds,
    ];

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DirectRequest => "direct-request",
            Self::DirectPipelined => "direct-pipelined",
            Self::Raw => "raw",
            Self::Gateway => "gateway",
            Self::GatewayUnique => "gateway-unique",
            Self::Uds => "uds",
            Self::Iceoryx2 => "iceoryx2",
        }
    }

    /// Whether one process stands for all clients, with the windows of all.
    pub(crate) const fn is_single(self) -> bool {
        matches!(self, Self::DirectPipelined | Self::Raw)
    }
}

/// How requests follow each other, and what both sides do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The window is always full; each side waits as it does by default
    Steady,
    /// One request at a time; client and server spin, each on a core of its own
    Spinning,
    /// A request every 2 ms; client and server sleep meanwhile
    Asleep,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Steady, Self::Spinning, Self::Asleep];
}

/// One client process of a contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: Contender,
    pub(crate) kind: Kind,
    /// `host:port` of the server, or the path of the gateway's socket.
    pub(crate) address: String,
    /// Where requests go: a subject, or a route of the gateway.
    pub(crate) subject: String,
    /// Among the client processes, from 0.
    pub(crate) number: usize,
    /// Requests in flight.
    pub(crate) window: usize,
    /// Bytes of a request, which its answer repeats.
    pub(crate) payload: usize,
}
