//! Arbitrary packets on the control socket, read by either side: what is understood is the same
//! packet again.
#![no_main]

use ipc_ringbuf::handshake::{Answer, Hello};
use ipc_ringbuf::headers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Ok(hello) = Hello::parse(packet) {
        assert_eq!(Hello::parse(&hello.encode()), Ok(hello));
    }
    match Answer::parse(packet) {
        Ok(Answer::Welcome(welcome)) => {
            let again = welcome.encode().and_then(|packet| Answer::parse(&packet));
            assert_eq!(again, Ok(Answer::Welcome(welcome)));
        }
        Ok(Answer::Refusal(refusal)) => {
            let again = Answer::parse(&refusal.encode());
            assert_eq!(again, Ok(Answer::Refusal(refusal)));
        }
        Err(_) => {}
    }
    // A header block is read by both sides too.
    let mut block = Vec::new();
    for (name, value) in headers::decode(packet).flatten() {
        headers::encode(name, value, &mut block).expect("what was decoded can be encoded");
    }
    assert!(block.len() <= packet.len());
});
