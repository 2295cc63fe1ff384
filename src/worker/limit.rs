//! How many requests of a route may be on their way: as many as keep its upstream busy, and no
//! standing queue behind them.
//!
//! What is sent beyond that only waits, in the NATS server or in the Router, and makes every answer
//! late. Whether there is such a queue is told by the *least* latency of an interval, as in `CoDel`
//! (Nichols and Jacobson, ACM Queue 2012): a burst drains and leaves some answers that were fast, a
//! standing queue delays all. Slow requests among fast ones do not matter.
//!
//! - Least latency above the target: what is on its way shrinks by that ratio, at most by half.
//! - Below it, and the limit was reached: the limit grows by a sixteenth.
//! - Below it, and the limit was not reached: it stays.
//!
//! A request that times out has waited that long at least. It leaves those on their way, but its
//! place in the queue stays taken, so timeouts count as answers that were too late: with short
//! timeouts a queue of requests that have already expired would make the next ones expire too.
//!
//! The target is the allowed delay over what the upstream needs without a queue. That is the least
//! latency of the last generations (`GENERATION`); since a queue that never empties would hide it,
//! the limit is cut to the least at the end of each, until what is queued has drained and a few answers
//! were measured, as BBR does (Cardwell and others, ACM Queue 2016, `ProbeRTT`). A generation in which
//! no more than the least number were on their way at some time needs no cut. The first comes soon:
//! who begins under load has never seen the upstream idle.
//!
//! Sans-IO and of one worker, like the breaker: no lock, no clock of its own.

use core::time::Duration;

use crate::clock::Nanos;

/// Where a limit begins: above what any upstream measured so far needs to be busy.
const START: u32 = 1024;
/// A limit never falls below this: so few need not be held back, and a few slow answers cannot
/// choke a route.
pub const LEAST: u32 = 32;
/// Shortest time between two changes.
const INTERVAL: Duration = Duration::from_millis(20);
/// Answers that it takes to judge an interval.
const ENOUGH: u32 = 8;
/// How long a least latency is believed: one to two of these.
const GENERATION: Duration = Duration::from_secs(10);
/// The same for the first one.
const FIRST_GENERATION: Duration = Duration::from_millis(500);
/// A latency that was not measured.
const UNKNOWN: u64 = u64::MAX;

/// While the limit is cut to measure the base.
#[derive(Debug)]
struct Cut {
    /// When it ends at the latest.
    until: Nanos,
    /// Answers still to come once no more than the least number are on their way: those of the
    /// queue, then those that tell the base.
    answers: u32,
}

/// The limit of one route in one worker.
#[derive(Debug)]
pub struct Limit {
    /// Delay allowed over the base, in nanoseconds; 0 switches the limit off.
    delay: u64,
    most: u32,
    limit: u32,
    /// Least latency of the present and the last generation, in nanoseconds.
    base: [u64; 2],
    generation_ends: Nanos,
    /// Whether the limit was reached in the present generation.
    was_reached: bool,
    /// Whether there were so few on their way in the present generation that the base was seen.
    was_seen: bool,
    cut: Option<Cut>,
    /// The present interval: when it may end, least latency, answers, whether the limit was reached.
    interval_ends: Nanos,
    least: u64,
    /// The same without what timeouts say.
    heard_least: u64,
    answers: u32,
    reached: bool,
}

impl Limit {
    /// A limit of at most `most` requests that allows this much delay over what the upstream needs;
    /// with no delay it is always `most`.
    #[must_use]
    pub fn new(delay: Duration, most: u32, now: Nanos) -> Self {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self {
            delay,
            most,
            limit: if delay == 0 { most } else { most.min(START) },
            base: [UNKNOWN; 2],
            generation_ends: now.after(FIRST_GENERATION),
            was_reached: false,
            was_seen: false,
            cut: None,
            interval_ends: now.after(INTERVAL),
            least: UNKNOWN,
            heard_least: UNKNOWN,
            answers: 0,
            reached: false,
        }
    }

