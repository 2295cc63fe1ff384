//! A client that writes anything anywhere in its region while the gateway's port works on it. The
//! port never panics, never has a block twice, and never has more blocks than there are.
#![no_main]

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use ipc_ringbuf::Code;
use ipc_ringbuf::entry::{Cqe, Words};
use ipc_ringbuf::layout::{Geometry, Layout, Line, Ring};
use ipc_ringbuf::port::Port;
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::sys;
use libfuzzer_sys::fuzz_target;

const ENTRIES: u32 = 4;
const MESSAGE: u32 = 256;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The client's side writes a word.
    Tail {
        completion: bool,
        word: u64,
    },
    Head {
        completion: bool,
        word: u32,
    },
    Slot {
        completion: bool,
        at: u8,
        value: u32,
    },
    Descriptor {
        block: u8,
        words: Words,
    },
    Bell(u32),
    /// The client submits as it should.
    Submit {
        block: u8,
        words: Words,
    },
    /// The gateway's side works.
    Pop,
    Complete {
        which: u8,
        bytes: u16,
    },
    Publish,
    HasSubmissions,
}

fuzz_target!(|steps: Vec<Step>| {
    let geometry = Geometry {
        entries: ENTRIES,
        message_size: MESSAGE,
    };
    let layout = Layout::try_from(geometry).unwrap();
    let memfd = sys::sealed_memfd("fuzz", layout.region_bytes()).unwrap();
    let region = Region::map(memfd.as_fd(), layout).unwrap();
    let shared = Region::map(memfd.as_fd(), layout).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut port = Port::new(region, OwnedFd::from(ours));
    let rings = [shared.ring(Ring::Submission), shared.ring(Ring::Completion)];
    let ring = |completion: bool| &rings[usize::from(completion)];
    let mut held = HashMap::new();
    let mut tail = 0_u32;
    for step in steps {
        match step {
            Step::Tail { completion, word } => {
                ring(completion).tail().store(word, Ordering::Relaxed);
            }
            Step::Head { completion, word } => {
                ring(completion).head().store(word, Ordering::Relaxed);
            }
            Step::Slot {
                completion,
                at,
                value,
            } => {
                ring(completion)
                    .slot(u32::from(at))
                    .store(value, Ordering::Relaxed);
            }
            Step::Descriptor { block, words } => {
                shared.store_descriptor(u32::from(block) % ENTRIES, &words);
            }
            Step::Bell(word) => shared
                .line32(Line::ClientBell)
                .store(word, Ordering::Relaxed),
            Step::Submit { block, words } => {
                let block = u32::from(block) % (ENTRIES + 1);
                shared.store_descriptor(block, &words);
                rings[0].slot(tail).store(block, Ordering::Relaxed);
                tail = tail.wrapping_add(1);
                let word = (u64::from(block) << 32) | u64::from(tail);
                rings[0].tail().store(word, Ordering::Release);
            }
            Step::Pop => match port.pop() {
                Ok(Some(submission)) => {
                    let name = format!("{:?}", submission.block);
                    if let Ok(sqe) = &submission.sqe {
                        let mut body = BytesMut::new();
                        port.copy_body(submission.block, sqe, &mut body);
                        assert_eq!(
                            body.len() as u64,
                            u64::from(sqe.header_len + sqe.payload_len)
                        );
                    }
                    let before = held.insert(name, submission.block);
                    assert!(before.is_none(), "a block was taken twice");
                    assert!(port.held() <= ENTRIES);
                }
                Ok(None) => {}
                // The session ends here.
                Err(_) => break,
            },
            Step::Complete { which, bytes } => {
                let names: Vec<String> = held.keys().cloned().collect();
                if let Some(name) = names.get(usize::from(which) % names.len().max(1)) {
                    let payload = vec![7; usize::from(bytes)];
                    let cqe = Cqe::bare(1, Code::Ok);
                    if port.complete(held[name], cqe, &[], &payload).is_err() {
                        break;
                    }
                    held.remove(name);
                }
            }
            Step::Publish => {
                port.publish();
                let _ = port.ring();
            }
            Step::HasSubmissions => {
                if port.has_submissions().is_err() {
                    break;
                }
            }
        }
        assert_eq!(port.held() as usize, held.len());
    }
});
