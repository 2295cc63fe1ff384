//! A service manager: it listens for a gateway, and starts one process after the other on the
//! sockets that it keeps.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ipc_ringbuf::sys;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

use super::gateway::{Gateway, program};
use super::lines::Lines;

/// What it passes to each process, by name, and how it starts one.
pub(crate) struct Manager {
    pub(crate) passed: Vec<(String, OwnedFd)>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Manager {
    /// Listens at the clients' socket in this directory.
    pub(crate) fn listen(dir: &Path) -> Self {
        let clients = listen_at(&dir.join("gateway.sock"), SockType::SeqPacket);
        Self {
            passed: vec![("clients".to_owned(), clients)],
            environment: Vec::new(),
        }
    }

    /// Starts a gateway; returns when it serves.
    pub(crate) fn start(&self, dir: tempfile::TempDir, arguments: &[&str]) -> Gateway {
        let (child, said) = self.spawn(dir.path(), arguments);
        Gateway::of(child, said, dir)
    }

    /// Starts the process after one that has ended; returns when it serves.
    pub(crate) fn succeed(&self, gateway: &mut Gateway, arguments: &[&str]) {
        let dir = gateway.socket.parent().unwrap().to_owned();
        gateway.succeed(self.spawn(&dir, arguments));
    }

    fn spawn(&self, dir: &Path, arguments: &[&str]) -> (Child, Lines) {
        let mut child = self.command(dir, arguments);
        Lines::of(child.stdout.take().unwrap()).wait_for("serving");
        let said = Lines::of(child.stderr.take().unwrap());
        (child, said)
    }

    /// Starts a process and does not wait for it.
    pub(crate) fn command(&self, dir: &Path, arguments: &[&str]) -> Child {
        let (ours, its) = sys::packet_pair().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/activate.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(program()).arg("serve");
        command.arg("--socket").arg(dir.join("gateway.sock"));
        command.args(arguments).stdin(Stdio::from(its));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let child = command.spawn().unwrap();
        for (name, fd) in &self.passed {
            send(&ours, name, fd);
        }
        sys::send_packet(ours.as_fd(), b"end", &[]).unwrap();
        child
    }
}

/// Sends one message; waits for room.
fn send(to: &OwnedFd, name: &str, fd: &OwnedFd) {
    super::eventually("the process takes what is passed to it", || {
        sys::send_packet(to.as_fd(), name.as_bytes(), &[fd.as_fd()]).is_ok()
    });
}

/// A Unix socket of this type that listens.
pub(crate) fn listen_at(path: &Path, kind: SockType) -> OwnedFd {
    let made = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(made.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&made, Backlog::new(1024).unwrap()).unwrap();
    made
}
