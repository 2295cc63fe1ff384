//! [`ClientBuilder`]: where to attach and with what, and how to attach again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::handle::Client;
use super::reattach::{Patience, Reattach, backoff, nanos};
use super::session::{Session, TrustedServer};
use super::shared::SharedClient;
#[cfg(feature = "tokio")]
use super::tasks::AsyncClient;
use super::waiting::WaitStrategy;
use crate::error::AttachError;
use crate::handshake::Hello;
use crate::layout::Geometry;
use crate::sys;

/// How to attach. Every setting has a default.
///
/// ```no_run
/// use std::time::Duration;
/// use ipc_ringbuf::{ClientBuilder, Reattach, WaitStrategy};
///
/// let client = ClientBuilder::new()
///     .socket("/run/ipc-gateway/gateway.sock")
///     .name("pricing")
///     .entries(1024)
///     .message_size(16 * 1024)
///     .attach_timeout(Duration::from_secs(5))
///     .reattach(Reattach::Wait(Duration::from_secs(2)))
///     .wait_strategy(WaitStrategy::Park)
///     .timestamps(false)
///     .server_uid(998)
///     .connect()?;
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    socket: Option<PathBuf>,
    geometry: Geometry,
    name: String,
    timeout: Duration,
    wait: WaitStrategy,
    trusted: Option<TrustedServer>,
    timestamps: bool,
    reattach: Reattach,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientBuilder {
    /// The defaults: the gateway's default socket, 256 entries of 4,032 bytes.
    pub fn new() -> Self {
        let name = std::env::args().next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            socket: None,
            geometry: Geometry::default(),
            name,
            timeout: Duration::from_secs(2),
            wait: WaitStrategy::default(),
            trusted: None,
            timestamps: true,
            reattach: Reattach::default(),
        }
    }

    /// The gateway's socket. Default: `$IPC_GATEWAY_SOCKET`, else
    /// `$XDG_RUNTIME_DIR/ipc-gateway/gateway.sock`, else, and for root,
    /// `/run/ipc-gateway/gateway.sock`.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// How many requests can be outstanding at once: rounded up to a power of two.
    pub fn entries(mut self, entries: u32) -> Self {
        self.geometry.entries = entries
            .max(2)
            .checked_next_power_of_two()
            .unwrap_or(u32::MAX);
        self
    }

    /// Bytes of headers and payload that a request or a reply may have.
    pub const fn message_size(mut self, bytes: u32) -> Self {
        self.geometry.message_size = bytes;
        self
    }

    /// What the client calls itself in the gateway's logs; at most 32 bytes are kept.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long to wait for the gateway's answer when attaching: 2 s by default. A gateway that is
    /// ending is waited out for as long, and where the service manager keeps the socket, one that
    /// is being started.
    pub const fn attach_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What to do when the gateway has ended.
    pub const fn reattach(mut self, reattach: Reattach) -> Self {
        self.reattach = reattach;
        self
    }

    /// How to wait for completions.
    pub const fn wait_strategy(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// Whether submissions carry the moment at which they were made: one clock reading for several.
    /// Without it the time allowed runs from acceptance, and time in the ring is not measured.
    /// Default: they do.
    pub const fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// Accepts a gateway that runs as this user, and no other. Default: the user whose number is
    /// in `$IPC_GATEWAY_SERVER_UID`, else root or this process's own user.
    pub const fn server_uid(mut self, uid: u32) -> Self {
        self.trusted = Some(TrustedServer::Uid(uid));
        self
    }

    /// Accepts a gateway that runs as any user. Whoever can create the socket's path can then
    /// read and answer every request.
    ///
    /// ```no_run
    /// use ipc_ringbuf::ClientBuilder;
    ///
    /// // Nobody but this user can make a socket in this directory.
    /// let socket = "/home/me/private/gateway.sock";
    /// let client = ClientBuilder::new().socket(socket).danger_any_server().connect()?;
    /// # Ok::<(), ipc_ringbuf::AttachError>(())
    /// ```
    pub const fn danger_any_server(mut self) -> Self {
        self.trusted = Some(TrustedServer::Anyone);
        self
    }

    /// Attaches, for one thread.
    ///
    /// # Errors
    /// [`AttachError`] says whether the gateway is not there, refuses, or is not one.
    pub fn connect(self) -> Result<Client, AttachError> {
        let wait = self.wait;
        let attachment = self.into_attachment();
        let session = attachment.attach()?;
        Ok(Client::new(attachment, session, wait))
    }

    /// Attaches over a socket that is connected to the gateway's end already: one of
    /// [`sys::packet_pair`]. The gateway's answer may have been sent before; so one thread can
    /// hold both ends of a session, as simulations do. What is lost is attached again at the path
    /// of [`socket`](Self::socket) or the default one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_over(self, socket: OwnedFd) -> Result<Client, AttachError> {
        let wait = self.wait;
        let attachment = self.into_attachment();
        let session = attachment.attach_over(socket)?;
        Ok(Client::new(attachment, session, wait))
    }

    /// Attaches, for any number of threads.
    /// [`SharedClient`] shows it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_shared(self) -> Result<SharedClient, AttachError> {
        self.connect().map(SharedClient::new)
    }

    /// Attaches, for the tasks of the tokio runtime that this is called on.
    /// [`AsyncClient`] shows it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    #[cfg(feature = "tokio")]
    pub async fn connect_async(self) -> Result<AsyncClient, AttachError> {
        let wait = self.wait;
        let attachment = self.into_attachment();
        AsyncClient::attach(attachment, wait).await
    }

    fn into_attachment(self) -> Attachment {
        Attachment {
            path: self.socket.unwrap_or_else(default_socket),
            hello: Hello {
                geometry: self.geometry,
                name: self.name,
            },
            timeout: self.timeout,
            trusted: self.trusted.unwrap_or_else(default_trust),
            timestamps: self.timestamps,
            reattach: self.reattach,
            failures: 0,
            retry_at: 0,
            last_error: None,
        }
    }
}

