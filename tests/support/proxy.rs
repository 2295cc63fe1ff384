//! The fault proxy between a gateway and a server.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use super::lines::Lines;
use super::server::Server;
use super::tool;

pub(crate) struct Proxy {
    child: Child,
    orders: ChildStdin,
    said: Lines,
    answers: usize,
    pub(crate) url: String,
}

impl Proxy {
    /// Starts one in front of a server; it forwards everything until it is told otherwise.
    pub(crate) fn start(server: &Server) -> Self {
        let mut child = tool::command("fault-proxy")
            .args(["--to", &format!("127.0.0.1:{}", server.port())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let said = Lines::of(child.stdout.take().unwrap());
        said.wait_for_start(&mut child, "listening on ");
        let text = said.text();
        let address = text.trim().rsplit(' ').next().unwrap();
        let url = format!("nats://{address}");
        Self {
            child,
            orders,
            said,
            answers: 0,
            url,
        }
    }

    /// Gives an order; returns when it is followed.
    pub(crate) fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answers += 1;
        let answers = self.answers;
        // The first line said where it listens.
        let text = self.said.wait_for_lines(answers + 1);
        let answer = text.lines().nth(answers).unwrap();
        assert!(answer.starts_with("ok"), "{order}: {answer}");
        answer.to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