    /// Requests that may be on their way at this moment.
    #[inline]
    #[must_use]
    pub fn at(&self, now: Nanos) -> u32 {
        if self.is_cut(now) {
            LEAST.min(self.most)
        } else {
            self.limit
        }
    }

    /// Whether the limit is cut to measure the upstream: who waits then, waits for that.
    #[inline]
    #[must_use]
    pub fn is_cut(&self, now: Nanos) -> bool {
        // Where no answer comes that could end it, its time does.
        self.cut.as_ref().is_some_and(|cut| now < cut.until)
    }

    /// A request had to wait because the limit is reached.
    #[inline]
    pub const fn reached(&mut self) {
        self.reached = true;
    }

    /// An answer of the upstream has come, after `latency` nanoseconds, while so many requests were
    /// on their way.
    #[inline]
    pub fn answered(&mut self, latency: u64, in_flight: u32, now: Nanos) {
        self.answers += 1;
        self.least = self.least.min(latency);
        self.heard_least = self.heard_least.min(latency);
        if now >= self.interval_ends && self.delay != 0 {
            self.judge(in_flight, now);
        }
    }

    /// A request has timed out after `waited` nanoseconds.
    #[cold]
    pub fn timed_out(&mut self, waited: u64, in_flight: u32, now: Nanos) {
        // One that was given less time than is allowed for proves nothing.
        if waited > self.target() && self.delay != 0 {
            self.answers += 1;
            self.least = self.least.min(waited);
            if now >= self.interval_ends {
                self.judge(in_flight, now);
            }
        }
    }

    /// Milliseconds after which there may be room; at least 1.
    #[must_use]
    pub fn retry_after_ms(&self) -> u32 {
        let latency = if self.least == UNKNOWN { 0 } else { self.least };
        let millis = latency.max(self.delay).div_ceil(1_000_000);
        u32::try_from(millis).unwrap_or(u32::MAX).max(1)
    }

    /// Ends an interval.
    #[cold]
    fn judge(&mut self, in_flight: u32, now: Nanos) {
        let [newest, _] = &mut self.base;
        // Few answers say nothing about a queue, but each knows the base.
        *newest = (*newest).min(self.heard_least);
        if let Some(cut) = &mut self.cut {
            if in_flight <= LEAST {
                cut.answers = cut.answers.saturating_sub(1);
            }
            if cut.answers > 0 && now < cut.until {
                return;
            }
            self.cut = None;
        } else if self.answers < ENOUGH {
            return;
        } else {
            self.was_reached |= self.reached;
            self.was_seen |= in_flight <= LEAST;
            self.adapt(in_flight);
        }
        if now >= self.generation_ends {
            self.generation_ends = now.after(GENERATION);
            self.base.rotate_right(1);
            let [newest, _] = &mut self.base;
            *newest = UNKNOWN;
            if self.was_reached && !self.was_seen {
                // Time for what is queued to drain, and for what is sent then to be answered.
                let drain = Duration::from_nanos(self.least.saturating_mul(2));
                self.cut = Some(Cut {
                    until: now.after(drain.max(INTERVAL)),
                    answers: LEAST + ENOUGH,
                });
            }
            (self.was_reached, self.was_seen) = (false, false);
        }
        // Every answer counts while the limit is cut.
        self.interval_ends = match self.cut {
            Some(_) => now,
            None => now.after(INTERVAL.max(Duration::from_nanos(self.least))),
        };
        (self.least, self.answers, self.reached) = (UNKNOWN, 0, false);
        self.heard_least = UNKNOWN;
    }

    /// The latency at which there is no more than the allowed queue.
    fn target(&self) -> u64 {
        let [newest, last] = self.base;
        let base = match newest.min(last) {
            UNKNOWN => 0,
            base => base,
        };
        // A quarter more than the base is within what scheduling does to it.
        base.saturating_add(base / 4).saturating_add(self.delay)
    }

