//! A client script of `tests/faults/`, written over `examples/client.py`, as a process.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::gateway::Gateway;
use super::lines::Lines;

/// The process, killed with its guard. A child of it ends with its input.
pub(crate) struct Script {
    child: Child,
    orders: Option<ChildStdin>,
    pub(crate) said: Lines,
}

impl Script {
    /// Starts the script with this name.
    pub(crate) fn start(name: &str, gateway: &Gateway) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(root.join("tests/faults").join(name))
            .arg(root.join("examples"))
            .arg(&gateway.socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let orders = child.stdin.take();
        let said = Lines::of(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            said,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        self.orders.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.orders = None;
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
