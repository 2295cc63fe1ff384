//! A Router: what stands behind the gateway's route `decide`. It serves plain NATS requests and does
//! not know that a gateway sent them.
//!
//!     cargo run --example router [NATS_URL]
//!
//! Start as many as are needed: they share the work as one queue group. SIGINT or SIGTERM: it takes
//! no new requests, answers those that it has, and ends.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;

use async_nats::{Client, Message};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

const SUBJECT: &str = "beamline.router.v1.decide";
const GROUP: &str = "routers";

/// The answer to a request: a decision, or an error that says what is wrong.
fn decide(payload: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(payload).unwrap_or_default();
    let id = request.get("request_id").and_then(Value::as_str);
    let refuse = |message: &str| {
        let error = json!({"code": "invalid_request", "message": message});
        json!({"ok": false, "error": error, "context": {"request_id": id.unwrap_or("")}})
    };
    if request.get("tenant_id").and_then(Value::as_str).is_none() {
        return refuse("tenant_id is missing");
    }
    let Some(id) = id else {
        return refuse("request_id is missing");
    };
    let decision = json!({
        "provider_id": "provider-1", "priority": 50, "expected_latency_ms": 120,
        "expected_cost": 0.001, "reason": "best_score",
    });
    json!({"ok": true, "decision": decision, "context": {"request_id": id}})
}

async fn answer(nats: &Client, message: Message) -> Result<(), Box<dyn Error>> {
    // Without a reply subject nobody waits for the answer.
    if let Some(reply) = message.reply {
        let body = decide(&message.payload).to_string();
        nats.publish(reply, body.into()).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let nats = async_nats::connect(url.as_deref().unwrap_or("nats://127.0.0.1:4222")).await?;
    let mut requests = nats.queue_subscribe(SUBJECT, GROUP.to_owned()).await?;
    // The server has the subscription when the flush has come back.
    nats.flush().await?;
    println!("ready");

    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut answered = 0_u64;
    loop {
        tokio::select! {
            message = requests.next() => match message {
                Some(message) => {
                    answer(&nats, message).await?;
                    answered += 1;
                }
                None => break,
            },
            // Ends the stream once what has arrived was taken.
            _ = term.recv() => requests.drain().await?,
            _ = interrupt.recv() => requests.drain().await?,
        }
    }
    nats.flush().await?;
    println!("{answered} answered");
    Ok(())
}
