//! What a worker does when a cycle found nothing: look again at once, yield the core, or park.
//!
//! Parking costs the next request a wake-up (15 to 60 us on a virtual machine), yielding costs a
//! system call and helps whoever shares the core, spinning takes the core from everybody. Which is
//! right depends on how soon work comes back, so that is what is learnt: waiting awake is trusted a
//! little more each time that it was rewarded, and less each time that it was in vain. While there is
//! trust, the wait is as long as the settings allow: one cut short costs its time and brings nothing.
//! Without trust there is none; it is tried again now and then, because that it is worth its time can
//! only be learnt by trying.

use crate::settings::IdleSettings;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: look again.
    Spin,
    /// Let another thread run, then look again.
    Yield,
    /// Sleep until rung.
    Park,
}

/// Most trust there can be: so often, by half, waiting may be in vain before there is none.
const MOST_TRUST: u32 = 8;
/// Trust that a wait in vain costs; one that was rewarded earns 1.
const COST: u32 = 2;
/// After this many parks in a row waiting is tried anew.
const PROBE_EVERY: u32 = 64;

/// Nanoseconds that a look takes when spinning, about.
const LOOK_NS: u128 = 50;

/// The adaptive strategy of one worker.
#[derive(Debug)]
pub struct Idle {
    settings: IdleSettings,
    /// Empty looks in a row that spin, while there is trust: none on a core that is shared.
    spins: u32,
    /// Whether waiting awake is worth its time; 0: it is not.
    trust: u32,
    /// Empty looks since the last work.
    empty: u32,
    /// Parks since the last time that waiting was rewarded.
    parks: u32,
}

/// Whether spinning robs another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The worker is pinned to it, and another is left for everything else.
    Own,
    /// The core is shared.
    Shared,
}

impl Idle {
    /// The strategy at start: full of trust.
    #[must_use]
    pub fn new(settings: IdleSettings, core: Core) -> Self {
        let spins = match core {
            Core::Own => settings.spin.as_nanos() / LOOK_NS,
            Core::Shared => 0,
        };
        Self {
            spins: u32::try_from(spins).unwrap_or(u32::MAX),
            settings,
            trust: MOST_TRUST,
            empty: 0,
            parks: 0,
        }
    }

    /// Work was found.
    #[inline]
    pub fn worked(&mut self) {
        if self.empty != 0 {
            self.empty = 0;
            self.parks = 0;
            self.trust = (self.trust + 1).min(MOST_TRUST);
        }
    }

    /// Nothing was found: what to do.
    #[inline]
    pub fn empty(&mut self) -> Action {
        if self.trust == 0 || self.empty >= self.spins.saturating_add(self.settings.yields) {
            return Action::Park;
        }
        self.empty += 1;
        if self.empty <= self.spins {
            Action::Spin
        } else {
            Action::Yield
        }
    }

    /// The worker has parked and is awake again.
    pub fn parked(&mut self) {
        self.empty = 0;
        self.parks = self.parks.saturating_add(1);
        self.trust = if self.parks.is_multiple_of(PROBE_EVERY) {
            COST
        } else {
            self.trust.saturating_sub(COST)
        };
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn looks_before_parking(idle: &mut Idle) -> u32 {
        let mut looks = 0;
        while idle.empty() != Action::Park {
            looks += 1;
        }
        looks
    }

    #[test]
    fn waiting_in_vain_costs_trust_and_reward_restores_it() {
        let settings = IdleSettings {
            spin: Duration::ZERO,
            yields: 16,
        };
        let mut idle = Idle::new(settings, Core::Shared);
        for _ in 0..MOST_TRUST / COST {
            assert_eq!(looks_before_parking(&mut idle), 16);
            idle.parked();
        }
        let mut parks = MOST_TRUST / COST;
        while looks_before_parking(&mut idle) == 0 {
            idle.parked();
            parks += 1;
        }
        assert_eq!(parks, PROBE_EVERY);
        // A reward while it is tried: the next two may be in vain.
        idle.worked();
        for expected in [16, 16, 0] {
            assert_eq!(looks_before_parking(&mut idle), expected);
            idle.parked();
        }
    }

    #[test]
    fn a_core_of_its_own_is_spun_on_before_it_is_yielded() {
        let settings = IdleSettings {
            spin: Duration::from_nanos(150),
            yields: 2,
        };
        let mut idle = Idle::new(settings, Core::Own);
        let looks = [(); 6].map(|()| idle.empty());
        let [spin, then, park] = [Action::Spin, Action::Yield, Action::Park];
        assert_eq!(looks, [spin, spin, spin, then, then, park]);
    }

    #[test]
    fn shared_core_never_spins() {
        let mut idle = Idle::new(IdleSettings::default(), Core::Shared);
        for _ in 0..1000 {
            assert_ne!(idle.empty(), Action::Spin);
        }
    }
}
