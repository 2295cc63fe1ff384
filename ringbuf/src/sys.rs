//! The one room of system calls: memfds, eventfds, futexes, epoll, descriptor passing, time.
//!
//! Everything here is a thin, safe wrapper. Calls that could block on something a hostile peer
//! holds are not among them: a futex wake cannot block, socket sends carry `MSG_DONTWAIT`, and the
//! gateway never reads or writes an eventfd that a client also holds.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recv, recvmsg, send, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

use crate::primitive::AtomicU32;

/// The monotonic clock, in nanoseconds (`CLOCK_MONOTONIC`). The same clock in every process of the
/// machine.
///
/// ```
/// let before = ipc_ringbuf::monotonic_ns();
/// assert!(ipc_ringbuf::monotonic_ns() >= before);
/// ```
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |at| {
        let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(at.tv_nsec()).unwrap_or(0);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
    })
}

/// Gives the processor to another runnable thread, if there is one.
#[inline]
pub fn yield_now() {
    std::thread::yield_now();
}

/// Sleeps for a while that nothing can end early: between two tries of what cannot be waited for.
pub(crate) fn pause(time: Duration) {
    let end = monotonic_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let left = end.saturating_sub(monotonic_ns());
        if left == 0 {
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}

/// Makes the memory of a region: `bytes` long, allocated, and sealed so that nobody can change its
/// size or seal it further.
///
/// # Errors
/// The operating system's: no descriptors, no memory.
pub fn sealed_memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let fd = unsealed_memfd(name, bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

fn unsealed_memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_NOEXEC_SEAL is Linux 6.3; older kernels say EINVAL.
    let noexec = MFdFlags::from_bits_retain(8);
    let fd = memfd_create(name, flags | noexec).or_else(|error| match error {
        Errno::EINVAL => memfd_create(name, flags),
        other => Err(other),
    })?;
    let len = i64::try_from(bytes).map_err(io::Error::other)?;
    nix::unistd::ftruncate(&fd, len)?;
    // Allocated now, so that a full machine refuses the attach and not a store much later.
    nix::fcntl::fallocate(&fd, nix::fcntl::FallocateFlags::empty(), 0, len)?;
    Ok(fd)
}

/// The length of a file, in bytes.
///
/// # Errors
/// The operating system's.
pub(crate) fn file_size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let size = nix::sys::stat::fstat(fd)?.st_size;
    u64::try_from(size).map_err(io::Error::other)
}

/// Checks that nobody can shrink a memory file: a mapping of it could vanish, and the next access
/// would kill the process.
///
/// # Errors
/// `InvalidData` when it is not sealed so.
pub fn check_sealed(fd: BorrowedFd<'_>) -> io::Result<()> {
    // A file that knows no seals has none.
    let seals = fcntl(fd, FcntlArg::F_GET_SEALS).unwrap_or(0);
    if SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the gateway's memory is not sealed against shrinking",
        ))
    }
}

/// Gives the memory of a memfd back although others may still hold it: they read zeros. The first
/// page goes first, so whoever reads a zero elsewhere and then looks there finds zeros too.
///
/// # Errors
/// The operating system's.
pub fn give_back(fd: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    use nix::fcntl::FallocateFlags as Flags;
    let flags = Flags::FALLOC_FL_PUNCH_HOLE | Flags::FALLOC_FL_KEEP_SIZE;
    for len in [u64::from(PAGE), bytes] {
        let len = i64::try_from(len).map_err(io::Error::other)?;
        nix::fcntl::fallocate(fd, flags, 0, len)?;
    }
    Ok(())
}

/// A page with one word that its maker writes and others can only read.
#[derive(Debug)]
pub struct BellPage {
    map: MmapRaw,
    fd: Option<OwnedFd>,
}

const PAGE: u32 = 4096;

