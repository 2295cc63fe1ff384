//! What a worker does when a cycle found nothing: look again at once, yield the core, or park.
//!
//! Parking costs the next request a wake-up (15 to 60 us on a virtual machine), yielding costs a
//! system call and helps whoever shares the core, spinning takes the core from everybody. Which is
//! right depends on how soon work comes back, so that is what is measured: each time waiting
//! awake was rewarded the budget doubles, each time it was in vain the budget halves. A budget that
//! has shrunk is tried again now and then, because its being right can only be learnt by trying.

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

/// Smallest budget that is still worth doubling.
const LEAST: u32 = 1;
/// After this many parks in a row the budget is tried anew.
const PROBE_EVERY: u32 = 64;

/// The adaptive strategy of one worker.
#[derive(Debug)]
pub struct Idle {
    settings: IdleSettings,
    /// Whether this worker has a core of its own, so that spinning robs nobody.
    own_core: bool,
    /// How many empty looks in a row are allowed before parking.
    budget: u32,
    /// Empty looks since the last work.
    empty: u32,
    /// Parks since the last time that waiting was rewarded.
    parks: u32,
}

/// Whether spinning robs another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// There are fewer busy threads than cores.
    Own,
    /// The core is shared.
    Shared,
}

impl Idle {
    /// The strategy at start: the full budget.
    #[must_use]
    pub fn new(settings: IdleSettings, core: Core) -> Self {
        let own_core = core == Core::Own;
        let budget = Self::most(&settings, own_core);
        Self {
            settings,
            own_core,
            budget,
            empty: 0,
            parks: 0,
        }
    }

    /// A look costs about 50 ns when spinning.
    fn most(settings: &IdleSettings, own_core: bool) -> u32 {
        if own_core {
            let looks = settings.spin.as_nanos() / 50;
            u32::try_from(looks)
                .unwrap_or(u32::MAX)
                .max(settings.yields)
        } else {
            settings.yields
        }
    }

    /// Work was found.
    #[inline]
    pub fn worked(&mut self) {
        if self.empty != 0 {
            self.empty = 0;
            self.parks = 0;
            let most = Self::most(&self.settings, self.own_core);
            self.budget = self.budget.saturating_mul(2).clamp(LEAST, most.max(LEAST));
        }
    }

    /// Nothing was found: what to do.
    #[inline]
    pub fn empty(&mut self) -> Action {
        if self.empty >= self.budget {
            return Action::Park;
        }
        self.empty += 1;
        if self.own_core && self.empty > self.settings.yields {
            Action::Spin
        } else {
            Action::Yield
        }
    }

    /// The worker has parked and is awake again.
    pub fn parked(&mut self) {
        self.empty = 0;
        self.parks = self.parks.saturating_add(1);
        self.budget /= 2;
        if self.parks.is_multiple_of(PROBE_EVERY) {
            self.budget = Self::most(&self.settings, self.own_core);
        }
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
    fn waiting_in_vain_shrinks_the_budget_and_reward_restores_it() {
        let settings = IdleSettings {
            spin: Duration::ZERO,
            yields: 16,
        };
        let mut idle = Idle::new(settings, Core::Shared);
        assert_eq!(looks_before_parking(&mut idle), 16);
        for expected in [8, 4, 2, 1, 0, 0] {
            idle.parked();
            assert_eq!(looks_before_parking(&mut idle), expected);
        }
        for _ in 0..PROBE_EVERY {
            idle.parked();
        }
        let looks: u32 = (0..PROBE_EVERY)
            .map(|_| {
                idle.parked();
                looks_before_parking(&mut idle)
            })
            .max()
            .unwrap_or(0);
        assert_eq!(looks, 16);
    }

    #[test]
    fn shared_core_never_spins() {
        let mut idle = Idle::new(IdleSettings::default(), Core::Shared);
        for _ in 0..1000 {
            assert_ne!(idle.empty(), Action::Spin);
        }
    }
}
