//! What a worker sleeps on, and what rings it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

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
