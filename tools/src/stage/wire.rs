//! [`Wire`]: what crosses the server, recorded by a subscriber of its own.
//!
//! It speaks the protocol by hand, so that what no client library can read is recorded too. It
//! connects again when the server comes back. TLS is not spoken.

use core::time::Duration;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::failure::{Failure, While as _, pause};
use crate::artifact::timestamp_ms;

/// Messages that are kept and written for each check; more are counted.
const KEPT: usize = 2000;
/// Bytes of a payload in the file.
const SHOWN: usize = 4096;
/// Longest time to connect, and for a probe to come back.
const SOON: Duration = Duration::from_secs(20);
/// Time between two tries to connect, and between two looks at whether it shall end.
const AGAIN: Duration = Duration::from_millis(50);
/// The number of the subscription to the probe.
const PROBE: &str = "probe";

/// A message that crossed the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Where it went.
    pub subject: String,
    /// Where its answer shall go.
    pub reply: Option<String>,
    /// Its headers, in order, as far as they are well-formed.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether its payload has this text in it.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        memchr::memmem::find(&self.payload, text.as_bytes()).is_some()
    }

    /// For people and for evidence.
    #[must_use]
    pub fn shown(&self) -> Value {
        let payload = self.payload.get(..SHOWN).unwrap_or(&self.payload);
        let mut shown = json!({
            "subject": self.subject, "reply": self.reply, "headers": self.headers,
            "length": self.payload.len(),
        });
        let (name, text) = match std::str::from_utf8(payload) {
            Ok(text) => ("payload", text.to_owned()),
            Err(_) => ("payload_base64", BASE64_STANDARD.encode(payload)),
        };
        if let Some(shown) = shown.as_object_mut() {
            shown.insert(name.to_owned(), text.into());
        }
        shown
    }
}

#[derive(Debug)]
struct Record {
    /// Messages of the check that goes on.
    messages: Vec<Message>,
    check: String,
    not_kept: u64,
    file: File,
    /// The first error of the file.
    error: Option<io::Error>,
    /// Number of the newest probe that came back.
    probed: u64,
}

#[derive(Debug)]
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
    /// Where to write, while there is a connection.
    out: Mutex<Option<TcpStream>>,
    ends: AtomicBool,
    /// Whether to be subscribed to more than the probe.
    listens: AtomicBool,
}

/// The subscriber.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    probe: String,
    probes: u64,
    subjects: Vec<String>,
    thread: Option<JoinHandle<()>>,
}

/// Where to connect, as whom, and what to listen to.
#[derive(Clone, Debug)]
struct Target {
    address: String,
    connect: String,
    subjects: Vec<String>,
}

impl Wire {
    /// Connects to `nats://[user:password@]host:port` and listens to these subjects, with a line in
    /// `file` for each message; returns when the server has the subscriptions.
    ///
    /// # Errors
    /// The server is not there, or refuses.
    pub fn start(url: &str, subjects: &[&str], file: File) -> Result<Self, Failure> {
        let probe = format!("ipcgw.wire.probe.{}", std::process::id());
        let mut target = Target::parse(url)?;
        target.subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        let shared = Arc::new(Shared {
            record: Mutex::new(Record {
                messages: Vec::new(),
                check: String::new(),
                not_kept: 0,
                file,
                error: None,
                probed: 0,
            }),
            changed: Condvar::new(),
            out: Mutex::new(None),
            ends: AtomicBool::new(false),
            listens: AtomicBool::new(true),
        });
        let (own, subject) = (Arc::clone(&shared), probe.clone());
        let subscribed = target.subjects.clone();
        let thread = std::thread::spawn(move || {
            while !own.ends.load(Ordering::Relaxed) {
                // Whatever ended the connection, the next attempt or the next probe tells.
                listen(&own, &target, &subject).ok();
                *lock(&own.out) = None;
                pause(AGAIN);
            }
        });
        let mut wire = Self {
            shared,
            probe,
            probes: 0,
            subjects: subscribed,
            thread: Some(thread),
        };
        wire.settle().map_err(|failure| {
            Failure::Missing(format!(
                "cannot listen at {}: {failure}; is the server there, without TLS, and may this \
                 user subscribe?",
                host(url)
            ))
        })?;
        Ok(wire)
    }

    /// Forgets the messages so far: those that come belong to this check.
    pub fn begin(&self, check: &str) {
        let mut record = lock(&self.shared.record);
        record.messages.clear();
        check.clone_into(&mut record.check);
    }

