//! Attacks on the region.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use ipc_ringbuf::entry::{DESCRIPTOR_WORDS, Words};
use ipc_ringbuf::layout::{Line, Ring};
use ipc_ringbuf::spsc::RingMemory as _;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::unistd::ftruncate;

use crate::counts::Counts;
use crate::session::Session;

/// Words in one stroke, at most.
const STROKE: usize = 64;

/// Random words over the whole region: header page, lines, slots, descriptors and bodies.
pub(crate) fn words(session: &mut Session, rng: &mut Rng, counts: &mut Counts) {
    for _ in 0..256 {
        let count = rng.usize(1..=STROKE);
        let room = session.layout.region_bytes() / 8 - count as u64;
        let mut stroke = Vec::with_capacity(8 * count);
        for _ in 0..count {
            // Small numbers and zeros are the likelier lies.
            let word = match rng.u8(..4) {
                0 => 0,
                1 => rng.u64(..512),
                _ => rng.u64(..),
            };
            stroke.extend_from_slice(&word.to_le_bytes());
        }
        let at = 8 * rng.u64(..=room);
        if session.memfd.write_all_at(&stroke, at).is_ok() {
            counts.words += count as u64;
        }
    }
    session.ring(counts);
    session.take(counts);
    session.fill(rng, counts);
}

/// One cursor that cannot be.
pub(crate) fn cursors(session: &mut Session, rng: &mut Rng, counts: &mut Counts) {
    let (submission, completion) = (
        session.region.ring(Ring::Submission),
        session.region.ring(Ring::Completion),
    );
    let entries = session.layout.entries();
    let tail = submission.tail().load(Ordering::Relaxed);
    let head = completion.head().load(Ordering::Relaxed);
    match rng.u8(..8) {
        0 => submission.tail().store(rng.u64(..), Ordering::Release),
        // One more than the ring holds.
        1 => {
            let word = tail.wrapping_add(u64::from(entries) + 1);
            submission.tail().store(word, Ordering::Release);
        }
        // Backwards.
        2 => submission
            .tail()
            .store(tail.wrapping_sub(1), Ordering::Release),
        3 => submission
            .tail()
            .store(u64::from(u32::MAX), Ordering::Release),
        4 => completion.head().store(rng.u32(..), Ordering::Release),
        5 => completion
            .head()
            .store(head.wrapping_sub(1), Ordering::Release),
        // What the gateway writes.
        6 => submission.head().store(rng.u32(..), Ordering::Release),
        _ => completion.tail().store(rng.u64(..), Ordering::Release),
    }
    counts.cursors += 1;
    session.ring(counts);
    session.take(counts);
    session.fill(rng, counts);
}

/// One ring entry that names no block, or one twice, with a tail in good form.
pub(crate) fn entries(session: &Session, rng: &mut Rng, counts: &mut Counts) {
    let ring = session.region.ring(Ring::Submission);
    let entries = session.layout.entries();
    let block = match rng.u8(..4) {
        0 => entries,
        1 => rng.u32(..),
        2 => u32::MAX,
        // What is most likely on its way.
        _ => session.newest.unwrap_or_else(|| rng.u32(..entries)),
    };
    let [p0, p1, p2, p3, ..] = ring.tail().load(Ordering::Relaxed).to_le_bytes();
    let position = u32::from_le_bytes([p0, p1, p2, p3]);
    ring.slot(position).store(block, Ordering::Relaxed);
    // The newest index may differ from the slot.
    let newest = if rng.bool() { block } else { rng.u32(..) };
    let next = u64::from(position.wrapping_add(1));
    ring.tail()
        .store((u64::from(newest) << 32) | next, Ordering::Release);
    counts.entries += 1;
    session.ring(counts);
}

/// Submits in good form while another thread changes lengths, routes, flags and bodies.
pub(crate) fn descriptors(
    session: &mut Session,
    rng: &mut Rng,
    counts: &mut Counts,
    until: Instant,
) {
    let (over, flips) = (AtomicBool::new(false), AtomicU64::new(0));
    let region = session.region.clone();
    let entries = session.layout.entries();
    let mut other = rng.fork();
    let good = session.sqe(rng).to_words();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for block in 0..entries {
                    let words = flipped(&good, &mut other);
                    region.store_descriptor(block, &words);
                }
                flips.fetch_add(u64::from(entries), Ordering::Relaxed);
            }
        });
        while session.ended().is_none() && Instant::now() < until {
            session.fill(rng, counts);
            session.take(counts);
            thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
    let flips = flips.into_inner();
    counts.flips += flips;
    counts.words += flips * DESCRIPTOR_WORDS as u64;
}

/// A descriptor with one word as it should not be.
fn flipped(good: &Words, rng: &mut Rng) -> Words {
    let mut words = *good;
    if let Some(word) = words.get_mut(rng.usize(..DESCRIPTOR_WORDS)) {
        *word = match rng.u8(..3) {
            0 => rng.u64(..),
            1 => *word ^ (1 << rng.u32(..64)),
            _ => u64::from(u32::MAX),
        };
    }
    words
}

/// Holes in pages that are in use.
pub(crate) fn holes(session: &mut Session, rng: &mut Rng, counts: &mut Counts) {
    let pages = session.layout.region_bytes() / 4096;
    for _ in 0..16 {
        let first = rng.u64(..pages);
        // Mostly small ones, or the session would be empty before it begins.
        let most = if rng.u8(..16) == 0 { pages } else { 3 };
        let count = rng.u64(1..=most.min(pages - first));
        let bounds = (
            i64::try_from(first * 4096).unwrap_or(0),
            i64::try_from(count * 4096).unwrap_or(0),
        );
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if fallocate(&session.memfd, flags, bounds.0, bounds.1).is_ok() {
            counts.punches += 1;
        }
        session.take(counts);
        session.fill(rng, counts);
    }
}

/// Attempts on the size and the seals of the memory, and on the page that only the gateway writes.
pub(crate) fn resize(session: &Session, rng: &mut Rng, counts: &mut Counts) {
    let bytes = i64::try_from(session.layout.region_bytes()).unwrap_or(0);
    let memfd = &session.memfd;
    let page = session.page.try_clone().map(std::fs::File::from);
    let attempts = [
        ftruncate(memfd, 0),
        ftruncate(memfd, rng.i64(..bytes)),
        ftruncate(memfd, bytes + 4096),
        fallocate(memfd, FallocateFlags::empty(), bytes, 4096),
        fcntl(memfd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).map(drop),
        fcntl(memfd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE)).map(drop),
        ftruncate(&session.page, 0),
        page.and_then(|page| page.write_all_at(&[1; 4], 0))
            .map_err(|_| Errno::EPERM),
    ];
    for attempt in attempts {
        match attempt {
            Ok(()) => counts.seals_broken += 1,
            Err(_) => counts.seals_held += 1,
        }
    }
    // The gateway's words, which it must not read back.
    let state = session.region.line32(Line::GatewayState);
    state.store(rng.u32(..), Ordering::Relaxed);
}
