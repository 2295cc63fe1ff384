//! Questions to a gateway's admin server.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::SOON;
use super::gateway::Gateway;

/// The status and the body of the answer.
pub(crate) fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let socket = gateway.socket.with_file_name("admin.sock");
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    ask(stream, path)
}

/// Asks with these headers; the head and the bytes of the answer.
pub(crate) fn fetch(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> (String, Vec<u8>) {
    let socket = gateway.socket.with_file_name("admin.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut question = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        question.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{question}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.unwrap() + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// Makes the gateway read its configuration again; the status and the answer.
pub(crate) fn reload(gateway: &Gateway) -> (u16, serde_json::Value) {
    let socket = gateway.socket.with_file_name("admin.sock");
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (status, body) = say(stream, "POST", "/reload");
    (status, serde_json::from_str(&body).expect(&body))
}

/// The same as [`get`], on a connection to an admin server.
pub(crate) fn ask(stream: impl Read + Write, path: &str) -> (u16, String) {
    say(stream, "GET", path)
}

/// The same with another method.
pub(crate) fn say(mut stream: impl Read + Write, method: &str, path: &str) -> (u16, String) {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The sum of all samples of a counter or gauge whose labels contain `labels`.
pub(crate) fn metric(gateway: &Gateway, name: &str, labels: &str) -> u64 {
    let (status, text) = get(gateway, "/metrics");
    assert_eq!(status, 200);
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, given) = series.split_once('{').unwrap_or((series, ""));
        (found == name && given.contains(labels)).then(|| value.parse::<u64>().unwrap())
    });
    let samples: Vec<u64> = samples.collect();
    assert!(!samples.is_empty(), "{name} is not in\n{text}");
    samples.iter().sum()
}
