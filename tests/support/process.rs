//! A client process: this test binary once more, made to run one of its tests as a client.
#![expect(clippy::print_stdout, reason = "the process tells its starter")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipc_ringbuf::handshake::{Hello, MAX_PACKET_BYTES};
use ipc_ringbuf::layout::Geometry;
use ipc_ringbuf::{ClientBuilder, Code, Request, sys};
use nix::unistd::{Gid, Uid, setgid, setuid};

use super::gateway::Gateway;
use super::lines::Lines;
use super::user::STRANGER;
use super::{SOON, decide};

/// Names the gateway's socket; without it the client's test has nothing to do.
const SOCKET: &str = "IPCGW_TEST_SOCKET";
const NAME: &str = "IPCGW_TEST_NAME";
const COUNT: &str = "IPCGW_TEST_COUNT";
const REPLIES: &str = "IPCGW_TEST_REPLIES";
/// Bytes of each request.
const BYTES: usize = 256;
/// Requests of one client on their way at once.
const WINDOW: usize = 64;

/// A client process, killed with its guard.
pub(crate) struct ClientProcess(Child);

impl ClientProcess {
    /// Starts a client that sends `count` decide requests with ids `NAME-NUMBER`, and writes each
    /// reply as a line to `replies`. `None` sends for ever.
    pub(crate) fn start(
        socket: &Path,
        name: &str,
        count: Option<u64>,
        replies: Option<&Path>,
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "support::process::is_a_client", "--nocapture"])
            .env(SOCKET, socket)
            .env(NAME, name)
            .env(COUNT, count.unwrap_or(u64::MAX).to_string());
        if let Some(path) = replies {
            command.env(REPLIES, path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn join(mut self) {
        assert!(self.0.wait().unwrap().success());
    }

    /// Ends it with SIGKILL; returns when the kernel has taken it down.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Not a test but what [`ClientProcess`] runs.
#[test]
fn is_a_client() {
    let Ok(socket) = std::env::var(SOCKET) else {
        return;
    };
    let name = std::env::var(NAME).unwrap();
    let count: u64 = std::env::var(COUNT).unwrap().parse().unwrap();
    let mut replies = std::env::var_os(REPLIES).map(PathBuf::from).map(|path| {
        std::io::BufWriter::with_capacity(1 << 16, std::fs::File::create(path).unwrap())
    });
    let mut client = ClientBuilder::new().socket(socket).connect().unwrap();
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && client.outstanding() < WINDOW {
            let body = decide(&format!("{name}-{sent}"), BYTES);
            assert_eq!(body.len(), BYTES);
            let request = Request::to("decide").payload(&body).user_data(sent);
            client.submit(request).unwrap();
            sent += 1;
        }
        let completion = client.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(completion.code(), Code::Ok);
        let id = format!(r#""request_id":"{name}-{}""#, completion.ticket().0);
        let body = completion.payload();
        assert!(
            body.windows(id.len()).any(|part| part == id.as_bytes()),
            "{id} in {}",
            body.escape_ascii()
        );
        if let Some(file) = &mut replies {
            std::io::Write::write_all(file, body).unwrap();
            std::io::Write::write_all(file, b"\n").unwrap();
        }
        done += 1;
    }
    if let Some(file) = &mut replies {
        std::io::Write::flush(file).unwrap();
    }
}

/// Names the socket to connect to before changing user, or is `stdin`.
const BY_HAND: &str = "IPCGW_TEST_BY_HAND";
const STDIN: &str = "stdin";

/// A process of another user than the one who made its connection; killed with its guard.
pub(crate) struct HandedOn(Child);

impl HandedOn {
    /// Starts one by this command, which runs this test binary; returns when it is attached. It
    /// uses the connection that it is given, or makes one as root and then becomes a stranger.
    pub(crate) fn start(
        mut command: Command,
        connection: Option<OwnedFd>,
        gateway: &Gateway,
    ) -> Self {
        command.args([
            "--exact",
            "support::process::attaches_by_hand",
            "--nocapture",
        ]);
        match connection {
            Some(connection) => command.env(BY_HAND, STDIN).stdin(connection),
            None => command.env(BY_HAND, &gateway.socket).stdin(Stdio::null()),
        };
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        Lines::of(child.stdout.take().unwrap()).wait_for("attached by hand");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for HandedOn {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Not a test but what [`HandedOn`] runs.
#[test]
fn attaches_by_hand() {
    let Ok(place) = std::env::var(BY_HAND) else {
        return;
    };
    if place == STDIN {
        say_hello(std::io::stdin().as_fd());
    } else {
        let socket = sys::connect_seqpacket(Path::new(&place), SOON).unwrap();
        setgid(Gid::from_raw(STRANGER)).unwrap();
        setuid(Uid::from_raw(STRANGER)).unwrap();
        say_hello(socket.as_fd());
    }
}

/// Attaches on this connection and stays until it is killed or the session ends.
fn say_hello(socket: BorrowedFd<'_>) {
    assert_eq!(sys::own_uid(), STRANGER);
    let geometry = Geometry {
        entries: 2,
        message_size: 64,
    };
    let name = "by hand".to_owned();
    let hello = Hello { geometry, name }.encode();
    sys::send_packet(socket, &hello, &[]).unwrap();
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let (_, fds) = sys::receive_packet(socket, &mut packet).unwrap().unwrap();
    assert_eq!(fds.len(), 3);
    println!("attached by hand");
    sys::receive_packet(socket, &mut packet).ok();
}
