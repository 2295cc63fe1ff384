//! Who gets a turn, and how much a session may have: what a greedy or hostile client could take
//! from the others.

use super::room::Room;
use super::scene::Scene;
use super::violation::{Checked, Invariant, ensure};

impl Room {
    /// The honest sessions that have something to be taken, with how much was taken from them.
    pub(crate) fn hopeful(&self, scene: &Scene) -> Vec<(u32, u32)> {
        let live = self.model.live.iter().filter_map(|id| scene.guests.get(id));
        live.filter(|guest| guest.is_honest() && guest.shown() > 0)
            .map(|guest| (guest.id, guest.accepted()))
            .collect()
    }

    /// A session that has something to be taken, and less than its share on its way, is not passed
    /// over in more cycles, in which others got a turn, than there are seats; and no session has more in flight than it has blocks.
    pub(crate) fn check_turns(&self, hopeful: &[(u32, u32)], scene: &mut Scene) -> Checked {
        // Of sessions that have ended unheard the model knows too little.
        let is_known = self.unsettled == 0;
        for (id, before) in hopeful {
            let Some(guest) = scene.guests.get_mut(id) else {
                continue;
            };
            if guest.accepted() != *before || !self.model.live.contains(id) {
                guest.passed_over = 0;
                continue;
            }
            // The last eighth of a queue is for those that have less than their share.
            let (plan, open) = (&scene.plan, scene.ledger.in_flight_of(self.number, *id));
            let seats = self.model.seats.max(1) as usize;
            let is_reserved = |capacity: usize| capacity >= 8 && open >= capacity / seats;
            if is_reserved(plan.outbound) || is_reserved(plan.max_in_flight as usize) {
                guest.passed_over = 0;
                continue;
            }
            guest.passed_over += u32::from(self.model.took);
            let most = self.model.seats;
            ensure(
                !is_known || guest.passed_over <= most,
                Invariant::Isolation,
                || {
                    format!(
                        "session {id} was passed over {} times by {most} seats",
                        guest.passed_over
                    )
                },
            )?;
        }
        for id in &self.model.live {
            let entries = scene.guests.get(id).map_or(0, |guest| guest.entries());
            let open = scene.ledger.in_flight_of(self.number, *id);
            ensure(
                !is_known || open <= entries as usize,
                Invariant::Isolation,
                || format!("session {id} has {entries} blocks and {open} requests in flight"),
            )?;
        }
        Ok(())
    }

    /// What was on a connection that is gone, and may not be repeated, has ended.
    pub(crate) fn check_lost(&self, scene: &mut Scene) -> Checked {
        let (mine, others) = core::mem::take(&mut scene.lost)
            .into_iter()
            .partition(|token| token.worker() == self.number);
        scene.lost = others;
        let mine: Vec<_> = mine;
        for token in mine {
            // The session may have ended without being heard of.
            let has_ended = !scene.ledger.is_open(token) || self.unsettled > 0;
            ensure(has_ended, Invariant::InTime, || {
                format!("{:#x} outlives its connection", token.bits())
            })?;
        }
        Ok(())
    }
}
