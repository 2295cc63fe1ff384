//! What a hostile client does to its region: everything that a process can do that has it mapped.

use std::os::fd::AsFd as _;

use fastrand::Rng;
use ipc_ringbuf::entry::{DESCRIPTOR_WORDS, Opcode, Sqe, Words};
use ipc_ringbuf::layout::{Line, Ring};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::sys;

use super::guest::Guest;

/// Scribbles once; returns what was done.
pub(crate) fn scribble(guest: &Guest, routes: u16, rng: &mut Rng) -> &'static str {
    let region = &guest.shared;
    match rng.u8(..12) {
        0 => tail(guest, rng),
        1 => {
            let head = region.ring(Ring::Completion);
            let word = head.head();
            word.store(near(word.load(Ordering::Relaxed), rng), Ordering::Release);
            "completion_head"
        }
        2 => {
            let ring = region.ring(Ring::Submission);
            ring.head().store(rng.u32(..), Ordering::Release);
            let ring = region.ring(Ring::Completion);
            ring.tail().store(rng.u64(..), Ordering::Release);
            "gateway_cursors"
        }
        3..=5 => {
            let which = if rng.bool() {
                Ring::Submission
            } else {
                Ring::Completion
            };
            let ring = region.ring(which);
            let block = index(region, rng);
            ring.slot(rng.u32(..)).store(block, Ordering::Relaxed);
            "slots"
        }
        6 | 7 => {
            let block = index(region, rng);
            region.store_descriptor(block, &descriptor(region, routes, rng));
            "descriptors"
        }
        8 => {
            region
                .line32(Line::ClientBell)
                .store(rng.u32(..4), Ordering::Relaxed);
            region
                .line32(Line::GatewayState)
                .store(rng.u32(..), Ordering::Relaxed);
            "bells"
        }
        9 => {
            let bytes = region.layout().region_bytes();
            // A machine without the call leaves the region as it was.
            drop(sys::give_back(guest.memfd.as_fd(), bytes));
            "hole"
        }
        _ => {
            push(guest, routes, rng);
            "pushes"
        }
    }
}

/// A number near another, or anywhere.
fn near(number: u32, rng: &mut Rng) -> u32 {
    match rng.u8(..4) {
        0 => rng.u32(..),
        1 => number.wrapping_sub(rng.u32(1..4)),
        _ => number.wrapping_add(rng.u32(1..40)),
    }
}

/// Mostly a block's number.
fn index(region: &Region, rng: &mut Rng) -> u32 {
    match rng.u8(..8) {
        0 => rng.u32(..),
        1 => region.layout().entries(),
        _ => rng.u32(..region.layout().entries()),
    }
}

fn tail(guest: &Guest, rng: &mut Rng) -> &'static str {
    let ring = guest.shared.ring(Ring::Submission);
    let word = ring.tail().load(Ordering::Relaxed);
    let [p0, p1, p2, p3, ..] = word.to_le_bytes();
    let position = near(u32::from_le_bytes([p0, p1, p2, p3]), rng);
    let newest = index(&guest.shared, rng);
    // { newest: 32, position: 32 }
    let word = (u64::from(newest) << 32) | u64::from(position);
    ring.tail().store(word, Ordering::Release);
    "submission_tail"
}

/// Submits blocks behind the client library's back: whichever, as often as it likes.
fn push(guest: &Guest, routes: u16, rng: &mut Rng) {
    let region = &guest.shared;
    let ring = region.ring(Ring::Submission);
    let [p0, p1, p2, p3, ..] = ring.tail().load(Ordering::Relaxed).to_le_bytes();
    let mut position = u32::from_le_bytes([p0, p1, p2, p3]);
    let mut newest = 0;
    for _ in 0..rng.u32(1..=4) {
        newest = rng.u32(..region.layout().entries());
        region.store_descriptor(newest, &descriptor(region, routes, rng));
        ring.slot(position).store(newest, Ordering::Relaxed);
        position = position.wrapping_add(1);
    }
    let word = (u64::from(newest) << 32) | u64::from(position);
    ring.tail().store(word, Ordering::Release);
}

/// A descriptor: a good one, a good one with one word changed, or noise.
fn descriptor(region: &Region, routes: u16, rng: &mut Rng) -> Words {
    let size = region.layout().message_size();
    let good = Sqe {
        user_data: rng.u64(..),
        opcode: Opcode::Call,
        idempotent: rng.bool(),
        route: rng.u16(..=routes),
        header_len: if rng.u8(..4) == 0 {
            rng.u32(..=size)
        } else {
            0
        },
        payload_len: rng.u32(..=size),
        timeout_ns: rng.u64(..) >> rng.u32(..64),
        submitted_ns: rng.u64(..),
    };
    let mut words = good.to_words();
    match rng.u8(..6) {
        0 => words = core::array::from_fn(|_| rng.u64(..)),
        1 | 2 => {
            if let Some(word) = words.get_mut(rng.usize(..DESCRIPTOR_WORDS)) {
                *word ^= 1 << rng.u32(..64);
            }
        }
        _ => {}
    }
    words
}
