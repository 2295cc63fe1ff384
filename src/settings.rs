//! What each room is told at start: plain values, filled in by `config`, read by the rooms.

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

/// Text that must never be printed: `Debug` and `Display` show `***`.
///
/// ```
/// use ipc_gateway::settings::Secret;
///
/// let secret = Secret::new("s3cret".to_owned());
/// assert_eq!(format!("{secret} {secret:?}"), "*** ***");
/// assert_eq!(secret.reveal(), "s3cret");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the library that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the gateway shows itself to NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsAuth {
    /// Not at all.
    None,
    /// User and password.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// A file with a JWT and an nkey seed.
    CredentialsFile(PathBuf),
    /// A file with an nkey seed.
    NkeySeedFile(PathBuf),
}

/// TLS towards NATS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Refuse a connection without TLS.
    pub required: bool,
    /// Encrypt before the server has said anything, and refuse a connection without TLS.
    pub handshake_first: bool,
    /// Certificate authorities in PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate in PEM.
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate in PEM.
    pub key_file: Option<PathBuf>,
}

impl TlsSettings {
    /// Whether a connection without TLS is refused.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.required || self.handshake_first
    }
}

/// Where the Router's backpressure is heard of (`docs/OPERATIONS.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackpressureSettings {
    /// Subject that pushes are heard on and polls are sent to; `None` turns both off.
    pub subject: Option<String>,
    /// Time between polls; `None` listens only.
    pub poll_interval: Option<Duration>,
    /// Places of the routes that it closes.
    pub routes: Vec<u16>,
}

/// What the NATS room is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsSettings {
    /// Servers, `nats://host:port` or `tls://host:port`, without credentials in them.
    pub urls: Vec<String>,
    /// Credentials.
    pub auth: NatsAuth,
    /// TLS.
    pub tls: TlsSettings,
    /// Name shown in the server's connection list.
    pub name: String,
    /// Begins the subjects that answers come to; checked.
    pub inbox_prefix: String,
    /// Connections: at least 1.
    pub connections: usize,
    /// Time allowed to connect, and again to sign in.
    pub connect_timeout: Duration,
    /// Time between pings; a server that is silent for three of them is given up.
    pub ping_interval: Duration,
    /// How long a request waits for a connection before it is rejected as `UPSTREAM_DOWN`.
    pub fail_fast: Duration,
    /// Shortest and longest time between two attempts to connect, before jitter.
    pub reconnect: (Duration, Duration),
    /// Backpressure.
    pub backpressure: BackpressureSettings,
}

impl NatsSettings {
    /// A server to which a password or a token could go unencrypted over a network.
    #[must_use]
    pub fn unprotected(&self) -> Option<&str> {
        let is_secret = matches!(self.auth, NatsAuth::Password { .. } | NatsAuth::Token(_));
        if self.tls.is_required() || !is_secret {
            return None;
        }
        let local = ["127.", "[::1]", "localhost:"];
        let is_open = |url: &&String| {
            let place = url.strip_prefix("nats://");
            place.is_some_and(|place| !local.iter().any(|start| place.starts_with(start)))
        };
        self.urls.iter().find(is_open).map(String::as_str)
    }
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            auth: NatsAuth::None,
            tls: TlsSettings::default(),
            name: "ipc-gateway".to_owned(),
            inbox_prefix: "_INBOX".to_owned(),
            connections: 2,
            connect_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(2),
            fail_fast: Duration::from_millis(250),
            reconnect: (Duration::from_millis(50), Duration::from_millis(1500)),
            backpressure: BackpressureSettings {
                subject: Some("beamline.router.v2.status.backpressure".to_owned()),
                poll_interval: None,
                routes: vec![0],
            },
        }
    }
}

/// Who steps the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Each worker has its own thread.
    Split,
    /// The NATS runtime's thread steps the one worker.
    Merged,
}

impl Threads {
    /// The name used in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Merged => "merged",
        }
    }
}

/// How a worker waits when it finds nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleSettings {
    /// Longest time to spin before yielding, on a core of its own.
    pub spin: Duration,
    /// Most yields before parking.
    pub yields: u32,
}

impl Default for IdleSettings {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(60),
            yields: 20,
        }
    }
}

/// What the workers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Number of workers: 1 to 64.
    pub workers: usize,
    /// Who steps them.
    pub threads: Threads,
    /// Whether each is pinned to a core; `None`: when there are cores enough.
    pub pin: Option<bool>,
    /// Most requests in flight in one worker.
    pub max_in_flight: u32,
    /// Most requests of one worker that wait to be taken by the NATS side.
    pub outbound: usize,
    /// Most requests taken from one session in one turn.
    pub burst: u32,
    /// Time that requests may wait in a queue behind the upstream; zero: as long as they like.
    pub max_queue_delay: Duration,
    /// How to wait.
    pub idle: IdleSettings,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            workers: 1,
            threads: Threads::Split,
            pin: None,
            max_in_flight: 65_536,
            outbound: 8_192,
            burst: 256,
            max_queue_delay: Duration::from_millis(5),
            idle: IdleSettings::default(),
        }
    }
}

