//! A circuit breaker: keeps requests away from an upstream that answers nobody.
//!
//! ```text
//!            failures: share of all, and enough of them
//!   CLOSED ------------------------------------------------> OPEN
//!     ^  \                                                   |  ^
//!     |   `---- the Router's closure has run out ---.        |  | a probe fails
//!     |                                             v        v  |
//!     `------------- a probe is answered -------- HALF OPEN -----'
//!                                            (after the open time)
//! ```
//!
//! The pattern is Nygard's ("Release It!", 2007); half-open probes and a growing, jittered open
//! time are what Envoy and resilience4j do too. Each worker has one breaker for each route, steps
//! it with its own clock and shares it with nobody, so it needs no lock; workers open and close
//! independently.
//!
//! One client must not be able to open the breaker for the others. So a timeout is a failure only
//! when the Router answered nobody on the route while that request waited, and only when the
//! request was given enough time; and a lost connection is one failure, however many requests were
//! on it.

use core::time::Duration;

use crate::bridge::{Code, Outcome};
use crate::clock::Nanos;
use crate::route::BreakerPolicy;

/// Parts of the window: failures leave it in steps of a tenth.
const PARTS: usize = 10;
/// Losses of requests closer together than this belong to one lost connection.
const ONE_LOSS: Duration = Duration::from_millis(100);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Only probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl State {
    /// The number that stands for it in the metrics.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// What this number in the metrics stands for.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::HalfOpen,
            _ => Self::Open,
        }
    }

    /// The word that stands for it, in the log and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half open",
            Self::Open => "open",
        }
    }
}

/// What a request that passed must bring back: which stay of the breaker in a state it belongs to.
/// A request of an earlier stay says nothing about the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass(u16);

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Milliseconds after which to try again; at least 1.
    pub retry_after_ms: u32,
}

/// What the end of a request says about the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Well,
    Unwell,
    Nothing,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    well: u32,
    unwell: u32,
}

/// The breaker of one route in one worker.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// Counts the stays in a state.
    stay: u16,
    /// When `Open` ends.
    until: Nanos,
    parts: [Part; PARTS],
    /// Place of the newest part, and when it ends.
    newest: usize,
    newest_ends: Nanos,
    /// Sums of all parts.
    sum: Part,
    /// Probes that have passed in this stay and not come back.
    probes: u32,
    /// How often the open time has doubled.
    doublings: u32,
    /// When it closed last.
    closed_at: Nanos,
    /// When the upstream last answered a request.
    answered_at: Nanos,
    /// When the last loss of a connection was counted.
    lost_at: Option<Nanos>,
    /// State of the jitter's generator; never 0.
    random: u64,
}

impl Breaker {
    /// A closed breaker. `seed` makes the jitter of one unlike that of others.
    #[must_use]
    pub fn new(policy: BreakerPolicy, seed: u64) -> Self {
        Self {
            policy,
            state: State::Closed,
            stay: 0,
            until: Nanos(0),
            parts: [Part::default(); PARTS],
            newest: 0,
            newest_ends: Nanos(0),
            sum: Part::default(),
            probes: 0,
            doublings: 0,
            closed_at: Nanos(0),
            answered_at: Nanos(0),
            lost_at: None,
            random: seed | 1,
        }
    }

