//! The service manager, told over its socket as `sd_notify(3)` says, and never waited for: one that
//! does not read would otherwise stop the control thread.

use core::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;

use ipc_ringbuf::sys;
use nix::poll::{PollFd, PollFlags, poll};
use sd_notify::NotifyState;

/// Longest time that the manager may take to read one message, in milliseconds.
const STORE_PATIENCE: u16 = 2000;

/// The manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// Whether the last message was not taken: only the first is logged.
    has_failed: Cell<bool>,
}

impl Manager {
    /// Tells it.
    pub(super) fn tell(&self, state: &NotifyState<'_>) {
        self.tell_all(std::slice::from_ref(state));
    }

    /// Tells it that the configuration is read again, which is over with [`NotifyState::Ready`].
    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        let states: Vec<_> = [Ok(NotifyState::Reloading), now]
            .into_iter()
            .flatten()
            .collect();
        self.tell_all(&states);
    }

    /// Tells it several things at once.
    pub(super) fn tell_all(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            return;
        };
        let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
        match send(&socket, &lines.join("\n")) {
            Ok(()) => self.has_failed.set(false),
            Err(error) if !self.has_failed.replace(true) => {
                tracing::warn!(%error, "the service manager does not take what it is told");
            }
            Err(_) => {}
        }
    }

    /// How many descriptors it keeps for the next gateway, if any: systemd says so from version 254 on,
    /// the unit can say so before.
    pub(super) fn store_size() -> Option<usize> {
        env::var_os("NOTIFY_SOCKET")?;
        let most: usize = env::var("FDSTORE").ok()?.parse().ok()?;
        (most > 0).then_some(most)
    }

    /// Tells it to keep what has these names no longer. One that was not told would hand them to a later
    /// gateway once more, so each message waits until there is room for it.
    /// `left` counts those that it was not told of yet.
    pub(super) async fn forget(names: Vec<String>, left: Rc<Cell<usize>>) {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|_| !names.is_empty()) else {
            return;
        };
        if let Err(error) = forget_at(&path, &names, &left).await {
            tracing::warn!(%error, "the service manager keeps descriptors that were taken over");
        }
    }

    /// Gives it a descriptor to keep under this name. Waits until there is room for the message,
    /// but not for ever.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        let socket = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
        let sender = UnixDatagram::unbound()?;
        sender.connect_addr(&address(&socket)?)?;
        let text = format!("FDSTORE=1\nFDNAME={name}\n");
        loop {
            match sys::send_packet(sender.as_fd(), text.as_bytes(), &[fd]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(sender.as_fd(), PollFlags::POLLOUT)];
                    if poll(&mut fds, STORE_PATIENCE)? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                result => return result,
            }
        }
    }
}

async fn forget_at(path: &OsStr, names: &[String], left: &Cell<usize>) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.connect_addr(&address(path)?)?;
    sender.set_nonblocking(true)?;
    let sender = tokio::net::UnixDatagram::from_std(sender)?;
    for name in names {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={name}");
        sender.send(text.as_bytes()).await?;
        left.set(left.get().saturating_sub(1));
    }
    Ok(())
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = address(socket)?;
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let reader = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "WATCHDOG=1").err());
        assert_eq!(
            full.map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        let mut text = [0; 32];
        let bytes = reader.recv(&mut text).unwrap();
        assert_eq!(&text[..bytes], b"WATCHDOG=1");
    }

    #[test]
    fn a_name_without_a_file_is_reached() {
        let name = format!("ipcgw-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let reader = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        let mut text = [0; 32];
        assert_eq!(reader.recv(&mut text).unwrap(), 7);
    }
}
