//! What a cycle lets others see when they ask.

use super::super::mailbox::{Look, Notice};
use super::Worker;
use crate::bridge::Upstream;
use crate::clock::{Clock, Nanos};

impl<U: Upstream, C: Clock> Worker<U, C> {
    /// Brings everything up to date that is not counted in public.
    #[cold]
    pub(super) fn show(&mut self, look: Look, now: Nanos) {
        if look == Look::Somebody {
            self.onlooker.asked(now);
        }
        for seat in 0..self.sessions.seats() {
            let Ok(seat) = u32::try_from(seat) else { break };
            if let Some(session) = self.sessions.at(seat) {
                session.show();
            }
        }
        self.gates.show();
        self.tell(Notice::Shown {
            worker: self.number,
        });
    }
}