    fn adapt(&mut self, in_flight: u32) {
        let target = self.target();
        let limit = u64::from(self.limit);
        let limit = if self.least > target {
            if self.limit <= LEAST.min(self.most) && self.heard_least != UNKNOWN {
                // So few make no queue: the upstream itself has become slower.
                self.base = [self.heard_least, UNKNOWN];
            }
            // Those that are answered now were sent when there were that many.
            let sent = limit.min(u64::from(in_flight).max(limit / 2));
            let shrunk = u128::from(sent) * u128::from(target) / u128::from(self.least);
            u64::try_from(shrunk).unwrap_or(sent).max(sent / 2)
        } else if self.reached {
            limit + limit / 16 + 1
        } else {
            limit
        };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.limit = limit.max(LEAST).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const STEP: u64 = 100_000;

    /// An upstream that answers `rate` requests a second in their order, each after `base`
    /// nanoseconds at least, under a load that always has more. Returns the limit, and the
    /// latency and the rate over the last second.
    fn run(limit: &mut Limit, rate: u64, base: u64, seconds: u64, start: Nanos) -> (u64, u64) {
        let mut sent: VecDeque<u64> = VecDeque::new();
        let mut now = start.0;
        let end = now + seconds * 1_000_000_000;
        let (mut latency, mut answered, mut budget) = (0, 0_u64, 0_u64);
        while now < end {
            now += STEP;
            budget = (budget + rate * STEP).min(rate * STEP * 2 + 1_000_000_000);
            while budget >= 1_000_000_000
                && sent.front().is_some_and(|&at| at + base <= now)
                && let Some(at) = sent.pop_front()
            {
                budget -= 1_000_000_000;
                let in_flight = u32::try_from(sent.len()).unwrap();
                limit.answered(now - at, in_flight, Nanos(now));
                if now + 1_000_000_000 > end {
                    latency = now - at;
                    answered += 1;
                }
            }
            while sent.len() < limit.at(Nanos(now)) as usize {
                sent.push_back(now);
            }
            limit.reached();
        }
        (latency, answered)
    }

    const START_AT: Nanos = Nanos(5_000_000_000);
    const DELAY: Duration = Duration::from_millis(3);
    const MOST: u32 = 65_536;

    #[test]
    fn a_standing_queue_shrinks_to_the_delay_and_the_upstream_stays_busy() {
        for rate in [2_000, 20_000, 200_000] {
            let mut limit = Limit::new(DELAY, MOST, START_AT);
            let (latency, answered) = run(&mut limit, rate, 200_000, 25, START_AT);
            let room = u64::from(LEAST) * 1_000_000_000 / rate;
            assert!(latency < 6_000_000 + room * 2, "{rate}/s: {latency} ns");
            assert!(answered * 100 > rate * 95, "{rate}/s: {answered}");
        }
    }

    #[test]
    fn a_slow_upstream_that_is_not_loaded_is_not_held_back() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        // 40,000/s of 50 ms each: 2,000 on their way, without any queue.
        let (latency, answered) = run(&mut limit, 40_000, 50_000_000, 30, START_AT);
        assert!(answered > 38_000, "{answered}");
        // A quarter more and the delay, and two steps of growth before that is noticed.
        assert!(latency < 85_500_000, "{latency} ns");
    }

