//! Deadlines: a hashed timing wheel (Varghese and Lauck, SOSP 1987, scheme 6).
//!
//! A deadline falls into the slot of its tick, modulo the number of slots; what lies more than one
//! turn ahead stays in its slot and is looked at once a turn. Insertion and removal are O(1) and
//! allocate nothing once the slab has grown: the lists run through a table indexed by place.
//! A timer fires at the first tick after its deadline: at most [`TICK`] late, never early.

use core::time::Duration;

use crate::clock::Nanos;

/// One tick is two to this power nanoseconds.
const TICK_SHIFT: u32 = 20;
/// The wheel's resolution: 1.05 ms.
pub const TICK: Duration = Duration::from_nanos(1 << TICK_SHIFT);
/// Slots: one turn is 4.3 s, a little less than the usual timeout of 5 s.
const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Tick at which to fire; 0 while not in the wheel.
    tick: u64,
}

const UNLINKED: Link = Link {
    previous: NONE,
    next: NONE,
    tick: 0,
};

/// The wheel.
#[derive(Debug)]
pub struct Timers {
    heads: Vec<u32>,
    links: Vec<Link>,
    /// All ticks up to this one have fired.
    done: u64,
    armed: usize,
}

/// The first tick that is not before the moment.
const fn tick_of(at: Nanos) -> u64 {
    (at.0 >> TICK_SHIFT) + 1
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

impl Timers {
    /// An empty wheel that stands at `now`.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self {
            heads: vec![NONE; SLOTS],
            links: Vec::new(),
            done: now.0 >> TICK_SHIFT,
            armed: 0,
        }
    }

    /// Timers that are armed.
    #[must_use]
    pub const fn armed(&self) -> usize {
        self.armed
    }

    /// Arms the timer of a place, which must not be armed.
    #[inline]
    pub fn arm(&mut self, place: u32, deadline: Nanos) {
        let tick = tick_of(deadline).max(self.done + 1);
        let at = place as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, UNLINKED);
        }
        let Some(head) = self.heads.get_mut(slot_of(tick)) else {
            return;
        };
        let next = core::mem::replace(head, place);
        if let Some(link) = self.links.get_mut(at) {
            *link = Link {
                previous: NONE,
                next,
                tick,
            };
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = place;
        }
        self.armed += 1;
    }

    /// Disarms the timer of a place; nothing happens when it is not armed.
    #[inline]
    pub fn disarm(&mut self, place: u32) {
        let Some(link) = self.links.get_mut(place as usize) else {
            return;
        };
        if link.tick == 0 {
            return;
        }
        let Link {
            previous,
            next,
            tick,
        } = core::mem::replace(link, UNLINKED);
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = previous;
        }
        if previous == NONE {
            if let Some(head) = self.heads.get_mut(slot_of(tick)) {
                *head = next;
            }
        } else if let Some(link) = self.links.get_mut(previous as usize) {
            link.next = next;
        }
        self.armed -= 1;
    }

    /// Disarms every timer whose deadline has passed and appends its place to `fired`.
    pub fn expire(&mut self, now: Nanos, fired: &mut Vec<u32>) {
        let until = now.0 >> TICK_SHIFT;
        if until <= self.done {
            return;
        }
        // After a long sleep one turn is enough: it visits every slot.
        let from = (self.done + 1).max(until.saturating_sub(SLOTS as u64 - 1));
        self.done = until;
        if self.armed == 0 {
            return;
        }
        for tick in from..=until {
            let mut place = self.heads.get(slot_of(tick)).copied().unwrap_or(NONE);
            while let Some(link) = self.links.get(place as usize).copied() {
                if link.tick <= until {
                    self.disarm(place);
                    fired.push(place);
                }
                place = link.next;
            }
        }
    }

    /// A moment at or before which no timer fires; [`Nanos::NEVER`] when none is armed. Looks at
    /// slots, so it can be too early by whole turns, never too late.
    #[must_use]
    pub fn next_due(&self) -> Nanos {
        if self.armed == 0 {
            return Nanos::NEVER;
        }
        let turn = (self.done + 1)..=(self.done + SLOTS as u64);
        let filled = |tick: &u64| {
            self.heads
                .get(slot_of(*tick))
                .is_some_and(|head| *head != NONE)
        };
        let tick = turn.into_iter().find(filled).unwrap_or(self.done + 1);
        Nanos(tick << TICK_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn fired(timers: &mut Timers, at: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        timers.expire(Nanos(at), &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn timer_fires_after_its_deadline_and_once() {
        let mut timers = Timers::new(Nanos(0));
        timers.arm(3, Nanos(10_000_000));
        assert_eq!(fired(&mut timers, 10_000_000), [0_u32; 0]);
        assert_eq!(fired(&mut timers, 10_000_000 + (1 << TICK_SHIFT)), [3]);
        assert_eq!(fired(&mut timers, u64::MAX), [0_u32; 0]);
        assert_eq!(timers.next_due(), Nanos::NEVER);
    }

    #[test]
    fn deadline_that_has_passed_fires_at_the_next_tick() {
        let mut timers = Timers::new(Nanos(1 << 40));
        timers.arm(0, Nanos(0));
        assert_eq!(fired(&mut timers, (1 << 40) + (1 << TICK_SHIFT)), [0]);
    }

    proptest! {
        #[test]
        fn wheel_agrees_with_a_sorted_map(
            steps in prop::collection::vec((0_u8..3, 0_u32..64, 0_u64..30_000_000_000), 1..200)
        ) {
            let mut timers = Timers::new(Nanos(0));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0_u64;
            for (what, place, nanos) in steps {
                match what {
                    0 if !model.contains_key(&place) => {
                        timers.arm(place, Nanos(now + nanos));
                        model.insert(place, now + nanos);
                    }
                    1 => {
                        timers.disarm(place);
                        model.remove(&place);
                    }
                    _ => {
                        prop_assert!(timers.next_due().0 <= model.values().min()
                            .map_or(u64::MAX, |first| (first.max(&now) & !0xf_ffff) + (2 << TICK_SHIFT)));
                        now += nanos / 3;
                        for place in fired(&mut timers, now) {
                            let deadline = model.remove(&place);
                            prop_assert!(deadline.is_some_and(|at| at <= now));
                        }
                        let slack = 2 << TICK_SHIFT;
                        prop_assert!(model.values().all(|at| at + slack > now));
                    }
                }
            }
        }
    }
}