impl BellPage {
    /// Makes the page. Its descriptor can be passed on: it is sealed so that whoever gets it can
    /// neither write it nor map it writable.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create() -> io::Result<Self> {
        let fd = unsealed_memfd("ipc-gateway-bell", u64::from(PAGE))?;
        let map = MmapOptions::new().len(PAGE as usize).map_raw(&fd)?;
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_FUTURE_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self { map, fd: Some(fd) })
    }

    /// Maps a page that somebody else made, for reading.
    ///
    /// # Errors
    /// The operating system's, or `InvalidData` when it is too small.
    pub fn open(fd: BorrowedFd<'_>) -> io::Result<Self> {
        if file_size(fd)? < u64::from(PAGE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bell page is too small",
            ));
        }
        Ok(Self {
            map: MmapOptions::new()
                .len(PAGE as usize)
                .map_raw_read_only(&fd)?,
            fd: None,
        })
    }

    /// The word. Only the maker may store to it: others have it mapped read-only.
    #[inline]
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is one page, page-aligned, and lives as long as `self`. Those who
        // mapped it read-only only load (`Client` does; a plain load of a u32 never writes).
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        unsafe {
            &*self.map.as_ptr().cast::<AtomicU32>()
        }
    }

    /// The descriptor to pass on; only the maker has it.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }
}

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

/// Wakes everybody who sleeps on `word`. Never blocks.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is live for the call; FUTEX_WAKE only uses its address.
    let _ = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Makes an eventfd that a client rings and a worker's [`Bell`] waits for.
///
/// # Errors
/// The operating system's.
pub fn eventfd() -> io::Result<OwnedFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?.into())
}

/// Rings an eventfd that this process holds as a client or alone.
pub fn ring_eventfd(fd: BorrowedFd<'_>) {
    // A full counter is a bell that rings already.
    let _ = nix::unistd::write(fd, &1_u64.to_ne_bytes());
}

/// What [`Bell`]'s own eventfd is watched as.
const OWN_KEY: u64 = u64::MAX;

/// What a worker sleeps on: the eventfds of its sessions, edge-triggered, and one of its own.
#[derive(Debug)]
pub struct Bell {
    epoll: Epoll,
    own: OwnedFd,
}

impl Bell {
    /// Makes the bell.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let own = eventfd()?;
        let bell = Self { epoll, own };
        bell.watch(bell.own.as_fd(), OWN_KEY)?;
        Ok(bell)
    }

    /// Also wakes for this eventfd, and then says `key`, which is below `u64::MAX`. Edge-triggered:
    /// the eventfd is never read, so that its other holder cannot make a read or write of it block.
    ///
    /// # Errors
    /// The operating system's.
    pub fn watch(&self, eventfd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, key);
        Ok(self.epoll.add(eventfd, event)?)
    }

    /// Wakes no longer for this eventfd.
    pub fn forget(&self, eventfd: BorrowedFd<'_>) {
        let _ = self.epoll.delete(eventfd);
    }

    /// A handle that rings this bell from another thread of this process.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ringer(&self) -> io::Result<Ringer> {
        Ok(Ringer {
            own: self.own.try_clone()?,
        })
    }

    /// Sleeps until rung, at most `timeout`, which is rounded up to milliseconds. A zero timeout
    /// only takes what has been rung. Returns who has rung, at most 64 at a time.
    pub fn wait(&self, timeout: Duration) -> Rings {
        // Rounded down, a sleeper would look without pause for the last part of a millisecond.
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX);
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        Rings { events, count }
    }

    /// The descriptor that is readable while rings wait to be taken.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Who has rung a [`Bell`].
#[derive(Debug)]
pub struct Rings {
    events: [EpollEvent; 64],
    count: usize,
}

impl Rings {
    /// The keys of the watched eventfds that were rung; the bell's own is not among them.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        let rung = self.events.iter().take(self.count).map(EpollEvent::data);
        rung.filter(|key| *key != OWN_KEY)
    }
}

/// Rings a [`Bell`] of the same process. Also a [`std::task::Wake`].
#[derive(Debug)]
pub struct Ringer {
    own: OwnedFd,
}

impl Ringer {
    /// Rings.
    pub fn ring(&self) {
        ring_eventfd(self.own.as_fd());
    }
}

impl std::task::Wake for Ringer {
    fn wake(self: std::sync::Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.ring();
    }
}

/// Connects to a listening `SOCK_SEQPACKET` socket. `timeout` bounds every later receive.
///
/// # Errors
/// The operating system's.
pub fn connect_seqpacket(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let bound = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
    setsockopt(&fd, sockopt::ReceiveTimeout, &bound)?;
    setsockopt(&fd, sockopt::SendTimeout, &bound)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Makes the two ends of a connected `SOCK_SEQPACKET` socket, for both ends of a session in one
/// process.
///
/// # Errors
/// The operating system's.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok(pair)
}

