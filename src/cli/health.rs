//! `ipc-gateway health`: asks the admin server whether the gateway is alive and ready.
//!
//! The questions have one time limit: a gateway that is stopped or hangs counts as not reachable.

use core::time::Duration;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use super::admin::{self, Answer, LIMIT, not_reachable, unanswered, within};
use super::args::HealthArgs;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::admin_address;
use crate::settings::AdminAddress;

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Prints one line (with `--json` one object); exit 0 ready, 1 alive but not ready, 69 not
/// reachable, 77 when it may not be asked. With `--live` it only asks whether the gateway is alive.
#[must_use]
pub fn run(args: &HealthArgs) -> ExitCode {
    let address = match admin_address(args.admin.as_deref(), args.socket.as_deref()) {
        Ok(address) => address,
        Err(error) => {
            complain(&error);
            return Exit::from(&error).into();
        }
    };
    let health = ask_within(LIMIT, &address, args.live);
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
#[derive(Debug, Serialize)]
struct Health {
    /// Whether it answered at all.
    reachable: bool,
    /// Whether its threads advance.
    live: bool,
    /// Whether it takes requests; none if that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    /// Why it is not ready, or not reachable; empty if all is well.
    reason: String,
    /// Where it was asked.
    address: String,
    /// Why there was no answer.
    #[serde(skip)]
    error: Option<io::Error>,
}

impl Health {
    fn line(&self) -> String {
        let Self {
            address, reason, ..
        } = self;
        if let Some(error) = &self.error {
            return not_reachable(address, error);
        }
        match (self.live, self.ready) {
            (true, Some(true)) => "ready".to_owned(),
            (true, Some(false)) => format!("alive, not ready: {reason}"),
            (true, None) => "alive".to_owned(),
            (false, _) => format!("not alive: {reason}"),
        }
    }

    fn exit(&self) -> Exit {
        match (&self.error, self.live && self.ready != Some(false)) {
            (Some(error), _) => unanswered(error),
            (None, true) => Exit::Ok,
            (None, false) => Exit::Failure,
        }
    }
}

/// Asks whether it is alive, and, unless that is all, whether it is ready.
fn ask_within(limit: Duration, address: &AdminAddress, only_live: bool) -> Health {
    let asked = address.clone();
    let result = within(limit, move || ask(&asked, only_live));
    let address = address.to_string();
    match result {
        Ok((live, ready)) => Health {
            reachable: true,
            live: live.good,
            ready: ready.as_ref().map(|ready| ready.good),
            reason: match ready {
                Some(ready) if live.good => ready.reason,
                _ => live.reason,
            },
            address,
            error: None,
        },
        Err(error) => Health {
            reachable: false,
            live: false,
            ready: (!only_live).then_some(false),
            reason: error.to_string(),
            address,
            error: Some(error),
        },
    }
}

fn ask(address: &AdminAddress, only_live: bool) -> io::Result<(Verdict, Option<Verdict>)> {
    let get = |path| admin::get(address, path, MAX_ANSWER_BYTES).map(|answer| verdict(&answer));
    let live = get("/livez")?;
    let ready = (!only_live).then(|| get("/readyz")).transpose()?;
    Ok((live, ready))
}

/// The answer to one question.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    good: bool,
    reason: String,
}

/// Reads the reason: the `reason` of a JSON object, or else the first line of the body.
fn verdict(Answer { status, body }: &Answer) -> Verdict {
    if *status == 200 {
        let reason = String::new();
        return Verdict { good: true, reason };
    }
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let stated = json.as_ref().and_then(|json| json.get("reason")?.as_str());
    let reason = stated.or_else(|| body.lines().next()).unwrap_or_default();
    let shown = if reason.trim().is_empty() {
        format!("status {status}")
    } else {
        reason.escape_debug().to_string()
    };
    Verdict {
        good: false,
        reason: shown,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

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

    /// Asks a server on a Unix socket that answers so, on that many connections: both questions, or
    /// with one connection only the first.
    fn health_after(connections: usize, live: &'static str, ready: &'static str) -> Health {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            for _ in 0..connections {
                answer(listener.accept().unwrap().0, live, ready);
            }
        });
        let health = ask_within(LIMIT, &AdminAddress::Unix(path), connections == 1);
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
    fn where_only_life_matters_nothing_else_is_asked() {
        let alive = health_after(1, GOOD, DOWN);
        assert_eq!(alive.line(), "alive");
        assert_eq!(alive.exit(), Exit::Ok);
        let json = serde_json::to_value(&alive).unwrap();
        assert_eq!(json["live"], true);
        assert!(json.get("ready").is_none(), "{json}");
        let stuck = health_after(1, "HTTP/1.1 503 x\r\n\r\nworker 0 is stuck\n", GOOD);
        assert_eq!(stuck.line(), "not alive: worker 0 is stuck");
        assert_eq!(stuck.exit(), Exit::Failure);
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
        assert_eq!(ask_within(LIMIT, &address, false).exit(), Exit::Ok);
        server.join().unwrap();
    }

    #[test]
    fn nobody_silence_and_noise_are_exit_69() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let address = AdminAddress::Unix(path.clone());
        for only_live in [false, true] {
            let nobody = ask_within(LIMIT, &address, only_live);
            assert_eq!(nobody.exit(), Exit::Unavailable);
        }
        let silent = UnixListener::bind(&path).unwrap();
        let silence = ask_within(Duration::from_millis(20), &address, false);
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
        let reason = |text: &str| verdict(&Answer::parse(text).unwrap()).reason;
        assert_eq!(reason("HTTP/1.1 503 x\r\n\r\n\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(reason("HTTP/1.1 503 x\r\n\r\n"), "status 503");
    }
}
