//! Sessions that are left to another gateway, and sessions that another has left.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::Refusal;
use ipc_ringbuf::port::Cursors;

use super::super::attach::{self, Left, Peer};
use super::super::handover::{HandOver, Record};
use super::{Room, overloaded, refusal};
use crate::worker::mailbox::Mail;

impl Room {
    /// Whether clients that attached to a gateway with these routes may keep their numbers.
    pub(in crate::control) fn has_routes(&self, names: &[String]) -> bool {
        let own = self.routes.iter().map(|route| &route.name);
        names.len() <= self.routes.len() && names.iter().zip(own).all(|(a, b)| a == b)
    }

    /// Takes over a session that another gateway has left.
    ///
    /// # Errors
    /// Why not; its client is then told, and attaches again.
    pub(in crate::control) fn adopt(
        &mut self,
        record: &Record,
        (memfd, eventfd): (OwnedFd, OwnedFd),
        client: &OwnedFd,
    ) -> Result<(), Refusal> {
        let id = record.session;
        self.next_id = self.next_id.max(id.wrapping_add(1));
        if self.live.contains_key(&id) {
            return Err(refusal(EndReason::RingCorrupt, "it was left twice"));
        }
        let peer = Peer::of(client.as_fd()).map_err(overloaded)?;
        let policy = attach::policy(&self.settings, &peer)?;
        let layout = record
            .layout()
            .map_err(|fault| refusal(EndReason::Geometry, fault))?;
        let worker = self.idlest();
        let Some(handle) = self.workers.get(worker) else {
            return Err(refusal(EndReason::Overloaded, "there is no worker"));
        };
        let socket = client.try_clone().map_err(overloaded)?;
        let load = self.load_of(peer.uid);
        let rights = attach::rights(&self.settings, &self.routes, (&peer, policy, &load));
        let left = Left {
            memfd,
            eventfd,
            layout,
            cursors: record.cursors(),
        };
        let made = attach::adopt(id, left, rights, client, handle)?;
        let name = record.name.clone();
        self.seat(id, &peer, (name, layout), (worker, load), made, socket);
        Ok(())
    }

    /// Gives the memory of a session back that was not taken over.
    pub(in crate::control) fn discard(&self, uid: u32, memfd: OwnedFd, bytes: u64) {
        // Without a thread for it the memory goes back when the client lets go of it.
        self.begin_return(uid, memfd, bytes).ok();
    }

    /// Gives the memory of a session back, unless nothing is given back at the moment.
    pub(super) fn begin_return(&self, uid: u32, memfd: OwnedFd, bytes: u64) -> io::Result<()> {
        if self.gives_back.get() {
            self.returns.begin(uid, memfd, bytes)
        } else {
            Ok(())
        }
    }

    /// Whether the memory of sessions that end is given back, or left to their clients to let go of.
    pub(in crate::control) fn give_back(&self, does: bool) {
        self.gives_back.set(does);
    }

    /// Sessions whose memory is on its way back.
    pub(in crate::control) fn returning(&self) -> u32 {
        self.returns.sessions()
    }

    /// Shows that nothing more is accepted.
    pub(in crate::control) fn show_drain(&self) {
        self.report.drain();
    }

    /// Tells the workers to take nothing more, and to finish what they have.
    pub(in crate::control) fn pause(&mut self) {
        self.draining = true;
        self.waiting.evict_all();
        self.tell_all(|| Mail::Pause);
    }

    /// Tells the workers to let go of every session.
    pub(in crate::control) fn hand_over(&mut self) {
        self.tell_all(|| Mail::HandOver);
    }

    /// What is left to the next gateway.
    pub(in crate::control) fn handed_over(&mut self) -> HandOver {
        let mut handover = core::mem::take(&mut self.handover);
        let names = self.routes.iter().map(|route| route.name.clone());
        handover.state.routes = names.collect();
        handover.state.next_session = self.next_id;
        handover
    }

    /// A worker has let go of a session.
    pub(super) fn leave(&mut self, session: u32, cursors: Cursors) {
        let Some(live) = self.live.remove(&session) else {
            return;
        };
        for watcher in &live.watchers {
            watcher.abort();
        }
        self.report.ended(session);
        let record = Record {
            session,
            name: live.name,
            entries: live.layout.entries(),
            message_size: live.layout.message_size(),
            submission_head: cursors.submission_head,
            completion_tail: cursors.completion_tail,
            completion_head: cursors.completion_head,
            carried: cursors.carried,
            region: self.handover.add(live.memfd),
            eventfd: self.handover.add(live.eventfd),
            socket: self.handover.add(live.socket),
        };
        self.handover.state.sessions.push(record);
    }
}
