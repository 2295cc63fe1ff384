//! Calls on a socket that a signal interrupts.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::sys::socket::{GetSockOpt, SetSockOpt, getsockopt, setsockopt};
use nix::sys::time::TimeVal;

use super::time::monotonic_ns;

/// Repeats a call on a socket for as long as signals interrupt it. `SA_RESTART` does not: a call that
/// the socket bounds is never restarted by the kernel, not even after SIGSTOP and SIGCONT. `bound` is
/// the socket's option for this kind of call; it bounds all of them together.
///
/// # Errors
/// Those of the call but `Interrupted`; `WouldBlock` when the bound has passed.
pub(super) fn repeat<T, O>(
    socket: BorrowedFd<'_>,
    bound: O,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T>
where
    O: GetSockOpt<Val = TimeVal> + SetSockOpt<Val = TimeVal> + Copy,
{
    let start = monotonic_ns();
    let mut result = call();
    if !is_interrupted(&result) {
        return result;
    }
    let whole = getsockopt(&socket, bound)?;
    let whole_ns = nanos(whole);
    while is_interrupted(&result) {
        // None at all means for ever.
        if whole_ns != 0 {
            let left = whole_ns.saturating_sub(monotonic_ns().saturating_sub(start));
            if left == 0 {
                result = Err(io::ErrorKind::WouldBlock.into());
                break;
            }
            setsockopt(&socket, bound, &timeval(left))?;
        }
        result = call();
    }
    setsockopt(&socket, bound, &whole)?;
    result
}

fn is_interrupted<T>(result: &io::Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

fn nanos(time: TimeVal) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(micros.saturating_mul(1_000))
}

/// Rounded up: zero would mean for ever.
fn timeval(ns: u64) -> TimeVal {
    let time = Duration::from_micros(ns.div_ceil(1_000));
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    TimeVal::new(seconds, i64::from(time.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket, sockopt,
    };

    use super::*;
    use crate::sys::{connect_seqpacket, packet_pair, pause, receive_packet, send_packet};

    const BOUND: Duration = Duration::from_millis(300);
    const STEP: Duration = Duration::from_millis(10);

    extern "C" fn nothing(_: libc::c_int) {}

    /// Does this while a signal comes every 10 ms, with a handler that asks for restarts; `beside`
    /// when 5 have come.
    fn interrupted<T>(call: impl FnOnce() -> T, beside: impl FnOnce() + Send) -> T {
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: all zeros are a valid `sigaction`: no flags, no mask, the default action.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler does nothing, which it may do at any time.
        let set = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        // SAFETY: asks who calls.
        let caller = unsafe { libc::pthread_self() };
        let done = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let interrupting = scope.spawn(move || {
                let mut beside = Some(beside);
                // Bounded, so that a call that begins anew each time ends as well.
                for count in 0..500 {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    if count == 5
                        && let Some(beside) = beside.take()
                    {
                        beside();
                    }
                    // SAFETY: the caller outlives this scope's threads.
                    unsafe { libc::pthread_kill(caller, libc::SIGURG) };
                    pause(STEP);
                }
            });
            let result = call();
            done.store(true, Ordering::Relaxed);
            // ThreadSanitizer sees a join, and not how a scope ends.
            interrupting.join().unwrap();
            result
        })
    }

    fn assert_timed_out<T>(result: io::Result<T>, since: Instant) {
        let kind = result.err().map(|error| error.kind());
        assert_eq!(kind, Some(io::ErrorKind::WouldBlock));
        let took = since.elapsed();
        assert!(took >= BOUND && took < BOUND * 10, "{took:?}");
    }

    /// A socket at which nobody accepts, and connections that fill its queue.
    fn full(path: &std::path::Path) -> (OwnedFd, Vec<OwnedFd>) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let queued = std::iter::from_fn(|| connect_seqpacket(path, STEP).ok()).collect();
        (listener, queued)
    }

    #[test]
    fn signals_neither_end_a_receive_nor_prolong_it() {
        let (ours, theirs) = packet_pair().unwrap();
        setsockopt(&ours, sockopt::ReceiveTimeout, &timeval(300_000_000)).unwrap();
        let mut buffer = [0; 8];
        let mut receive = || receive_packet(ours.as_fd(), &mut buffer);
        let start = Instant::now();
        assert_timed_out(interrupted(&mut receive, || {}), start);
        let send = || send_packet(theirs.as_fd(), b"late", &[]).unwrap();
        let (bytes, _) = interrupted(&mut receive, send).unwrap().unwrap();
        assert_eq!(bytes, 4);
        // The bound is as it was.
        let left = getsockopt(&ours, sockopt::ReceiveTimeout).unwrap();
        assert_eq!(nanos(left), 300_000_000);
    }

    #[test]
    fn signals_neither_end_a_connect_nor_prolong_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("socket");
        let (listener, queued) = full(path);
        assert!(!queued.is_empty());
        let start = Instant::now();
        assert_timed_out(interrupted(|| connect_seqpacket(path, BOUND), || {}), start);
        let accept = || drop(crate::sys::accept(listener.as_fd()).unwrap());
        interrupted(|| connect_seqpacket(path, BOUND), accept).unwrap();
    }
}
