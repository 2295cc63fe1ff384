//! A NATS connection by hand: no client library stands between a test and the server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::Value;

use super::SOON;
use super::server::Server;

pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn connect(server: &Server) -> Self {
        Self::connect_with(server, "")
    }

    /// Connects as a user of a server that knows users.
    pub(crate) fn connect_as(server: &Server, user: &str, password: &str) -> Self {
        Self::connect_with(server, &format!(r#","user":"{user}","pass":"{password}""#))
    }

    fn connect_with(server: &Server, credentials: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut wire = Self(BufReader::new(stream));
        let options = r#""verbose":false,"headers":true,"no_responders":true"#;
        wire.send(&format!("CONNECT {{{options}{credentials}}}\r\n"));
        wire.settle();
        wire
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.0.read_line(&mut line).unwrap() > 0,
            "the server has closed"
        );
        assert!(!line.starts_with("-ERR"), "{line}");
        line.trim_end().to_owned()
    }

    /// Publishes; [`settle`](Self::settle) makes sure that the server has it.
    pub(crate) fn publish(&mut self, subject: &str, body: &str) {
        self.send(&format!("PUB {subject} {}\r\n{body}\r\n", body.len()));
    }

    /// Says this and returns what the server complains about before it has handled it.
    pub(crate) fn complaints(&mut self, say: &str) -> Vec<String> {
        self.send(&format!("{say}PING\r\n"));
        let mut complaints = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.strip_prefix("-ERR ") {
                Some(complaint) => complaints.push(complaint.trim_end().to_owned()),
                None if line.starts_with("PONG") => return complaints,
                None => {}
            }
        }
    }

    /// Returns when the server has handled everything sent before.
    pub(crate) fn settle(&mut self) {
        self.send("PING\r\n");
        while self.line() != "PONG" {}
    }

    /// Subscribes; returns when the server has it.
    pub(crate) fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} 1\r\n"));
        self.settle();
    }

    /// The next message's payload.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        self.next_with_reply().0
    }

    /// The next message's payload, and where its answer shall go if it wants one.
    pub(crate) fn next_with_reply(&mut self) -> (Vec<u8>, Option<String>) {
        loop {
            let line = self.line();
            let Some(mut body) = self.body(&line) else {
                continue;
            };
            let words: Vec<&str> = line.split(' ').collect();
            // MSG subject sid [reply] size; HMSG has the headers' size before.
            let sizes = if words[0] == "MSG" { 1 } else { 2 };
            let reply = (words.len() > 3 + sizes).then(|| words[3].to_owned());
            let headers = match sizes {
                1 => 0,
                _ => words[words.len() - 2].parse().unwrap(),
            };
            return (body.split_off(headers), reply);
        }
    }

    /// Headers and payload of the message that a line begins, if it begins one.
    fn body(&mut self, line: &str) -> Option<Vec<u8>> {
        if !line.starts_with("MSG ") && !line.starts_with("HMSG ") {
            return None;
        }
        let total: usize = line.rsplit(' ').next()?.parse().unwrap();
        let mut body = vec![0; total + 2];
        self.0.read_exact(&mut body).unwrap();
        body.truncate(total);
        Some(body)
    }

    /// Asks and returns the answer.
    fn ask(&mut self, subject: &str, body: &str) -> Value {
        self.send(&format!(
            "PUB {subject} answers {}\r\n{body}\r\n",
            body.len()
        ));
        serde_json::from_slice(&self.next()).unwrap()
    }

    /// Whether somebody listens on a subject. The server says at once when nobody does.
    pub(crate) fn is_heard(&mut self, subject: &str, body: &str) -> bool {
        self.subscribe("answers");
        let bytes = body.len();
        self.send(&format!(
            "PUB {subject} answers {bytes}\r\n{body}\r\nPING\r\n"
        ));
        let mut is_heard = true;
        loop {
            let line = self.line();
            if line == "PONG" {
                return is_heard;
            }
            if let Some(body) = self.body(&line) {
                is_heard &= !String::from_utf8_lossy(&body).starts_with("NATS/1.0 503");
            }
        }
    }

    /// Makes a stream that captures a subject. The connection must be used for nothing else.
    pub(crate) fn create_stream(&mut self, name: &str, subject: &str) {
        self.subscribe("answers");
        let body = format!(r#"{{"name":"{name}","subjects":["{subject}"],"storage":"memory"}}"#);
        let answer = self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &body);
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// How many messages the stream has; after [`create_stream`](Self::create_stream).
    pub(crate) fn stored(&mut self, name: &str) -> u64 {
        let answer = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), "");
        answer["state"]["messages"].as_u64().unwrap()
    }
}
