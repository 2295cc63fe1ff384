//! The Router's stand-in: answers each request with its own bytes, and is not the bottleneck. All
//! requests of a read are answered with one write.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use crate::orders;
use crate::wire::{Event, Reader, greeting, push_decimal, until_greeted};
use ipc_tools::stage::{Failure, While as _};

/// Answers until standard input ends.
///
/// # Errors
/// The connection's.
pub(crate) fn run(address: &str, subject: &str) -> Result<(), Failure> {
    let mut stream =
        TcpStream::connect(address).or_say(format_args!("cannot connect to {address}"))?;
    stream
        .set_nodelay(true)
        .or_say("cannot set up the connection")?;
    let mut reader = Reader::default();
    stream
        .write_all(greeting("compare-responder", subject).as_bytes())
        .or_say("cannot greet the server")?;
    until_greeted(&mut reader, &mut stream, address)?;
    orders::say_ready()?;
    thread::spawn(end_with_input);
    let mut out = Vec::new();
    loop {
        answer(&mut reader, &mut out)?;
        if !out.is_empty() {
            stream.write_all(&out).or_say("cannot answer")?;
            out.clear();
        }
        reader.fill(&mut stream).or_say("cannot read requests")?;
    }
}

/// Writes the answers to all that has come.
fn answer(reader: &mut Reader, out: &mut Vec<u8>) -> Result<(), Failure> {
    while let Some(event) = reader.next()? {
        match event {
            Event::Message(message) if !message.reply.is_empty() => {
                out.extend_from_slice(b"PUB ");
                out.extend_from_slice(message.reply);
                out.push(b' ');
                push_decimal(out, message.payload.len());
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(message.payload);
                out.extend_from_slice(b"\r\n");
            }
            Event::Ping => out.extend_from_slice(b"PONG\r\n"),
            Event::Error(text) => {
                return Err(Failure::Failed(format!("the server complains: {text}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The process that started this one has gone, or wants no more.
pub(crate) fn end_with_input() {
    io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink()).ok();
    #[expect(clippy::exit, reason = "nobody is left to answer")]
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_with_and_without_headers_are_answered_in_one_batch() {
        let mut text: &[u8] = b"MSG s 1 r.1 2\r\nab\r\nPING\r\nMSG s 1 1\r\nx\r\n\
            HMSG s 1 r.2 12 15\r\nNATS/1.0\r\n\r\nxyz\r\n";
        let mut reader = Reader::default();
        reader.fill(&mut text).unwrap();
        let mut out = Vec::new();
        answer(&mut reader, &mut out).unwrap();
        let expected = "PUB r.1 2\r\nab\r\nPONG\r\nPUB r.2 3\r\nxyz\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_complaint_ends_it() {
        let mut text: &[u8] = b"-ERR 'Slow Consumer'\r\n";
        let mut reader = Reader::default();
        reader.fill(&mut text).unwrap();
        let failure = answer(&mut reader, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("Slow Consumer"));
    }
}
