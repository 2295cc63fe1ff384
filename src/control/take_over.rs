//! From what another gateway has left to sessions: as at attach, but for the welcome.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{Refusal, farewell};
use ipc_ringbuf::sys;
use nix::sys::socket::{SockType, getsockopt, sockopt};

use super::attach::{self, Left, Peer};
use super::greet::{ANYBODY, pidfd, watch};
use super::handover::{Heritage, Record, Session};
use super::room::{Room, refusal};

/// Takes over the sessions that another gateway has left. Those that cannot be are ended.
pub(super) fn take_over(room: &Rc<RefCell<Room>>, mut heritage: Heritage) {
    let state = core::mem::take(&mut heritage.state);
    if state.sessions.is_empty() {
        return;
    }
    let keeps_routes = room.borrow().has_routes(&state.routes);
    if !keeps_routes {
        tracing::warn!("the routes have changed: clients attach again");
    }
    let mut taken = 0;
    for record in &state.sessions {
        let keys = [record.region, record.eventfd, record.socket];
        let [Some(memfd), Some(eventfd), Some(client)] = keys.map(|key| heritage.take(key)) else {
            // Its client has gone meanwhile, and the service manager has noticed.
            continue;
        };
        if !keeps_routes {
            end(record, memfd, eventfd, &client);
            continue;
        }
        let spare = memfd.try_clone();
        match adopt(room, record, (memfd, eventfd), &client) {
            Ok(()) => taken += 1,
            Err(refusal) => {
                let (session, reason) = (record.session, refusal.reason);
                tracing::warn!(session, %reason, detail = refusal.detail, "session not taken over");
                sys::send_packet(client.as_fd(), &farewell(reason), &[]).ok();
                if let (Ok(memfd), Ok(layout)) = (spare, record.layout()) {
                    let uid = Peer::of(client.as_fd()).map_or(ANYBODY, |peer| peer.uid);
                    room.borrow().discard(uid, memfd, layout.region_bytes());
                }
            }
        }
    }
    tracing::info!(taken, left = state.sessions.len(), "sessions taken over");
}

fn adopt(
    room: &Rc<RefCell<Room>>,
    record: &Record,
    fds: (OwnedFd, OwnedFd),
    client: &OwnedFd,
) -> Result<(), Refusal> {
    let os = |error: io::Error| refusal(EndReason::Overloaded, error);
    if getsockopt(client, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Err(refusal(EndReason::RingCorrupt, "its socket is none"));
    }
    let watched = client
        .try_clone()
        .and_then(sys::watch_readable)
        .map_err(os)?;
    let pidfd = pidfd(client)?;
    room.borrow_mut().adopt(record, fds, client)?;
    watch(room, record.session, watched, pidfd);
    Ok(())
}

impl Session {
    /// Ends it as a gateway does that has drained.
    pub(super) fn end(self) {
        end(&self.record, self.memfd, self.eventfd, &self.client);
    }
}

/// Ends a session as a gateway does that has drained.
fn end(record: &Record, memfd: OwnedFd, eventfd: OwnedFd, client: &OwnedFd) {
    let Ok(layout) = record.layout() else {
        return;
    };
    let left = Left {
        memfd,
        eventfd,
        layout,
        cursors: record.cursors(),
    };
    // What is no session has nobody who waits for its end.
    attach::end_in_order(&left, client).ok();
}
