//! A second process: this program again, told by the environment what to be.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ipc_gateway::placement::pin;
use ipc_ringbuf::sys::monotonic_ns;

use super::cores::Cores;

/// Says to a second process what it is to be: `ring PID FD` or `port PATH`.
pub(crate) const ROLE: &str = "IPCGW_BENCH_PEER";

/// A second process. Ended when it is dropped.
pub(crate) struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn spawn(role: String) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Tells it how much will come, and returns when it is ready.
    pub(crate) fn order(&mut self, count: u64) {
        writeln!(self.orders, "{count}").unwrap();
        assert_eq!(self.answer(), 0, "it says that it is ready");
    }

    /// The next number that it says.
    pub(crate) fn answer(&mut self) -> u64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The second process's part: for each order says that it is ready, does it, and says when it was
/// done.
pub(crate) fn serve(mut order: impl FnMut(u64)) {
    pin(Cores::find().unwrap().1);
    for line in std::io::stdin().lines() {
        let count = line.unwrap().parse().unwrap();
        println!("0");
        order(count);
        println!("{}", monotonic_ns());
    }
}