    /// The messages since [`begin`](Self::begin) for which this holds.
    pub fn all(&self, is_it: impl Fn(&Message) -> bool) -> Vec<Message> {
        let record = lock(&self.shared.record);
        let messages = record.messages.iter();
        messages.filter(|message| is_it(message)).cloned().collect()
    }

    /// Waits for the first message since [`begin`](Self::begin) for which this holds.
    ///
    /// # Errors
    /// None comes within `bound`.
    pub fn first(
        &self,
        bound: Duration,
        what: &str,
        is_it: impl Fn(&Message) -> bool,
    ) -> Result<Message, Failure> {
        let since = Instant::now();
        let mut record = lock(&self.shared.record);
        loop {
            if let Some(found) = record.messages.iter().find(|message| is_it(message)) {
                return Ok(found.clone());
            }
            let Some(left) = bound.checked_sub(since.elapsed()) else {
                return Err(Failure::new(format_args!(
                    "not on the wire within {bound:?}: {what}"
                )));
            };
            let waited = self.shared.changed.wait_timeout(record, left);
            record = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the subscriptions, as they are load, and somebody who listens; or begins them again.
    /// Returns when the server has done so.
    ///
    /// # Errors
    /// There is no connection.
    pub fn listen(&mut self, listens: bool) -> Result<(), Failure> {
        let was = self.shared.listens.swap(listens, Ordering::Relaxed);
        if was != listens {
            let text: String = match listens {
                true => subscribe(&self.subjects),
                false => (0..self.subjects.len())
                    .map(|sid| format!("UNSUB {sid}\r\n"))
                    .collect(),
            };
            if let Some(out) = lock(&self.shared.out).as_mut() {
                out.write_all(text.as_bytes()).or_say("the server")?;
            }
        }
        self.settle()
    }

    /// Publishes; returns when it has crossed the server, and so has everything that the server
    /// took before.
    ///
    /// # Errors
    /// There is no connection.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<(), Failure> {
        self.write(subject, payload)?;
        self.settle()
    }

    /// Returns when the server has handled everything sent before, and this has recorded it.
    ///
    /// # Errors
    /// The server is not there.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        self.probes += 1;
        let subject = self.probe.clone();
        loop {
            // Sent again to a connection that is new.
            self.write(&subject, self.probes.to_string().as_bytes())
                .ok();
            let sent = Instant::now();
            let mut record = lock(&self.shared.record);
            while sent.elapsed() < Duration::from_secs(1) {
                if record.probed >= self.probes {
                    return Ok(());
                }
                let waited = self.shared.changed.wait_timeout(record, AGAIN);
                record = waited.unwrap_or_else(PoisonError::into_inner).0;
                if lock(&self.shared.out).is_none() {
                    break;
                }
            }
            drop(record);
            if since.elapsed() > SOON {
                return Err(Failure::new(
                    "the server does not hand on what is published",
                ));
            }
            pause(Duration::from_millis(5));
        }
    }

    /// How many messages were not kept, and the first error of the file.
    #[must_use]
    pub fn losses(&self) -> (u64, Option<String>) {
        let record = lock(&self.shared.record);
        (
            record.not_kept,
            record.error.as_ref().map(ToString::to_string),
        )
    }

    fn write(&self, subject: &str, payload: &[u8]) -> Result<(), Failure> {
        let mut out = lock(&self.shared.out);
        let Some(out) = out.as_mut() else {
            return Err(Failure::new("no connection to the server"));
        };
        let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        out.write_all(&bytes).or_say("the server")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(out) = lock(&self.shared.out).take() {
            out.shutdown(std::net::Shutdown::Both).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Target {
    fn parse(url: &str) -> Result<Self, Failure> {
        let rest = url
            .strip_prefix("nats://")
            .ok_or_else(|| Failure::Missing(format!("{} is not nats://host:port", host(url))))?;
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let address = address.trim_end_matches('/');
        let address = match address.rsplit_once(':') {
            Some(_) => address.to_owned(),
            None => format!("{address}:4222"),
        };
        let mut connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "rust", "version": "1", "name": "wire",
        });
        if let (Some(user), Some(options)) = (user, connect.as_object_mut()) {
            match user.split_once(':') {
                Some((user, password)) => {
                    options.insert("user".to_owned(), user.into());
                    options.insert("pass".to_owned(), password.into());
                }
                None => drop(options.insert("auth_token".to_owned(), user.into())),
            }
        }
        Ok(Self {
            address,
            connect: connect.to_string(),
            subjects: Vec::new(),
        })
    }
}

/// What subscribes to all of these.
fn subscribe(subjects: &[String]) -> String {
    let lines = subjects.iter().enumerate();
    lines
        .map(|(sid, subject)| format!("SUB {subject} {sid}\r\n"))
        .collect()
}

/// A URL without user and password.
fn host(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or(url)
}

/// Connects, subscribes and records until the connection ends.
fn listen(shared: &Shared, target: &Target, probe: &str) -> io::Result<()> {
    let stream = TcpStream::connect(&target.address)?;
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    write!(out, "CONNECT {}\r\n", target.connect)?;
    write!(out, "SUB {probe} {PROBE}\r\n")?;
    if shared.listens.load(Ordering::Relaxed) {
        out.write_all(subscribe(&target.subjects).as_bytes())?;
    }
    *lock(&shared.out) = Some(out);
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !shared.ends.load(Ordering::Relaxed) {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            break;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&"PING") => {
                if let Some(out) = lock(&shared.out).as_mut() {
                    out.write_all(b"PONG\r\n")?;
                }
            }
            Some(&"MSG" | &"HMSG") => {
                let message = read_message(&words, &mut stream)?;
                shared.take(message, probe);
            }
            _ => {}
        }
    }
    Ok(())
}

