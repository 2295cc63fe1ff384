//! A NATS server that takes every request and answers none but a connection's question to itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a payload must contain to be counted.
pub(crate) const MARK: &str = "<counted>";

/// The server. Its threads end with the test's process.
pub(crate) struct Silent {
    pub(crate) url: String,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    requests: Mutex<usize>,
    grown: Condvar,
}

impl Silent {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(Count::default());
        let shared = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&shared);
                std::thread::spawn(move || converse(stream, port, &count));
            }
        });
        Self {
            url: format!("nats://127.0.0.1:{port}"),
            count,
        }
    }

    /// Waits until this many requests have come, at most 20 seconds.
    pub(crate) fn wait_for(&self, requests: usize) {
        let seen = self.count.requests.lock().unwrap();
        let (seen, _) = self
            .count
            .grown
            .wait_timeout_while(seen, Duration::from_secs(20), |seen| *seen < requests)
            .unwrap();
        assert_eq!(*seen, requests);
    }
}

fn converse(mut stream: TcpStream, port: u16, count: &Count) -> Option<()> {
    let info = format!(
        r#"INFO {{"server_id":"S","server_name":"S","version":"2.10.0","proto":1,"host":"127.0.0.1","port":{port},"headers":true,"max_payload":1048576}}"#
    );
    stream.write_all(format!("{info}\r\n").as_bytes()).ok()?;
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    loop {
        let bytes = stream.read(&mut chunk).ok().filter(|bytes| *bytes > 0)?;
        text.push_str(&String::from_utf8_lossy(chunk.get(..bytes)?));
        // Only whole lines are looked at; every payload ends with one.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let lines: String = text.drain(..whole).collect();
        for line in lines.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("PING"), ..) => stream.write_all(b"PONG\r\n").ok()?,
                // A new connection looks whether its inbox, its first subscription, is one.
                (Some("PUB"), Some(subject), Some("0")) if subject.starts_with("_INBOX.") => {
                    let marker = format!("MSG {subject} 1 0\r\n\r\n");
                    stream.write_all(marker.as_bytes()).ok()?;
                }
                _ => {}
            }
        }
        *count.requests.lock().unwrap() += lines.matches(MARK).count();
        count.grown.notify_all();
    }
}