    /// Closes it and goes by another policy: what is on its way says nothing about what comes.
    pub fn renew(&mut self, policy: BreakerPolicy) {
        *self = Self {
            stay: self.stay.wrapping_add(1),
            ..Self::new(policy, self.random)
        };
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Asks for a request to pass. One that passes must come back to [`ended`](Self::ended) or
    /// [`forget`](Self::forget).
    ///
    /// # Errors
    /// [`Refused`] while open, or while as many probes as allowed are on their way.
    #[inline]
    pub fn admit(&mut self, now: Nanos) -> Result<Pass, Refused> {
        if self.state == State::Closed {
            return Ok(Pass(self.stay));
        }
        self.admit_probe(now)
    }

    #[cold]
    fn admit_probe(&mut self, now: Nanos) -> Result<Pass, Refused> {
        if self.state == State::Open {
            if now < self.until {
                return Err(refused(self.until.until(now)));
            }
            self.enter(State::HalfOpen);
        }
        if self.probes >= self.policy.probes {
            return Err(refused(self.policy.open_time));
        }
        self.probes += 1;
        Ok(Pass(self.stay))
    }

    /// Lets only probes pass from now on, because a closure that the Router asked for has run out.
    pub fn probe(&mut self) {
        if self.state != State::HalfOpen {
            self.enter(State::HalfOpen);
        }
    }

    /// A request has ended with this code. It was accepted at `accepted` and given `allowed`.
    #[inline]
    pub fn ended(
        &mut self,
        pass: Pass,
        code: Code,
        accepted: Nanos,
        allowed: Duration,
        now: Nanos,
    ) {
        let sign = self.sign(code, accepted, allowed, now);
        if sign == Sign::Well {
            self.answered_at = now;
        }
        if pass.0 != self.stay {
            return;
        }
        match self.state {
            State::Closed => self.count(sign, now),
            State::HalfOpen => self.probed(sign, now),
            State::Open => {}
        }
    }

    /// A request has ended and nothing can be said about the upstream: its session has gone.
    pub fn forget(&mut self, pass: Pass) {
        if pass.0 == self.stay {
            self.probes = self.probes.saturating_sub(1);
        }
    }

    #[inline]
    fn sign(&mut self, code: Code, accepted: Nanos, allowed: Duration, now: Nanos) -> Sign {
        match code {
            Code::NoResponders => Sign::Unwell,
            Code::Timeout => {
                let silent = self.answered_at < accepted;
                if silent && allowed >= self.policy.min_timeout {
                    Sign::Unwell
                } else {
                    Sign::Nothing
                }
            }
            Code::UpstreamLost => {
                if self.lost_at.is_some_and(|at| now < at.after(ONE_LOSS)) {
                    return Sign::Nothing;
                }
                self.lost_at = Some(now);
                Sign::Unwell
            }
            _ if code.outcome() == Outcome::Answered => Sign::Well,
            _ => Sign::Nothing,
        }
    }

    #[inline]
    fn count(&mut self, sign: Sign, now: Nanos) {
        if sign == Sign::Nothing || !self.policy.enabled {
            return;
        }
        if now >= self.newest_ends {
            self.turn(now);
        }
        let Some(newest) = self.parts.get_mut(self.newest) else {
            return;
        };
        if sign == Sign::Well {
            newest.well = newest.well.saturating_add(1);
            self.sum.well = self.sum.well.saturating_add(1);
            return;
        }
        newest.unwell = newest.unwell.saturating_add(1);
        self.sum.unwell = self.sum.unwell.saturating_add(1);
        let (well, unwell) = (u64::from(self.sum.well), u64::from(self.sum.unwell));
        if self.sum.unwell >= self.policy.min_failures
            && unwell * 100 >= (well + unwell) * u64::from(self.policy.failures_percent)
        {
            self.open(now);
        }
    }

    /// Moves the window on.
    #[cold]
    fn turn(&mut self, now: Nanos) {
        // As many as PARTS.
        let part = (self.policy.window / 10).max(Duration::from_nanos(1));
        let nanos = u64::try_from(part.as_nanos()).unwrap_or(u64::MAX);
        let steps = now.since(self.newest_ends) / nanos + 1;
        for _ in 0..steps.min(PARTS as u64) {
            self.newest = (self.newest + 1) % PARTS;
            if let Some(oldest) = self.parts.get_mut(self.newest) {
                self.sum.well -= oldest.well.min(self.sum.well);
                self.sum.unwell -= oldest.unwell.min(self.sum.unwell);
                *oldest = Part::default();
            }
        }
        let ahead = steps.saturating_mul(nanos);
        self.newest_ends = Nanos(self.newest_ends.0.saturating_add(ahead));
    }

    #[cold]
    fn probed(&mut self, sign: Sign, now: Nanos) {
        self.probes = self.probes.saturating_sub(1);
        match sign {
            Sign::Well => {
                self.closed_at = now;
                self.enter(State::Closed);
            }
            Sign::Unwell => self.open(now),
            Sign::Nothing => {}
        }
    }

    #[cold]
    fn open(&mut self, now: Nanos) {
        // A failed probe, or a failure soon after closing, says that the last stay was too short.
        let wait = self.wait();
        let was_short = self.state == State::HalfOpen || now < self.closed_at.after(wait);
        self.doublings = match (was_short, self.until == Nanos(0)) {
            (_, true) | (false, _) => 0,
            (true, false) if wait < self.policy.max_open_time => self.doublings + 1,
            (true, false) => self.doublings,
        };
        self.until = now.after(self.jittered(self.wait()));
        self.enter(State::Open);
    }

    /// The open time after so many doublings, before jitter.
    fn wait(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        let longest = self.policy.max_open_time.max(self.policy.open_time);
        self.policy.open_time.saturating_mul(factor).min(longest)
    }

    /// Between three and five quarters of it, so that workers and hosts do not probe together.
    fn jittered(&mut self, wait: Duration) -> Duration {
        // Marsaglia's xorshift64: good enough to spread.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let per_mille = 750 + u32::try_from(self.random % 501).unwrap_or(0);
        wait.saturating_mul(per_mille) / 1000
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.stay = self.stay.wrapping_add(1);
        self.probes = 0;
        self.parts = [Part::default(); PARTS];
        self.sum = Part::default();
    }
}

fn refused(wait: Duration) -> Refused {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    Refused {
        retry_after_ms: u32::try_from(millis).unwrap_or(u32::MAX).max(1),
    }
}

#[cfg(test)]
mod tests;