/// `MSG subject sid [reply] size`; `HMSG` has the size of the headers before that of everything.
fn read_message(words: &[&str], stream: &mut impl io::Read) -> io::Result<Message> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let with_headers = words.first() == Some(&"HMSG");
    let sizes = if with_headers { 2 } else { 1 };
    let number = |from_end: usize| {
        let word = words
            .len()
            .checked_sub(from_end)
            .and_then(|at| words.get(at));
        word.and_then(|word| word.parse::<usize>().ok())
            .ok_or_else(bad)
    };
    let total = number(1)?;
    let head = if with_headers { number(2)? } else { 0 };
    let subject = (*words.get(1).ok_or_else(bad)?).to_owned();
    let reply = (words.len() > 3 + sizes).then(|| words.get(3).map(|&word| word.to_owned()));
    let mut bytes = vec![0; total + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(total);
    if head > bytes.len() {
        return Err(bad());
    }
    let payload = bytes.split_off(head);
    Ok(Message {
        subject,
        reply: reply.flatten(),
        headers: headers(&bytes),
        payload,
    })
}

/// The well-formed headers of a block, in order.
fn headers(block: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(block);
    let pairs = text.split("\r\n").skip(1);
    pairs
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

impl Shared {
    fn take(&self, message: Message, probe: &str) {
        let mut record = lock(&self.record);
        if message.subject == probe {
            let number = String::from_utf8_lossy(&message.payload).parse();
            record.probed = record.probed.max(number.unwrap_or(0));
        } else if record.messages.len() >= KEPT {
            record.not_kept += 1;
        } else {
            let mut line = message.shown();
            if let Some(line) = line.as_object_mut() {
                line.insert("at_ms".to_owned(), timestamp_ms().into());
                line.insert("check".to_owned(), record.check.as_str().into());
            }
            let written = writeln!(record.file, "{line}");
            if let (Err(error), None) = (written, &record.error) {
                record.error = Some(error);
            }
            record.messages.push(message);
        }
        drop(record);
        self.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, body: &[u8]) -> Message {
        let words: Vec<&str> = line.split_whitespace().collect();
        read_message(&words, &mut &*body).unwrap()
    }

    #[test]
    fn messages_are_read_with_and_without_headers_and_reply() {
        let plain = parse("MSG s 1 2", b"hi\r\n");
        assert_eq!((plain.subject.as_str(), plain.reply), ("s", None));
        assert_eq!(plain.payload, b"hi");
        let block = b"NATS/1.0\r\na: b\r\nc:d\r\n\r\nhi\r\n";
        let full = parse("HMSG s 1 inbox 23 25", block);
        assert_eq!(full.reply.as_deref(), Some("inbox"));
        assert_eq!(full.header("a"), Some("b"));
        assert_eq!(full.header("c"), Some("d"));
        assert_eq!(full.payload, b"hi");
        let words = ["HMSG", "s", "1", "9", "2"];
        read_message(&words, &mut &b"hi\r\n"[..]).unwrap_err();
    }

    #[test]
    fn a_url_may_have_a_user_and_may_lack_a_port() {
        let target = Target::parse("nats://u:p@host").unwrap();
        assert_eq!(target.address, "host:4222");
        assert!(target.connect.contains(r#""user":"u""#));
        assert!(Target::parse("tls://u:secret@host").is_err_and(|error| {
            matches!(&error, Failure::Missing(text) if !text.contains("secret"))
        }));
    }
}