/// Whom to accept as the gateway when nobody says: what the variable names, and nobody if that is
/// no user.
fn default_trust() -> TrustedServer {
    match std::env::var("IPC_GATEWAY_SERVER_UID") {
        Ok(text) => TrustedServer::Uid(text.trim().parse().unwrap_or(u32::MAX)),
        Err(std::env::VarError::NotUnicode(_)) => TrustedServer::Uid(u32::MAX),
        Err(std::env::VarError::NotPresent) => TrustedServer::RootOrSelf,
    }
}

/// The gateway's socket when nobody names one.
fn default_socket() -> PathBuf {
    if let Some(path) = std::env::var_os("IPC_GATEWAY_SOCKET") {
        return path.into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if sys::own_uid() != 0 => PathBuf::from(dir).join("ipc-gateway/gateway.sock"),
        _ => PathBuf::from("/run/ipc-gateway/gateway.sock"),
    }
}

/// Least time for the gateway's answer; none at all would mean for ever.
const LEAST_BOUND: Duration = Duration::from_millis(1);

/// What is needed to attach, and to attach again.
#[derive(Debug)]
pub(super) struct Attachment {
    path: PathBuf,
    hello: Hello,
    timeout: Duration,
    trusted: TrustedServer,
    pub(super) timestamps: bool,
    pub(super) reattach: Reattach,
    /// Tries that failed since the last session.
    failures: u32,
    /// When the next try is allowed, on the monotonic clock.
    retry_at: u64,
    last_error: Option<AttachError>,
}

impl Attachment {
    /// Attaches now. A gateway that is just ending is waited out, for as long as is allowed.
    pub(super) fn attach(&self) -> Result<Session, AttachError> {
        let end = sys::monotonic_ns().saturating_add(nanos(self.timeout));
        let mut tries = 0;
        let mut ending = None;
        loop {
            let left = end.saturating_sub(sys::monotonic_ns());
            let bound = Duration::from_nanos(left).max(LEAST_BOUND);
            match Session::attach(&self.path, &self.hello, self.trusted, bound) {
                Ok(session) => return Ok(session),
                Err(error) if error.is_ending() => {
                    ending.get_or_insert(error);
                }
                // That the first one has ended meanwhile is no news.
                Err(error) => return Err(ending.unwrap_or(error)),
            }
            let pause = backoff(tries);
            if sys::monotonic_ns().saturating_add(pause) >= end {
                return Err(ending.unwrap_or(AttachError::Timeout));
            }
            tries += 1;
            sys::pause(Duration::from_nanos(pause));
        }
    }

    fn attach_over(&self, socket: OwnedFd) -> Result<Session, AttachError> {
        Session::attach_over(socket, &self.hello, self.trusted)
    }

    /// What a thread or task of its own needs to attach.
    pub(super) fn fresh(&self) -> Self {
        Self {
            path: self.path.clone(),
            hello: self.hello.clone(),
            last_error: None,
            ..*self
        }
    }

    /// A session was lost: the first try is soon, but not at the same moment as everybody's.
    pub(super) fn lost(&mut self) {
        self.failures = 0;
        self.retry_at = sys::monotonic_ns().saturating_add(backoff(0));
    }

    /// Whether it is time for a try.
    pub(super) fn is_due(&self) -> bool {
        self.reattach != Reattach::Never && sys::monotonic_ns() >= self.retry_at
    }

    /// Tries again, if it is time.
    pub(super) fn retry(&mut self) -> Option<Session> {
        if !self.is_due() {
            return None;
        }
        let result = self.attach();
        self.tried(result)
    }

    /// Tries again whenever it is time, until the moment `end` of the monotonic clock.
    pub(super) fn retry_until(&mut self, end: u64) -> Option<Session> {
        loop {
            if let Some(session) = self.retry() {
                return Some(session);
            }
            let now = sys::monotonic_ns();
            if self.reattach == Reattach::Never || now >= end {
                return None;
            }
            let next = self.retry_at.min(end).saturating_sub(now);
            sys::pause(Duration::from_nanos(next));
        }
    }

    /// Notes how a try has ended.
    pub(super) fn tried(&mut self, result: Result<Session, AttachError>) -> Option<Session> {
        match result {
            Ok(session) => {
                self.failures = 0;
                self.last_error = None;
                Some(session)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error);
                let pause = backoff(self.failures);
                self.retry_at = sys::monotonic_ns().saturating_add(pause);
                None
            }
        }
    }

    /// How long a call that begins now may wait for a gateway.
    pub(super) fn patience(&self) -> Patience {
        self.reattach.patience()
    }

    pub(super) const fn last_error(&self) -> Option<&AttachError> {
        self.last_error.as_ref()
    }
}
