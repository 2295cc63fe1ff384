//! A [`Client`] in a loop of the program's own, which waits for many descriptors.

use std::os::fd::BorrowedFd;

use super::handle::Client;
use super::session::Session;
use crate::doorbell;
use crate::sys::Peer;

impl Client {
    /// The session's socket, to wait for until it is readable: between [`arm`](Self::arm) and
    /// [`disarm`](Self::disarm), and for nothing else. Neither read from it nor write to it: that ends the
    /// session.
    ///
    /// `None` while detached. Another session has another socket: watch it anew after a
    /// [`submit`](Self::submit), [`loan`](Self::loan) or [`call`](Self::call) that attached again, which
    /// is one before which [`is_attached`](Self::is_attached) was `false`, and after which it is `true`.
    /// Nothing else attaches. The socket of a session that has ended is closed: `epoll` forgets it by
    /// itself.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.session().map(Session::socket)
    }

    /// Flushes, says that this thread is about to wait for [`socket`](Self::socket), and then looks once
    /// more: whether there is nothing to take. Only after `true` is the thread woken. `false` also without a
    /// session.
    ///
    /// A loop that waits with `poll`, `epoll` or what is built on them calls in this order:
    ///
    /// 1. `arm`. On `false` there is something to take, or no session to wait for: go to 4 at once.
    /// 2. Wait until [`socket`](Self::socket) is readable, among the loop's other descriptors. This needs no
    ///    bound of its own: a gateway that ends closes the socket, which is readable then.
    /// 3. [`disarm`](Self::disarm), whatever has ended the wait.
    /// 4. [`poll`](Self::poll) until there is nothing more, and submit.
    ///
    /// Between 1 and 3 call nothing else of the handle. A socket that is readable is no promise of a
    /// completion.
    #[must_use = "to wait beside a completion is to wait in vain"]
    pub fn arm(&mut self) -> bool {
        self.flush();
        self.arm_bell(doorbell::ASLEEP_ON_SOCKET).is_some()
    }

    /// Says that this thread is awake, takes the packets that have woken it, and finds out whether the
    /// gateway has ended the session: what is outstanding is then completed. Never waits.
    pub fn disarm(&mut self) {
        self.disarm_bell();
        if self.take_packets() == Some(Peer::Gone) {
            self.check_presence();
        }
    }
}
