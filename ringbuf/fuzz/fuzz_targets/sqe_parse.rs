//! A submission descriptor of arbitrary words: parsed or refused, and what is parsed keeps its
//! promises and is the same words again.
#![no_main]

use ipc_ringbuf::entry::{MAX_HEADER_BYTES, Sqe, Words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Words, u32)| {
    let (words, message_size) = input;
    match Sqe::parse(&words, message_size) {
        Ok(sqe) => {
            let bytes = u64::from(sqe.header_len) + u64::from(sqe.payload_len);
            assert!(bytes <= u64::from(message_size));
            assert!(sqe.header_len <= MAX_HEADER_BYTES);
            assert_eq!(sqe.to_words(), words);
        }
        Err(fault) => assert!(!fault.code().is_success()),
    }
});
