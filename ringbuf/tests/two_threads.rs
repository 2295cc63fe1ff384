//! Both sides at full speed on threads of their own.

use bytes::BytesMut;
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Port;
use ipc_ringbuf::{Client, Code, Request};

use crate::support::{Pair, SOON, pair};

const REQUESTS: u64 = 1_000_000;

/// Echoes each payload with a word added, until all have come.
fn echo(mut port: Port) {
    let mut body = BytesMut::new();
    let mut taken = 0;
    while taken < REQUESTS {
        let mut any = false;
        while let Some(submission) = port.pop().unwrap() {
            any = true;
            assert_eq!(submission.user_data, taken, "out of order");
            taken += 1;
            body.clear();
            let sqe = submission.sqe.unwrap();
            port.copy_body(submission.block, &sqe, &mut body);
            body.extend_from_slice(&taken.to_le_bytes());
            let cqe = Cqe::bare(submission.user_data, Code::Ok);
            port.complete(submission.block, cqe, &[], &body).unwrap();
            if port.publish_due() {
                port.publish();
                let _ = port.ring();
            }
        }
        if any {
            port.publish();
            let _ = port.ring();
        } else {
            std::thread::yield_now();
        }
    }
}

fn exchange(client: &mut Client, window: usize) {
    let (mut sent, mut done) = (0_u64, 0_u64);
    while done < REQUESTS {
        while sent < REQUESTS && client.outstanding() < window {
            let payload = [sent.wrapping_mul(7).to_le_bytes(), sent.to_be_bytes()].concat();
            let request = Request::to(0).payload(&payload[..usize::try_from(sent % 17).unwrap()]);
            client.submit(request.user_data(sent)).unwrap();
            sent += 1;
        }
        client.flush();
        let mut take = client.wait(SOON);
        assert!(take.is_some(), "{done} of {REQUESTS}");
        while let Some(completion) = take {
            assert_eq!(completion.ticket().0, done);
            let expected = [done.wrapping_mul(7).to_le_bytes(), done.to_be_bytes()].concat();
            let (echoed, word) = completion.payload().split_last_chunk::<8>().unwrap();
            assert_eq!(echoed, &expected[..usize::try_from(done % 17).unwrap()]);
            done += 1;
            assert_eq!(u64::from_le_bytes(*word), done);
            take = client.poll();
        }
    }
}

#[test]
fn a_million_small_requests_cross_in_order_and_intact() {
    // The page says that the gateway is awake, so it is never rung.
    let Pair {
        mut client,
        port,
        page,
        ..
    } = pair(256, 64);
    let gateway = std::thread::spawn(|| echo(port));
    exchange(&mut client, 256);
    gateway.join().unwrap();
    assert!(client.poll().is_none());
    drop(page);
}
