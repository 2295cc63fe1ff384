//! Faults 32 and 38: credentials and permissions at the server, and what other users of it can do.

use std::path::PathBuf;

use crate::support::server::Server;

mod credentials;
mod forged;
mod refused;

/// A directory with the configuration of a server in it.
struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration; a server that runs goes on with the old one.
    fn configure(&self, text: &str) {
        std::fs::write(self.at("nats.conf"), text).unwrap();
    }

    fn start(&self, text: &str) -> Server {
        self.configure(text);
        Server::with(&["-D", "-c", self.at("nats.conf").to_str().unwrap()])
    }
}
