//! One connection to a server: from the first byte, through signing in, to the last.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::block::Message;
use super::incoming::{Incoming, Line};
use super::info::Info;
use super::op::{Broken, Head};
use super::out::Out;
use super::transport::Transport;
use super::{sign_in, tls};
use crate::nats::complaint::Complaint;
use crate::nats::failure::{Cause, Failure, without_userinfo};
use crate::settings::NatsSettings;

/// Bytes that wait to be written before there is no room for more. What lies there when a
/// connection drops was never sent but counts as lost, so it is little; and one write of so much
/// costs hardly more per byte than a longer one.
const ROOM: usize = 128 * 1024;
/// Pings that the server may leave unanswered while nothing else comes from it.
const PINGS: u32 = 2;
/// Pings of the server that are answered once there is room; one that asks without reading is not answered
/// without end.
const PONGS: u32 = 16;
/// Reads for one event. What is larger comes to its end in a later turn.
const READS: u32 = 8;

/// Why there is no connection to one that listens and does not speak.
const SILENT: &str = "the server says nothing in time; one that expects TLS before it speaks \
                      needs nats.tls.handshake_first = true";
/// Why there is none to one that does not take part in a handshake.
const DEAF: &str = "TLS: the server does not answer in time";

/// What a connection brings.
#[derive(Debug)]
pub(in crate::nats) enum Event {
    /// A message. [`Wire::take`] it before asking for the next event.
    Message(Head),
    /// The server has answered a ping.
    Pong,
    /// The server has said something of itself.
    Info,
    /// The same, and that it will end soon.
    Lame,
    /// The server complains.
    Complaint(String),
    /// Something was done that is of no concern to others, and there may be more.
    Nothing,
    /// The connection has ended, for this reason if there is one to tell.
    Ended(Option<String>),
}

/// A connection that is signed in.
#[derive(Debug)]
pub(in crate::nats) struct Wire {
    transport: Transport,
    incoming: Incoming,
    out: Out,
    info: Box<Info>,
    /// Questions whether the server is there since something came from it.
    pings: u32,
    /// The same questions of the server that are not answered yet.
    pongs: u32,
    /// Why it is of no use any more.
    ended: Option<Option<String>>,
}

impl Wire {
    /// Connects to `url` and signs in.
    pub(in crate::nats) async fn connect(
        settings: &NatsSettings,
        url: &str,
    ) -> Result<Self, Failure> {
        let (scheme, host, port) = parts(url).ok_or("it is no URL of a NATS server")?;
        let limit = settings.connect_timeout;
        // Read before there is a connection: its server may not wait long for the first word.
        let first = if settings.tls.handshake_first {
            Some(tls::connector(&settings.tls).await?)
        } else {
            None
        };
        let mut wire = Self::of(open(host, port, limit).await?);
        let deadline = Instant::now() + limit;
        if let Some(connector) = first {
            let encrypted = timeout_at(deadline, wire.encrypt(host, &connector)).await;
            wire = encrypted.unwrap_or_else(|_| Err(Failure::from(DEAF)))?;
        }
        let greeted = timeout_at(deadline, wire.greeting()).await;
        greeted.unwrap_or_else(|_| Err(Failure::from(SILENT)))?;
        let must_encrypt = settings.tls.is_required() || scheme == "tls";
        let signed_in = timeout_at(deadline, wire.sign_in(settings, host, must_encrypt)).await;
        signed_in.unwrap_or_else(|_| Err(Failure::from("timed out")))
    }

    fn of(stream: TcpStream) -> Self {
        Self {
            transport: Transport::Plain(stream),
            incoming: Incoming::default(),
            out: Out::default(),
            info: Box::default(),
            pings: 0,
            pongs: 0,
            ended: None,
        }
    }

    /// Waits for the first word of the server, which speaks first.
    async fn greeting(&mut self) -> Result<(), Failure> {
        while !matches!(self.hear().await?, Event::Info | Event::Lame) {}
        Ok(())
    }