/// What one user may have; the same for all unless a policy names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sessions attached at once.
    pub sessions: u32,
    /// Bytes of shared memory.
    pub memory_bytes: u64,
    /// Requests in flight at once, in all its sessions; `None`: as many as its sessions hold.
    pub in_flight: Option<u32>,
    /// Sessions attached in a second; as many may be attached at once after a pause.
    pub attach_rate: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            sessions: 128,
            memory_bytes: 256 << 20,
            in_flight: None,
            attach_rate: 1000,
        }
    }
}

/// A rule for some users; the first that fits holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Users it is for; empty with empty `gids` means everybody.
    pub uids: Vec<u32>,
    /// Groups it is for: those that a user is in, primary or not.
    pub gids: Vec<u32>,
    /// Whether they may attach at all.
    pub allow: bool,
    /// The tenant they are bound to.
    pub tenant: Option<String>,
    /// Places of the routes that they may use, as far as a route's own rule allows; `None`: all.
    pub routes: Option<Vec<u16>>,
    /// What each of them may have, if not the default.
    pub quota: Option<Quota>,
}

/// What the control thread is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// Path of the socket that clients attach to.
    pub socket: PathBuf,
    /// Permission bits of that socket.
    pub socket_mode: u32,
    /// Where the admin HTTP server listens.
    pub admin: AdminAddress,
    /// Permission bits of its socket, if it is one.
    pub admin_mode: u32,
    /// Where metrics and probes are served over TCP beside it.
    pub metrics: Option<std::net::SocketAddr>,
    /// Most sessions at once.
    pub max_sessions: u32,
    /// Largest ring a client may ask for, in entries.
    pub max_entries: u32,
    /// Largest message a client may ask for, headers and payload, in bytes.
    pub max_message_size: u32,
    /// What a user may have, unless a policy says otherwise.
    pub quota: Quota,
    /// Rules; none means: everybody who can open the socket may attach.
    pub policies: Vec<Policy>,
    /// What users of other namespaces appear as. Rules that let somebody in do not fit it.
    pub overflow_uid: u32,
    /// Time a connected client has to send its hello.
    pub attach_timeout: Duration,
    /// How long a client may leave its full completion ring alone before its session ends.
    pub slow_client_timeout: Duration,
    /// Time for requests in flight to finish after the first SIGTERM.
    pub drain_timeout: Duration,
}

/// Where the admin HTTP server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(std::net::SocketAddr),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// What answers the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamKind {
    /// A NATS server.
    #[default]
    Nats,
    /// The gateway itself, which answers every request with its own bytes: for tests and benches.
    Loopback,
}

impl UpstreamKind {
    /// The name used in configuration files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Loopback => "loopback",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The name used in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Which lines, in the syntax of `tracing_subscriber::EnvFilter`; checked.
    pub filter: String,
    /// How they look.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// A share, to a millionth.
///
/// ```
/// use ipc_gateway::settings::Ratio;
///
/// assert_eq!(Ratio::new(0.01).unwrap().per_million(), 10_000);
/// assert_eq!(Ratio::new(1.5), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    /// The share; `None` if it is not from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a million"
        )]
        let millionths = || (share * 1e6).round() as u32;
        (0.0..=1.0).contains(&share).then(|| Self(millionths()))
    }

    /// In millionths.
    #[must_use]
    pub const fn per_million(self) -> u32 {
        self.0
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

/// Which requests are traced, and who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    /// The collector's URL for traces, `http` with a path; none: nothing is traced.
    pub endpoint: Option<url::Url>,
    /// The share of the requests without a sampled parent that is traced.
    pub sample_ratio: Ratio,
    /// Whether a request is traced because its client traces it.
    pub follow_parent: bool,
    /// What the gateway is called in traces.
    pub service_name: String,
}

impl Default for TracingSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_ratio: Ratio::default(),
            follow_parent: true,
            service_name: "ipc-gateway".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_protected_by_tls_or_by_not_leaving_the_machine() {
        let token = || NatsAuth::Token(Secret::new("x".to_owned()));
        let unprotected = |auth, required, url: &str| {
            let settings = NatsSettings {
                urls: vec![url.to_owned()],
                auth,
                tls: TlsSettings {
                    required,
                    ..TlsSettings::default()
                },
                ..NatsSettings::default()
            };
            settings.unprotected().is_some()
        };
        assert!(unprotected(token(), false, "nats://10.0.0.1:4222"));
        assert!(!unprotected(token(), true, "nats://10.0.0.1:4222"));
        assert!(!unprotected(token(), false, "tls://10.0.0.1:4222"));
        assert!(!unprotected(token(), false, "nats://127.0.0.1:4222"));
        assert!(!unprotected(token(), false, "nats://localhost:4222"));
        assert!(!unprotected(NatsAuth::None, false, "nats://10.0.0.1:4222"));
    }
}
