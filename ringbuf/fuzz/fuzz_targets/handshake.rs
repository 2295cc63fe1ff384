//! Arbitrary packets on the control socket, read by either side: what is understood is the same
//! packet again, but for long text, which is cut.
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
            // Long text is cut.
            let Ok(Answer::Refusal(again)) = Answer::parse(&refusal.encode()) else {
                panic!("a refusal is a refusal again");
            };
            assert_eq!(again.reason, refusal.reason);
            assert!(refusal.detail.starts_with(&again.detail));
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