    #[test]
    fn a_queue_that_never_empties_does_not_become_the_base() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        let (latency, _) = run(&mut limit, 20_000, 200_000, 180, START_AT);
        // What the least number needs, a quarter more, and the delay.
        assert!(latency < 16_000_000, "{latency} ns");
    }

    #[test]
    fn a_cut_lasts_no_longer_than_it_takes_to_drain_and_to_measure() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        // 100,000/s without a pause; the least latency can only be seen in a cut.
        let (mut cut, mut longest, mut cuts) = (0, 0, 0);
        let mut now = START_AT;
        let mut sent: VecDeque<u64> = VecDeque::new();
        for _ in 0..300_000 {
            now = now.after(Duration::from_micros(100));
            for _ in 0..10 {
                if sent.front().is_some_and(|&at| at + 200_000 <= now.0)
                    && let Some(at) = sent.pop_front()
                {
                    limit.answered(now.0 - at, u32::try_from(sent.len()).unwrap(), now);
                }
            }
            while sent.len() < limit.at(now) as usize {
                sent.push_back(now.0);
            }
            limit.reached();
            if limit.is_cut(now) {
                cuts += u32::from(cut == 0);
                cut += 100_000;
                longest = longest.max(cut);
            } else {
                cut = 0;
            }
        }
        assert!((3..=4).contains(&cuts), "{cuts} in 30 s");
        assert!(longest < 10_000_000, "{longest} ns");
    }

    #[test]
    fn a_cut_ends_by_itself_where_no_answer_comes() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        let mut now = START_AT;
        while !limit.is_cut(now) {
            now = now.after(Duration::from_millis(1));
            limit.reached();
            limit.answered(2_000_000, START, now);
        }
        assert_eq!(limit.at(now), LEAST);
        let later = now.after(INTERVAL);
        assert!(!limit.is_cut(later) && limit.at(later) >= START / 2);
        // An answer after all ends it as well.
        limit.answered(2_000_000, LEAST, later);
        assert!(limit.cut.is_none());
    }

    #[test]
    fn a_generation_that_has_seen_few_on_their_way_needs_no_cut() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        let mut now = START_AT;
        for at in 0..200_000_u32 {
            now = now.after(Duration::from_micros(100));
            // A burst each 100 ms, and hardly anything between.
            let in_flight = if at % 1000 < 500 { START } else { 3 };
            if in_flight == START {
                limit.reached();
            }
            limit.answered(300_000, in_flight, now);
            assert!(!limit.is_cut(now), "{at}");
        }
    }

    #[test]
    fn it_follows_a_capacity_that_changes() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        run(&mut limit, 100_000, 200_000, 3, START_AT);
        let later = START_AT.after(Duration::from_secs(3));
        let (latency, _) = run(&mut limit, 10_000, 200_000, 2, later);
        assert!(latency < 26_000_000, "{latency} ns");
        let later = later.after(Duration::from_secs(2));
        let (_, answered) = run(&mut limit, 100_000, 200_000, 3, later);
        assert!(answered > 95_000, "{answered}");
    }

    #[test]
    fn slow_requests_among_fast_ones_do_not_shrink_it() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        let mut now = START_AT;
        for at in 0..100_000_u64 {
            now = now.after(Duration::from_micros(50));
            limit.reached();
            let latency = if at % 20 == 0 { 300_000 } else { 800_000_000 };
            limit.answered(latency, limit.at(now), now);
        }
        assert!(limit.at(now) >= START, "{}", limit.at(now));
    }

    #[test]
    fn without_a_delay_it_is_off_and_without_load_it_stays() {
        let mut off = Limit::new(Duration::ZERO, 10_000, START_AT);
        run(&mut off, 1_000, 200_000, 1, START_AT);
        assert_eq!(off.at(START_AT), 10_000);
        let mut idle = Limit::new(DELAY, 4, START_AT);
        for at in 0..1000 {
            idle.answered(1 << 30, 1, START_AT.after(Duration::from_millis(at)));
        }
        assert_eq!(idle.at(START_AT), 4);
    }

    #[test]
    fn an_upstream_that_becomes_slower_without_a_queue_is_soon_busy_again() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        run(&mut limit, 40_000, 200_000, 3, START_AT);
        let later = START_AT.after(Duration::from_secs(3));
        let (_, answered) = run(&mut limit, 40_000, 50_000_000, 6, later);
        assert!(answered > 36_000, "{answered}");
    }

    #[test]
    fn requests_that_only_time_out_leave_few_on_their_way() {
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        for at in 0..1000 {
            limit.timed_out(50_000_000, 400, START_AT.after(Duration::from_millis(at)));
        }
        assert_eq!(limit.at(START_AT), LEAST);
        // Impatient clients prove nothing.
        let mut limit = Limit::new(DELAY, MOST, START_AT);
        for at in 0..1000 {
            limit.timed_out(2_000_000, 140, START_AT.after(Duration::from_millis(at)));
        }
        assert_eq!(limit.at(START_AT), START);
    }
}
