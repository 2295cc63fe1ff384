//! `ipc-gateway health`: asks the admin server whether the gateway is alive and ready.
//!
//! Two requests of HTTP/1.1, each on a connection of its own. The whole conversation has one time
//! limit: a gateway that is stopped or hangs counts as not reachable.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use serde::Serialize;

use super::args::HealthArgs;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::admin_address;
use crate::settings::AdminAddress;

/// Time for the whole conversation.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Prints one line (with `--json` one object); exit 0 ready, 1 alive but not ready, 69 not
/// reachable.
#[must_use]
pub fn run(args: &HealthArgs) -> ExitCode {
    let address = match admin_address(args.admin.as_deref(), args.socket.as_deref()) {
        Ok(address) => address,
        Err(error) => {
            complain(&error);
            return Exit::from(&error).into();
        }
    };
    let health = ask_within(LIMIT, &address);
    let line = if args.json {
        serde_json::to_string(&health).unwrap_or_default()
    } else {
        health.line()
    };
    print_line(line)
        .err()
        .unwrap_or_else(|| health.exit())
        .into()
}

/// What the gateway says of itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Health {
    /// Whether it answered at all.
    reachable: bool,
    /// Whether its threads advance.
    live: bool,
    /// Whether it takes requests.
    ready: bool,
    /// Why it is not ready, or not reachable; empty if all is well.
    reason: String,
    /// Where it was asked.
    address: String,
}

impl Health {
    fn line(&self) -> String {
        let Self {
            address, reason, ..
        } = self;
        match (self.reachable, self.live, self.ready) {
            (false, _, _) => format!(
                "not reachable: {address}: {reason}; is the gateway running, and is this its \
                 --admin or --socket?"
            ),
            (true, true, true) => "ready".to_owned(),
            (true, true, false) => format!("alive, not ready: {reason}"),
            (true, false, _) => format!("not alive: {reason}"),
        }
    }

    const fn exit(&self) -> Exit {
        match (self.reachable, self.live, self.ready) {
            (false, _, _) => Exit::Unavailable,
            (true, true, true) => Exit::Ok,
            _ => Exit::Failure,
        }
    }
}

/// Asks on a thread of its own, because connecting to a Unix socket may wait without limit.
fn ask_within(limit: Duration, address: &AdminAddress) -> Health {
    let (sender, receiver) = mpsc::channel();
    let asked = address.clone();
    let spawned = thread::Builder::new().spawn(move || sender.send(ask(&asked)));
    let result = spawned.and_then(|_| {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"));
        receiver.recv_timeout(limit).map_err(late)?
    });
    let address = address.to_string();
    match result {
        Ok((live, ready)) => Health {
            reachable: true,
            live: live.good,
            ready: ready.good,
            reason: if live.good { ready.reason } else { live.reason },
            address,
        },
        Err(error) => Health {
            reachable: false,
            live: false,
            ready: false,
            reason: error.to_string(),
            address,
        },
    }
}

fn ask(address: &AdminAddress) -> io::Result<(Verdict, Verdict)> {
    let get = |path| match address {
        AdminAddress::Unix(socket) => get(UnixStream::connect(socket)?, path),
        AdminAddress::Tcp(address) => get(TcpStream::connect_timeout(address, LIMIT)?, path),
    };
    Ok((get("/livez")?, get("/readyz")?))
}

/// The answer to one question.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    good: bool,
    reason: String,
}

fn get(mut stream: impl Read + Write, path: &str) -> io::Result<Verdict> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    verdict(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// Reads status and reason: the `reason` of a JSON object, or else the first line of the body.
fn verdict(answer: &str) -> Option<Verdict> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let status: u16 = status.parse().ok()?;
    if status == 200 {
        let reason = String::new();
        return Some(Verdict { good: true, reason });
    }
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let stated = json.as_ref().and_then(|json| json.get("reason")?.as_str());
    let reason = stated.or_else(|| body.lines().next()).unwrap_or_default();
    let shown = if reason.trim().is_empty() {
        format!("status {status}")
    } else {
        reason.escape_debug().to_string()
    };
    Some(Verdict {
        good: false,
        reason: shown,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const DOWN: &str = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"nats is down\"}";

    fn answer(mut stream: impl Read + Write, live: &str, ready: &str) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let livez = request.starts_with(b"GET /livez HTTP/1.1\r\n");
        assert!(livez || request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
        let text = if livez { live } else { ready };
        stream.write_all(text.as_bytes()).unwrap();
    }

    /// Asks a server on a Unix socket that answers so, on that many connections.
    fn health_after(connections: usize, live: &'static str, ready: &'static str) -> Health {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            for _ in 0..connections {
                answer(listener.accept().unwrap().0, live, ready);
            }
        });
        let health = ask_within(LIMIT, &AdminAddress::Unix(path));
        server.join().unwrap();
        health
    }

    fn health(live: &'static str, ready: &'static str) -> Health {
        health_after(2, live, ready)
    }

    #[test]
    fn a_ready_gateway_is_exit_0() {
        let health = health(GOOD, GOOD);
        assert_eq!(health.line(), "ready");
        assert_eq!(health.exit(), Exit::Ok);
    }

    #[test]
    fn a_gateway_that_is_alive_but_not_ready_is_exit_1_and_says_why() {
        let health = health(GOOD, DOWN);
        assert_eq!(health.line(), "alive, not ready: nats is down");
        assert_eq!(health.exit(), Exit::Failure);
        let json = serde_json::to_value(&health).unwrap();
        assert_eq!(json["live"], true);
        assert_eq!(json["ready"], false);
        assert_eq!(json["reason"], "nats is down");
    }

    #[test]
    fn a_gateway_that_is_not_alive_is_exit_1() {
        let health = health("HTTP/1.1 500 x\r\n\r\nworker 0 is stuck\n", DOWN);
        assert_eq!(health.line(), "not alive: worker 0 is stuck");
        assert_eq!(health.exit(), Exit::Failure);
    }

    #[test]
    fn tcp_works_as_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            for _ in 0..2 {
                answer(listener.accept().unwrap().0, GOOD, GOOD);
            }
        });
        assert_eq!(ask_within(LIMIT, &address).exit(), Exit::Ok);
        server.join().unwrap();
    }

    #[test]
    fn nobody_silence_and_noise_are_exit_69() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let address = AdminAddress::Unix(path.clone());
        assert_eq!(ask_within(LIMIT, &address).exit(), Exit::Unavailable);
        let silent = UnixListener::bind(&path).unwrap();
        let silence = ask_within(Duration::from_millis(20), &address);
        assert_eq!(silence.exit(), Exit::Unavailable);
        assert!(
            silence.line().contains("no answer in 20ms"),
            "{}",
            silence.line()
        );
        drop(silent);
        let noise = health_after(1, "SSH-2.0\r\n\r\n", GOOD);
        assert_eq!(noise.exit(), Exit::Unavailable);
    }

    #[test]
    fn a_reason_cannot_write_to_the_terminal() {
        let verdict = verdict("HTTP/1.1 503 x\r\n\r\n\u{1b}[2J").unwrap();
        assert_eq!(verdict.reason, "\\u{1b}[2J");
        assert_eq!(
            super::verdict("HTTP/1.1 503 x\r\n\r\n").unwrap().reason,
            "status 503"
        );
    }
}
