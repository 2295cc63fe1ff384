//! [`ClientBuilder`]: where to attach and with what, and how to attach again.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::attachment::{Attachment, Place};
use super::greeting::TrustedServer;
use super::handle::Client;
use super::reattach::Reattach;
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
    /// `/run/ipc-gateway/gateway.sock`. A variable that is empty counts as not set.
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
    /// in `$IPC_GATEWAY_SERVER_UID`, else root or this process's own user. The variable counts as not set
    /// when it is empty; where it holds no number nobody is accepted.
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
        let place = Place {
            path: self.socket.unwrap_or_else(|| default_socket(variable)),
            hello: Hello {
                geometry: self.geometry,
                name: self.name,
            },
            timeout: self.timeout,
            trusted: self.trusted.unwrap_or_else(|| default_trust(variable)),
        };
        Attachment::new(place, self.reattach, self.timestamps)
    }
}

fn variable(name: &str) -> Option<OsString> {
    set(std::env::var_os(name))
}

/// An empty variable says nothing.
fn set(value: Option<OsString>) -> Option<OsString> {
    value.filter(|value| !value.is_empty())
}

/// Whom to accept as the gateway when nobody says: what the variable names, and nobody if that is
/// no user.
fn default_trust(variable: impl Fn(&str) -> Option<OsString>) -> TrustedServer {
    let Some(text) = variable("IPC_GATEWAY_SERVER_UID") else {
        return TrustedServer::RootOrSelf;
    };
    let uid = text.to_str().and_then(|text| text.trim().parse().ok());
    TrustedServer::Uid(uid.unwrap_or(u32::MAX))
}

/// The gateway's socket when nobody names one.
fn default_socket(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(path) = variable("IPC_GATEWAY_SOCKET") {
        return path.into();
    }
    // As the gateway does, which makes no socket relative to where it happens to run.
    let dir = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    match dir.filter(|dir| dir.is_absolute()) {
        Some(dir) if sys::own_uid() != 0 => dir.join("ipc-gateway/gateway.sock"),
        _ => PathBuf::from("/run/ipc-gateway/gateway.sock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment with this variable alone.
    fn only(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<OsString> {
        move |asked| set((asked == name).then(|| value.into()))
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let root_or_self = default_trust(|_| None);
        assert_eq!(root_or_self, TrustedServer::RootOrSelf);
        assert_eq!(
            default_trust(only("IPC_GATEWAY_SERVER_UID", "")),
            root_or_self
        );
        let preset = default_socket(|_| None);
        assert!(preset.is_absolute());
        assert_eq!(default_socket(only("IPC_GATEWAY_SOCKET", "")), preset);
        assert_eq!(default_socket(only("XDG_RUNTIME_DIR", "")), preset);
        assert_eq!(default_socket(only("XDG_RUNTIME_DIR", "relative")), preset);
    }

    #[test]
    fn a_variable_that_is_set_is_followed_and_trusts_nobody_where_it_names_nobody() {
        let trust = |value| default_trust(only("IPC_GATEWAY_SERVER_UID", value));
        assert_eq!(trust(" 998 "), TrustedServer::Uid(998));
        assert_eq!(trust("nobody"), TrustedServer::Uid(u32::MAX));
        assert_eq!(trust(" "), TrustedServer::Uid(u32::MAX));
        let socket = default_socket(only("IPC_GATEWAY_SOCKET", "/x/y.sock"));
        assert_eq!(socket, PathBuf::from("/x/y.sock"));
    }
}
