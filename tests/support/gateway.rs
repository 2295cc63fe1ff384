//! A gateway: the real binary in a directory of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Request};

use super::lines::Lines;
use super::server::Server;
use super::{SOON, signal};

pub(crate) struct Gateway {
    child: Child,
    pub(crate) socket: PathBuf,
    said: Lines,
    dir: tempfile::TempDir,
}

impl Gateway {
    /// One whose process was started otherwise.
    pub(crate) fn of(child: Child, said: Lines, dir: tempfile::TempDir) -> Self {
        Self {
            child,
            socket: dir.path().join("gateway.sock"),
            said,
            dir,
        }
    }

    /// The process that comes after one which has ended.
    pub(crate) fn succeed(&mut self, (child, said): (Child, Lines)) {
        (self.child, self.said) = (child, said);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.said.text()
    }

    /// Waits until it ends by itself; returns how, and what it has said.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.said.all())
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(path).unwrap().count()
    }

    /// Whether a descriptor of a session's memory is open.
    pub(crate) fn holds_regions(&self) -> bool {
        let path = format!("/proc/{}/fd", self.pid());
        let mut links = std::fs::read_dir(path).unwrap().flatten();
        links.any(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy().contains("ipc-gateway-session"))
        })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> i64 {
        self.memory("VmRSS:")
    }

    /// A figure of its memory as the kernel names it in `status`, in bytes.
    pub(crate) fn memory(&self, name: &str) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<i64>().unwrap() * 1024
    }

    /// The names of the files in its directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort_unstable();
        names
    }

    /// Ends the process with SIGKILL. The socket's file stays.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process with SIGTERM; returns when it has gone.
    pub(crate) fn terminate(&mut self) {
        signal("-TERM", self.pid());
        self.child.wait().unwrap();
    }

    /// The same; it must have ended well.
    pub(crate) fn stop(&mut self) {
        signal("-TERM", self.pid());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Starts another process on the same socket, after the first has ended.
    pub(crate) fn restart(&mut self, arguments: &[&str]) {
        (self.child, self.said) = spawn(&[], &self.socket, self.dir.path(), arguments);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if !std::thread::panicking() {
            // One that lived on without a thread would hide it from whatever was tested.
            let log = self.log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

pub(crate) fn start(arguments: &[&str]) -> Gateway {
    start_configured("", arguments)
}

/// Starts one with a configuration file.
pub(crate) fn start_configured(text: &str, arguments: &[&str]) -> Gateway {
    start_by(&[], text, arguments)
}

/// The same, run by a program that becomes it: `["prlimit", "--nofile=64"]`.
pub(crate) fn start_by(prefix: &[&str], text: &str, arguments: &[&str]) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    std::fs::write(dir.path().join("config.toml"), text).unwrap();
    let (child, said) = spawn(prefix, &socket, dir.path(), arguments);
    Gateway {
        child,
        socket,
        said,
        dir,
    }
}

/// Starts a process with the configuration file in `dir`; returns when it has said where it serves.
fn spawn(prefix: &[&str], socket: &Path, dir: &Path, arguments: &[&str]) -> (Child, Lines) {
    let mut child = serve_by(prefix, socket)
        .arg("--config")
        .arg(dir.join("config.toml"))
        .args(arguments)
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    Lines::of(output).wait_for_start(&mut child, "serving");
    let said = Lines::of(child.stderr.take().unwrap());
    (child, said)
}

/// Starts one for this server; returns when it has a connection.
pub(crate) fn connected(server: &Server) -> Gateway {
    connected_as("", server)
}

/// Starts one with a configuration file for this server; returns when it has a connection.
pub(crate) fn connected_as(text: &str, server: &Server) -> Gateway {
    let gateway = start_configured(text, &["--nats", &server.url()]);
    until_connected(&mut attach(&gateway));
    gateway
}

/// Waits until requests are no longer rejected for want of a connection. Uses a subject that
/// nobody answers or one where the Router refuses the empty request.
pub(crate) fn until_connected(client: &mut Client) {
    let bound = Instant::now() + SOON;
    let probe = || Request::to("decide").timeout(Duration::from_millis(50));
    while client.call(probe()).unwrap().code() == Code::UpstreamDown {
        assert!(Instant::now() < bound, "no connection to NATS");
    }
}

/// The gateway: the one that was built with these tests, or what `IPCGW_TEST_GATEWAY` names, such as
/// one with a sanitizer.
pub(crate) fn program() -> OsString {
    let built = || env!("CARGO_BIN_EXE_ipc-gateway").into();
    std::env::var_os("IPCGW_TEST_GATEWAY").unwrap_or_else(built)
}

pub(crate) fn serve(socket: &Path) -> Command {
    serve_by(&[], socket)
}

fn serve_by(prefix: &[&str], socket: &Path) -> Command {
    let prefix = prefix.iter().map(OsString::from);
    let mut words = prefix.chain([program()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg("serve").arg("--socket").arg(socket);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn attach(gateway: &Gateway) -> Client {
    attach_with(gateway, ClientBuilder::new())
}

pub(crate) fn attach_with(gateway: &Gateway, builder: ClientBuilder) -> Client {
    let bound = Instant::now() + SOON;
    loop {
        match builder.clone().socket(&gateway.socket).connect() {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < bound, "{error}; {}", gateway.log()),
        }
        std::thread::yield_now();
    }
}
