//! A connection to a server that is played here: what no real one can be made to do.

use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::server::{Event, Wire};
use crate::settings::{NatsSettings, TlsSettings};

const SOON: Duration = Duration::from_secs(10);

/// A connection, signed in after this greeting, and the server's end of it.
async fn connected(info: &str) -> (Wire, BufReader<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let settings = NatsSettings::default();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let greeting = format!("INFO {info}\r\n");
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "PING\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0);
        }
        stream.get_mut().write_all(b"PONG\r\n").await.unwrap();
        stream
    };
    let (wire, stream) = tokio::join!(Wire::connect(&settings, &url), server);
    (wire.unwrap(), stream)
}

async fn say(server: &mut BufReader<TcpStream>, bytes: &[u8]) {
    server.get_mut().write_all(bytes).await.unwrap();
}

async fn next(wire: &mut Wire) -> Event {
    timeout(SOON, wire.next()).await.unwrap()
}

#[tokio::test]
async fn one_that_says_nothing_is_given_up_and_one_that_says_something_is_not() {
    let (mut wire, mut server) = connected("{}").await;
    for _ in 0..10 {
        wire.ping();
        assert!(!wire.has_ended());
        // Not what was asked for, but it is there.
        say(&mut server, b"-ERR 'x'\r\n").await;
        assert!(matches!(next(&mut wire).await, Event::Complaint(_)));
    }
    for is_over in [false, false, true] {
        wire.ping();
        assert_eq!(wire.has_ended(), is_over);
    }
    let Event::Ended(reason) = next(&mut wire).await else {
        panic!("not over");
    };
    assert_eq!(reason.as_deref(), Some("the server does not answer"));
}

#[tokio::test]
async fn each_step_comes_to_its_end_however_much_comes() {
    let (mut wire, mut server) = connected("{}").await;
    let mut steps = 0;
    let flood = async {
        for _ in 0..100 {
            say(&mut server, &b"PING\r\n".repeat(1000)).await;
            say(&mut server, &b"+OK\r\n".repeat(1000)).await;
        }
        say(&mut server, b"-ERR 'enough'\r\n").await;
    };
    let reading = async {
        // Never in vain: a step that reads and finds nothing to tell comes back.
        while !matches!(next(&mut wire).await, Event::Complaint(_)) {
            steps += 1;
        }
    };
    let answers = async {
        // What is not read would hold up the flood.
        tokio::join!(flood, reading);
    };
    timeout(SOON, answers).await.unwrap();
    assert!(steps >= 100_000, "{steps}");
}

#[tokio::test]
async fn pings_are_answered_once_there_is_room() {
    let (mut wire, mut server) = connected("{}").await;
    let payload = Bytes::from(vec![b'x'; 1_000_000]);
    // More than the sockets take.
    for _ in 0..16 {
        assert!(wire.publish(b"a", b"", b"", &payload));
    }
    say(&mut server, &b"PING\r\n".repeat(20)).await;
    for _ in 0..20 {
        assert!(matches!(next(&mut wire).await, Event::Nothing));
    }
    let writing = poll_fn(|cx| {
        wire.flush(cx);
        core::task::Poll::<()>::Pending
    });
    let reading = async {
        let mut taken = Vec::new();
        let mut part = vec![0; 1 << 20];
        while !taken.ends_with(&b"PONG\r\n".repeat(16)) {
            let bytes = server.read(&mut part).await.unwrap();
            taken.extend_from_slice(&part[..bytes]);
            // The messages are longer than any of this.
            taken.drain(..taken.len().saturating_sub(256));
        }
        taken
    };
    let taken = tokio::select! {
        taken = timeout(SOON, reading) => taken.unwrap(),
        () = writing => panic!("it never ends"),
    };
    // One that asks without reading is not answered without end.
    assert!(!taken.ends_with(&b"PONG\r\n".repeat(17)));
}

#[tokio::test]
async fn that_it_will_end_soon_is_known_from_its_greeting() {
    let (wire, _server) = connected("{\"ldm\":true,\"max_payload\":-1}").await;
    assert!(wire.info().is_lame());
    assert_eq!(wire.info().max_payload, usize::MAX);
}

#[tokio::test]
async fn one_that_listens_and_does_not_speak_is_said_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let settings = NatsSettings {
        connect_timeout: Duration::from_millis(50),
        ..NatsSettings::default()
    };
    let failure = Wire::connect(&settings, &url).await.unwrap_err();
    assert!(failure.text.contains("says nothing"), "{}", failure.text);
    assert!(failure.text.contains("handshake_first"), "{}", failure.text);
}

#[tokio::test]
async fn one_that_expects_tls_first_speaks_once_it_is_encrypted() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let settings = NatsSettings {
        tls: TlsSettings {
            handshake_first: true,
            ca_file: Some(authority.path().to_owned()),
            ..TlsSettings::default()
        },
        ..NatsSettings::default()
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
        let greeting = b"INFO {\"tls_required\":true}\r\n";
        stream.get_mut().write_all(greeting).await.unwrap();
        let mut said = String::new();
        while !said.ends_with("PING\r\n") {
            assert!(stream.read_line(&mut said).await.unwrap() > 0);
        }
        stream.get_mut().write_all(b"PONG\r\n").await.unwrap();
        stream.get_mut().flush().await.unwrap();
        said
    };
    let (wire, said) = tokio::join!(Wire::connect(&settings, &url), server);
    assert!(!wire.unwrap().has_ended());
    assert!(said.contains("\"tls_required\":true"), "{said}");
}
