//! A real nats-server on a free loopback port, ended with its guard.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::gateway::eventually;

pub(super) struct Server {
    port: u16,
    arguments: Vec<String>,
    child: Child,
    _store: tempfile::TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    pub(super) fn with(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let store = tempfile::tempdir().unwrap();
        let mut all: Vec<String> = ["-a", "127.0.0.1", "-p"].map(str::to_owned).into();
        all.push(port.to_string());
        all.push("-sd".to_owned());
        all.push(store.path().display().to_string());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let child = spawn(&all);
        Self {
            port,
            arguments: all,
            child,
            _store: store,
        }
    }

    /// With a configuration file, for users and their permissions.
    pub(super) fn configured(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        // The server has read the file when it is ready.
        Self::with(&["-c", &file.path().display().to_string()])
    }

    pub(super) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.child = spawn(&self.arguments);
    }

    pub(super) fn signal(&self, name: &str) {
        let arguments = [name.to_owned(), self.child.id().to_string()];
        assert!(
            Command::new("kill")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Server {
    /// Stops the process, and returns when each of its threads has stopped.
    pub(super) fn pause(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually(|| {
            std::fs::read_dir(&tasks).unwrap().all(|task| {
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
                stat.contains(") T ")
            })
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(arguments: &[String]) -> Child {
    let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let mut child = Command::new(program)
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("nats-server: set NATS_SERVER or install it");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        log.by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("Server is ready")),
        "nats-server ended before it was ready"
    );
    // Nobody reads the rest, but a closed pipe would end the server.
    std::thread::spawn(move || log.for_each(drop));
    child
}
