//! Sleeping on a word of shared memory. Waking cannot block, whatever the sleeper does.

use std::time::Duration;

use crate::primitive::AtomicU32;

/// Sleeps while `word` is `expected`, at most `timeout`. Returns early for any reason it likes.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: the word is live for the call, the timeout too; FUTEX_WAIT writes neither. Not
    // FUTEX_PRIVATE: the waker is another process.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
            core::ptr::null::<u32>(),
            0_u32,
        )
    };
}

/// Wakes one of those who sleep on `word`: there is one, unless a peer wants to make the wake long. Never
/// blocks.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is live for the call; FUTEX_WAKE only uses its address.
    let _ = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
