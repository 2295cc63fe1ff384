//! What the workers show to those who look.

use super::Room;
use crate::worker::mailbox::{Look, Mail};

impl Room {
    /// Has the workers show what they have. One that has not answered yet is not asked again.
    pub(in crate::control) fn show(&mut self, look: Look) {
        for worker in 0..self.workers.len() {
            if self.showing.insert(worker) {
                self.tell(worker, Mail::Show(look));
            }
        }
    }

    /// A worker has shown what it has.
    pub(super) fn shown(&mut self, worker: u8) {
        self.showing.remove(&usize::from(worker));
        if self.showing.is_empty() {
            self.report.shown.notify_waiters();
        }
    }
}