    /// Encrypts the connection if that is wanted, and says who we are.
    async fn sign_in(
        mut self,
        settings: &NatsSettings,
        host: &str,
        must_encrypt: bool,
    ) -> Result<Self, Failure> {
        let is_encrypted = must_encrypt || self.info.tls_required;
        if is_encrypted && matches!(self.transport, Transport::Plain(_)) {
            if !self.info.speaks_tls() {
                return Err(Failure::from("the server does not speak TLS"));
            }
            let connector = tls::connector(&settings.tls).await?;
            self = self.encrypt(host, &connector).await?;
        }
        let connect = sign_in::connect(settings, &self.info.nonce, is_encrypted).await?;
        self.out.line(&[b"CONNECT ", connect.as_bytes()]);
        self.ping();
        while !matches!(self.hear().await?, Event::Pong) {}
        let info = &self.info;
        tracing::debug!(
            name = %info.server_name.escape_debug(),
            version = %info.version.escape_debug(),
            max_payload = info.max_payload,
            is_encrypted,
            "signed in to a NATS server"
        );
        Ok(self)
    }

    /// Speaks TLS from here on.
    async fn encrypt(mut self, host: &str, connector: &TlsConnector) -> Result<Self, Failure> {
        if let Transport::Plain(stream) = self.transport {
            // What came in the clear before is not part of it.
            self.incoming.clear();
            self.transport = Transport::Tls(tls::encrypt(stream, host, connector).await?);
        }
        Ok(self)
    }

    /// Writes, and waits for one event of those that may come while signing in.
    async fn hear(&mut self) -> Result<Event, Failure> {
        match self.next().await {
            Event::Complaint(text) => Err(refusal(&text)),
            Event::Ended(reason) => {
                let reason = reason.as_deref();
                Err(Failure::from(
                    reason.unwrap_or("the server closed the connection"),
                ))
            }
            Event::Message(_) => Err(Failure::from(Broken::Unknown)),
            event => Ok(event),
        }
    }

    /// Writes, and waits for what comes next.
    pub(in crate::nats) async fn next(&mut self) -> Event {
        poll_fn(|cx| {
            self.flush(cx);
            self.poll_event(cx)
        })
        .await
    }

    /// What the server said of itself last.
    pub(in crate::nats) fn info(&self) -> &Info {
        &self.info
    }

