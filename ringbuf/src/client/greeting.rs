//! [`Greeting`]: what comes before a session. It can be begun and left to the gateway to answer, so that
//! a submission need not wait for a gateway that is being started.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::session::Session;
use crate::error::AttachError;
use crate::handshake::{Answer, Hello, MAX_PACKET_BYTES};
use crate::layout::Layout;
use crate::sys;

/// Which users a client accepts as the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrustedServer {
    /// Root and this process's own user.
    RootOrSelf,
    /// This user.
    Uid(u32),
    /// Any.
    Anyone,
}

/// An attachment that is under way: the hello is sent, and the answer not read.
#[derive(Debug)]
pub(super) struct Greeting {
    socket: OwnedFd,
    /// Whether the hello could be sent.
    sent: io::Result<()>,
}

/// Why there is no session yet.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The answer has not come within the socket's bound: it may still.
    NotYet(Greeting),
    /// There will be none.
    Failed(AttachError),
}

impl From<Unanswered> for AttachError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotYet(_) => Self::Timeout,
            Unanswered::Failed(error) => error,
        }
    }
}

impl Greeting {
    /// Connects to the gateway that listens at `path`, and says hello. `bound` is for the connecting, and
    /// for each [`finish`](Self::finish).
    pub(super) fn begin(
        path: &Path,
        hello: &Hello,
        trusted: TrustedServer,
        bound: Duration,
    ) -> Result<Self, AttachError> {
        // Checked here so that a typo is reported without a gateway.
        Layout::try_from(hello.geometry).map_err(AttachError::Geometry)?;
        let socket = connect(path, bound)?;
        step!(Connected);
        Self::over(socket, hello, trusted)
    }

    /// Says hello over a socket that is connected already.
    pub(super) fn over(
        socket: OwnedFd,
        hello: &Hello,
        trusted: TrustedServer,
    ) -> Result<Self, AttachError> {
        let uid = sys::peer_uid(socket.as_fd())?;
        let trust = match trusted {
            TrustedServer::RootOrSelf => uid == 0 || uid == sys::own_uid(),
            TrustedServer::Uid(expected) => uid == expected,
            TrustedServer::Anyone => true,
        };
        if !trust {
            return Err(AttachError::ServerNotTrusted { uid });
        }
        // A refusal can be waiting before the hello is sent; then the send fails and it is read.
        let sent = sys::send_packet(socket.as_fd(), &hello.encode(), &[]);
        step!(HelloSent);
        Ok(Self { socket, sent })
    }

    /// Whether [`finish`](Self::finish) would not wait.
    pub(super) fn is_answered(&self) -> bool {
        sys::is_readable(self.socket.as_fd())
    }

    /// Waits for the answer, for as long as the socket's bound says.
    pub(super) fn finish(self) -> Result<Session, Unanswered> {
        let Self { socket, sent } = self;
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let received = match sys::receive_packet(socket.as_fd(), &mut packet) {
            // The gateway has closed without reading the hello. This error comes first, and after
            // it the refusal that was sent before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                sys::receive_packet(socket.as_fd(), &mut packet)
            }
            other => other,
        };
        let (bytes, fds) = match received {
            Ok(Some(received)) => received,
            Ok(None) => {
                let error = sent.err().map_or(AttachError::Ended, AttachError::from);
                return Err(Unanswered::Failed(error));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Unanswered::NotYet(Self { socket, sent }));
            }
            Err(error) => return Err(Unanswered::Failed(error.into())),
        };
        step!(FdsReceived);
        let packet = packet.get(..bytes).unwrap_or_default();
        answered(packet, fds, socket).map_err(Unanswered::Failed)
    }
}

/// What the gateway's answer makes.
fn answered(packet: &[u8], fds: Vec<OwnedFd>, socket: OwnedFd) -> Result<Session, AttachError> {
    match Answer::parse(packet) {
        Ok(Answer::Welcome(welcome)) => Session::from_welcome(welcome, fds, socket),
        Ok(Answer::Refusal(refusal)) => Err(AttachError::Refused {
            reason: refusal.reason,
            detail: refusal.detail,
        }),
        Err(_) => Err(AttachError::Protocol("its answer is malformed")),
    }
}

fn connect(path: &Path, timeout: Duration) -> Result<OwnedFd, AttachError> {
    use io::ErrorKind;
    sys::connect_seqpacket(path, timeout).map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied => AttachError::Permission { path },
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                AttachError::NotRunning { path, source }
            }
            // EPROTOTYPE has no kind of its own.
            _ if sys::is_other_socket_type(&source) => {
                AttachError::Protocol("the socket is of another type")
            }
            _ => AttachError::from(source),
        }
    })
}