/// Whether a read of this descriptor would return at once. Never waits and takes nothing.
#[must_use]
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let _ = nix::poll::poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    fd.any().unwrap_or(false)
}

/// Whether connecting failed because the listening socket is not a `SOCK_SEQPACKET` one.
pub(crate) fn is_other_socket_type(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

/// Accepts a connection; the new socket is non-blocking.
///
/// # Errors
/// The operating system's; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user that the process at the other end ran as when the connection was made.
///
/// # Errors
/// The operating system's.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?.uid())
}

/// The groups of the process at the other end besides its primary one, as they were when the
/// connection was made (`SO_PEERGROUPS`).
///
/// # Errors
/// The operating system's.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let each = size_of::<libc::gid_t>();
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let room = groups.len();
        let mut bytes = libc::socklen_t::try_from(room * each).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `bytes` bytes to `groups`, which has so many and may
        // hold any bits, and the number that it has or needs to `bytes`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).map_err(io::Error::other)? / each;
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= room {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Takes over a descriptor that this process was started with, such as a socket of the service
/// manager. It is closed at the next `exec` from then on.
///
/// # Errors
/// `InvalidInput` when the number is one of the three standard ones, or of a descriptor that this
/// process has opened or taken over before; the operating system's when there is none.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    static TAKING: Mutex<()> = Mutex::new(());
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if number <= libc::STDERR_FILENO {
        return refused("a standard descriptor cannot be taken over");
    }
    let _one_at_a_time = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: asks for the flags of a number, which may be any.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return refused("the descriptor was not inherited, or was taken over before");
    }
    // SAFETY: sets the flag of an open descriptor; no descriptor is closed or made.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: without FD_CLOEXEC it came through `exec`: everything here and in the standard
    // library opens with the flag. So nobody in this process owned it, and as it has the flag now
    // nobody gets it a second time.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The user that this process runs as.
#[must_use]
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Sends one packet with descriptors. Never waits.
///
/// # Errors
/// The operating system's; `WouldBlock` when the peer does not read.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::WriteZero, "packet was cut"))
    }
}

/// Receives one packet into `buffer`, and its descriptors. `Ok(None)` when the peer has closed.
///
/// # Errors
/// The operating system's; `InvalidData` when the packet or its descriptors did not fit.
pub fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for fd in received {
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet is too large",
        ));
    }
    Ok((message.bytes != 0).then_some((message.bytes, fds)))
}

/// Receives one packet without descriptors: those sent with it are dropped by the kernel. Never
/// waits. `Ok(None)` when the peer has closed.
///
/// # Errors
/// The operating system's; `InvalidData` when the packet did not fit or carried descriptors.
pub fn receive_plain(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut iov = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, None, MsgFlags::MSG_DONTWAIT)?;
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet is too large",
        ));
    }
    Ok((message.bytes != 0).then_some(message.bytes))
}

/// Sends one byte, to wake a peer that waits for its socket. Never waits; a full socket is a peer
/// that has bytes to wake for.
pub(crate) fn nudge(socket: BorrowedFd<'_>, byte: u8) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(socket.as_raw_fd(), &[byte], flags);
}

/// Takes all packets that wait on the socket; says whether the peer is still there. The last
/// packet's first bytes come back for those that say why a session ended.
pub(crate) fn drain(socket: BorrowedFd<'_>) -> (Peer, Option<[u8; 3]>) {
    let mut last = None;
    let mut buffer = [0; 64];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return (Peer::Gone, last),
            Ok(_) => last = buffer.first_chunk().copied().or(last),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return (Peer::Present, last),
            Err(_) => return (Peer::Gone, last),
        }
    }
}

/// Whether the other end of a socket is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is.
    Present,
    /// It has closed, or its process has ended.
    Gone,
}

/// Whether the socket has been closed at the other end, without reading from it.
pub(crate) fn hung_up(socket: BorrowedFd<'_>) -> Peer {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let _ = nix::poll::poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    match fd.revents() {
        Some(events) if events.intersects(gone) => Peer::Gone,
        _ => Peer::Present,
    }
}

/// Watches a descriptor for reading on the tokio runtime that this is called on.
///
/// # Errors
/// The operating system's.
#[cfg(feature = "tokio")]
pub fn watch_readable(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    use tokio::io::{Interest, unix::AsyncFd};
    // SAFETY: an `OwnedFd` is open and keeps its number for as long as it lives, and the
    // `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
