//! In what order requests go out.

use std::sync::{Arc, Mutex};

use super::gateway::{REQUEST, eventually};
use super::start;
use crate::bridge::Code;

/// Bytes of a request.
const LARGE: usize = 16 * 1024;
/// Requests in all, and how many of them are asked while the server does not read: it takes many turns
/// until those that wait are sent, while others come.
const ALL: u32 = 3000;
const FIRST: u32 = 1500;
/// The session that asks.
const SESSION: u32 = 7;

#[test]
fn requests_of_a_session_go_out_in_order_whatever_has_to_wait() {
    let (server, peer, mut gateway) = start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    peer.serve("t.request", move |client, message| {
        let (digits, _) = message.payload.split_at(4);
        let number = u32::from_be_bytes(digits.try_into().unwrap());
        hears.lock().unwrap().push(number);
        async move {
            let reply = message.reply.unwrap();
            client.publish(reply, "".into()).await.unwrap();
        }
    });
    server.pause();
    for number in 0..ALL {
        if number == FIRST {
            eventually(|| gateway.metrics.held.get() > u64::from(FIRST / 4));
            server.signal("-CONT");
        }
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(LARGE, 0);
        let mut request = gateway.request(REQUEST, &payload);
        request.session = SESSION;
        gateway.send(request);
    }
    for _ in 0..ALL {
        assert_eq!(gateway.reply().code, Code::Ok);
    }
    eventually(|| heard.lock().unwrap().len() == ALL as usize);
    assert!(heard.lock().unwrap().iter().copied().eq(0..ALL));
}
