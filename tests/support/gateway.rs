//! A gateway: the real binary in a directory of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder};

pub(crate) struct Gateway {
    child: Child,
    pub(crate) socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn start(arguments: &[&str]) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    let mut child = serve(&socket).args(arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    Gateway {
        child,
        socket,
        _dir: dir,
    }
}

pub(crate) fn serve(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    command.arg("serve").arg("--socket").arg(socket);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn attach(gateway: &Gateway) -> Client {
    let bound = Instant::now() + Duration::from_secs(10);
    loop {
        match ClientBuilder::new().socket(&gateway.socket).connect() {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < bound, "{error}"),
        }
        std::thread::yield_now();
    }
}