    /// Whether there is room for a message; if not, the task is woken when there is, unless the
    /// connection has ended.
    pub(in crate::nats) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.out.len() >= ROOM {
            self.flush(cx);
        }
        self.ended.is_none() && self.out.len() < ROOM
    }

    /// Sends a message with the next flush. An empty `reply` is none, an empty header block as well.
    /// `false` if it is larger than the server takes; then it is not sent.
    pub(in crate::nats) fn publish(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        block: &[u8],
        payload: &Bytes,
    ) -> bool {
        let fits = block.len() + payload.len() <= self.info.max_payload;
        if fits {
            self.out.message(subject, reply, block, payload);
        }
        fits
    }

    /// Asks for the messages to a subject, which may have wildcards; sent with the next flush.
    pub(in crate::nats) fn subscribe(&mut self, subject: &str, sid: &str) {
        self.out
            .line(&[b"SUB ", subject.as_bytes(), b" ", sid.as_bytes()]);
    }

    /// Asks whether the server is there. If it has left too many questions unanswered, the connection
    /// has ended.
    pub(in crate::nats) fn ping(&mut self) {
        if self.pings < PINGS {
            self.pings += 1;
            self.out.line(&[b"PING"]);
        } else {
            self.end(Some("the server does not answer".to_owned()));
        }
    }

    /// Whether it is of no use any more. What came before that may not have been taken.
    pub(in crate::nats) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Writes what waits, as far as the socket takes it. The task is woken when it takes more.
    pub(in crate::nats) fn flush(&mut self, cx: &mut Context<'_>) {
        while self.ended.is_none() {
            if self.out.len() < ROOM {
                for _ in 0..core::mem::take(&mut self.pongs) {
                    self.out.line(&[b"PONG"]);
                }
            }
            match self.out.poll_flush(&mut self.transport, cx) {
                Poll::Ready(Err(error)) => drop(self.end(Some(error.to_string()))),
                Poll::Ready(Ok(())) if self.pongs > 0 => {}
                Poll::Ready(Ok(())) | Poll::Pending => return,
            }
        }
    }

    /// What comes next. After the end, first what came before it.
    pub(in crate::nats) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for _ in 0..READS {
            match self.incoming.pop() {
                Ok(Some(line)) => return Poll::Ready(self.event(line)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(self.end(Some(error.to_string()))),
            }
            match self.incoming.poll_read(&mut self.transport, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.end(None)),
                // It is there, whatever it says.
                Poll::Ready(Ok(_)) => self.pings = 0,
                Poll::Ready(Err(error)) => return Poll::Ready(self.end(Some(error.to_string()))),
                Poll::Pending if self.ended.is_some() => return Poll::Ready(self.end(None)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Event::Nothing)
    }

    /// Takes the message of an event.
    pub(in crate::nats) fn take(&mut self, head: &Head) -> Message {
        self.incoming.take(head)
    }

    /// The subject of a message that was not taken yet.
    pub(in crate::nats) fn subject(&self, head: &Head) -> &[u8] {
        self.incoming.subject(head)
    }

    /// What a line says to others.
    fn event(&mut self, line: Line) -> Event {
        match line {
            Line::Message(head) => Event::Message(head),
            Line::Complaint(text) => Event::Complaint(text),
            Line::Ping => {
                self.pongs = (self.pongs + 1).min(PONGS);
                Event::Nothing
            }
            Line::Pong => Event::Pong,
            Line::Info(info) => {
                self.info = info;
                if self.info.is_lame() {
                    Event::Lame
                } else {
                    Event::Info
                }
            }
        }
    }

    /// The first reason holds.
    fn end(&mut self, reason: Option<String>) -> Event {
        Event::Ended(self.ended.get_or_insert(reason).clone())
    }
}

/// Scheme, host and port of a URL. IPv6 addresses come without their brackets.
fn parts(url: &str) -> Option<(&str, &str, u16)> {
    let (scheme, place) = url.split_once("://").unwrap_or(("nats", url));
    let (host, port) = without_userinfo(place).rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    Some((scheme, host, port.parse().ok()?))
}

/// Connects to the first address of a host that can be reached, all within `limit`: each has its share of
/// the time that is left.
async fn open(host: &str, port: u16, limit: Duration) -> Result<TcpStream, Failure> {
    let mut failure = Failure::from("its name has no address");
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let deadline = Instant::now() + limit;
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let rest = deadline.saturating_duration_since(Instant::now());
        let share = rest / u32::try_from(left).unwrap_or(u32::MAX);
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => Failure::from(error),
            Err(_) => Failure::from("timed out"),
        };
    }
    Err(failure)
}

/// A complaint of the server while signing in.
fn refusal(text: &str) -> Failure {
    let cause = match Complaint::of(text) {
        Complaint::Authorization => Cause::Authorization,
        _ => Cause::Other,
    };
    Failure {
        text: text.to_ascii_lowercase(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_three_parts() {
        assert_eq!(parts("nats://h:1"), Some(("nats", "h", 1)));
        assert_eq!(parts("tls://[::1]:4222"), Some(("tls", "::1", 4222)));
        assert_eq!(parts("h:1"), Some(("nats", "h", 1)));
        for url in ["nats://h", "nats://h:x", "nats://h:70000"] {
            assert_eq!(parts(url), None);
        }
    }
}
