//! The reference Router as a process, against a real nats-server.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{DECIDE, Router, SOON, Server, VALID, ask, next, next_json, poll_status};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::test]
async fn a_valid_request_is_answered_and_an_invalid_one_refused() {
    let server = Server::start();
    let router = Router::start(&server, &[]);
    let client = server.connect().await;
    let answer = next_json(&mut ask(&client, VALID).await).await;
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["context"], json!({"request_id": "r-1"}));
    let refusal = next_json(&mut ask(&client, r#"{"tenant_id":"t"}"#).await).await;
    assert_eq!(refusal["error"]["code"], "invalid_request");
    assert_eq!(
        refusal["error"]["intake_error_code"],
        "CORRELATION_FIELDS_INVALID"
    );
    let summary = router.end();
    assert!(
        summary.contains("received=2 answered=1 errors=1 silent=0"),
        "{summary}"
    );
}

#[tokio::test]
async fn an_error_on_demand_has_the_code_that_was_asked_for() {
    let server = Server::start();
    let _router = Router::start(&server, &["--error-rate", "1", "--error-code", "odd_code"]);
    let client = server.connect().await;
    let answer = next_json(&mut ask(&client, VALID).await).await;
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["error"]["code"], "odd_code");
    assert_eq!(answer["context"]["request_id"], "r-1");
}

#[tokio::test]
async fn a_silent_request_is_received_logged_and_not_answered() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let flags = ["--silent-rate", "1", "--log", log.to_str().unwrap()];
    let router = Router::start(&server, &flags);
    let client = server.connect().await;
    let mut replies = ask(&client, VALID).await;
    // Polls are answered by the same process: once this reply is here, the request was received.
    let mut barrier = poll_status(&client).await;
    next(&mut barrier).await;
    let summary = router.end();
    assert!(summary.contains("received=1 answered=0 errors=0 silent=1"));
    client.flush().await.unwrap();
    replies.unsubscribe().await.unwrap();
    assert!(futures_util::StreamExt::next(&mut replies).await.is_none());
    let lines = std::fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["action"], "silent");
    assert_eq!(line["subject"], DECIDE);
    assert_eq!(line["payload"], VALID);
}

#[tokio::test]
async fn a_duplicated_reply_comes_that_many_times_more() {
    let server = Server::start();
    let router = Router::start(&server, &["--duplicate", "2", "--delay", "1ms"]);
    let client = server.connect().await;
    let mut replies = ask(&client, VALID).await;
    let first = next(&mut replies).await;
    for _ in 0..2 {
        assert_eq!(next(&mut replies).await.payload, first.payload);
    }
    let summary = router.end();
    assert!(summary.contains("received=1 answered=1"), "{summary}");
    assert!(summary.contains("duplicates=2"), "{summary}");
}

#[tokio::test]
async fn requests_beyond_its_concurrency_wait_for_their_turn() {
    let server = Server::start();
    let flags = ["--delay", "100ms", "--concurrency", "2"];
    let _router = Router::start(&server, &flags);
    let client = server.connect().await;
    let start = Instant::now();
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(ask(&client, VALID).await);
    }
    for (at, replies) in (0_u32..).zip(&mut replies) {
        next(replies).await;
        let turn = at / 2 + 1;
        assert!(start.elapsed() >= Duration::from_millis(100) * turn, "{at}");
    }
}

#[tokio::test]
async fn signals_and_the_control_subject_push_backpressure() {
    let server = Server::start();
    let flags = ["--backpressure-control", "control", "--retry-after", "7"];
    let router = Router::start(&server, &flags);
    let client = server.connect().await;
    let mut pushes = client
        .subscribe("beamline.router.v2.status.backpressure")
        .await
        .unwrap();
    client.flush().await.unwrap();
    // The server has the subscription when it has answered something sent after it.
    next(&mut ask(&client, VALID).await).await;
    router.signal("USR1");
    let push = next_json(&mut pushes).await;
    assert_eq!(push["type"], "backpressure_status");
    assert_eq!(push["status"], "active");
    assert_eq!(push["retry_after_seconds"], 7);
    router.signal("USR2");
    assert_eq!(next_json(&mut pushes).await["status"], "inactive");
    client.publish("control", "warning".into()).await.unwrap();
    assert_eq!(next_json(&mut pushes).await["status"], "warning");
    let polled = next_json(&mut poll_status(&client).await).await;
    assert_eq!(polled["status"], "warning");
    assert_eq!(polled["subject"], DECIDE);
    assert_eq!(polled["policy"]["retry_after_seconds"], 7);
}

#[tokio::test]
async fn echo_returns_the_bytes_and_the_headers() {
    let server = Server::start();
    let _router = Router::start(&server, &["--echo", "--echo-headers"]);
    let client = server.connect().await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("k", "v");
    let payload: Vec<u8> = (0..=255).collect();
    client
        .publish_with_reply_and_headers(DECIDE, inbox, headers.clone(), payload.clone().into())
        .await
        .unwrap();
    let reply = next(&mut replies).await;
    assert_eq!(reply.payload, payload);
    assert_eq!(reply.headers, Some(headers));
}

/// Read over plain TCP, because no client library can parse it.
#[tokio::test]
async fn a_malformed_header_block_reaches_the_requester() {
    let server = Server::start();
    let _router = Router::start(&server, &["--malformed-header"]);
    let address = server.url.strip_prefix("nats://").unwrap();
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let request = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB in 1\r\nPUB {DECIDE} in {}\r\n{VALID}\r\n",
        VALID.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    let found = tokio::time::timeout(SOON, async {
        while !line.starts_with("HMSG") {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        assert_eq!(line, "HMSG in 1 5 6\r\n");
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    });
    found.await.unwrap();
    assert_eq!(line, "ABCDEx\r\n");
}

#[tokio::test]
async fn the_ready_file_holds_the_process_number() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ready");
    let router = Router::start(&server, &["--ready-file", path.to_str().unwrap()]);
    let pid: u32 = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    assert_eq!(pid, router.pid());
}
