//! Routes that the server does not let this user publish to.
//!
//! The server's complaint names a subject and no request, and complaints can be lost. So a route
//! that is refused stays so for a while: requests to it are rejected without being sent. Then one
//! is sent to see whether that has changed; the others wait for its fate, rejected.

use core::time::Duration;

use super::outstanding::Serial;
use crate::bridge::Token;
use crate::clock::Nanos;

/// How long to believe a refusal before one request tries again.
pub(super) const BELIEVED: Duration = Duration::from_secs(1);

/// The one request that finds out.
#[derive(Clone, Copy, Debug)]
struct Probe {
    token: Token,
    serial: Serial,
    /// When nobody waits for it any more, and another may be sent.
    deadline: Nanos,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusal {
    /// Until when nothing is sent.
    until: Nanos,
    probe: Option<Probe>,
}

/// What is refused now, by route.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Almost always empty.
    routes: Vec<(u16, Refusal)>,
}

impl Refused {
    /// Whether a request to this route may be sent.
    pub(super) fn may_send(&self, route: u16, now: Nanos) -> bool {
        self.routes.is_empty()
            || self.find(route).is_none_or(|refusal| {
                let probing = refusal.probe.is_some_and(|probe| probe.deadline > now);
                refusal.until <= now && !probing
            })
    }

    /// Notes that a request was sent: if its route is refused, it is the one that finds out.
    pub(super) fn sent(&mut self, route: u16, token: Token, serial: Serial, deadline: Nanos) {
        if let Some(refusal) = self.find_mut(route) {
            refusal.probe = Some(Probe {
                token,
                serial,
                deadline,
            });
        }
    }

    /// Notes that the server refuses this route on a connection. Returns the request that was
    /// refused, if it is known.
    pub(super) fn refuse(&mut self, route: u16, serial: Serial, now: Nanos) -> Option<Token> {
        let until = now.after(BELIEVED);
        let Some(refusal) = self.find_mut(route) else {
            let refusal = Refusal { until, probe: None };
            self.routes.push((route, refusal));
            return None;
        };
        refusal.until = until;
        let probe = refusal.probe.take_if(|probe| probe.serial == serial);
        probe.map(|probe| probe.token)
    }

    /// Notes that a request was answered: if it was sent to find out, its route is free.
    pub(super) fn answered(&mut self, token: Token) {
        if !self.routes.is_empty() {
            let found_out = |refusal: &Refusal| refusal.probe.is_some_and(|it| it.token == token);
            self.routes.retain(|(_, refusal)| !found_out(refusal));
        }
    }

    /// Forgets all: a connection is new, and what it may do is not known.
    pub(super) fn forget(&mut self) {
        self.routes.clear();
    }

    /// Forgets what is known of one route: it goes to another subject now.
    pub(super) fn forget_route(&mut self, route: u16) {
        self.routes.retain(|(number, _)| *number != route);
    }

    fn find(&self, route: u16) -> Option<&Refusal> {
        let found = self.routes.iter().find(|(number, _)| *number == route);
        found.map(|(_, refusal)| refusal)
    }

    fn find_mut(&mut self, route: u16) -> Option<&mut Refusal> {
        let found = self.routes.iter_mut().find(|(number, _)| *number == route);
        found.map(|(_, refusal)| refusal)
    }
}

/// Bits of a word.
const WORD: u16 = 64;
/// Words for the most routes that there can be.
const WORDS: usize = crate::route::MAX_ROUTE_NUMBERS / WORD as usize;

/// A set of routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Routes([u64; WORDS]);

impl Routes {
    /// Puts a route in.
    pub(super) fn insert(&mut self, route: u16) {
        if let Some(word) = self.0.get_mut(usize::from(route / WORD)) {
            *word |= 1 << (route % WORD);
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, route: u16) {
        if let Some(word) = self.0.get_mut(usize::from(route / WORD)) {
            *word &= !(1 << (route % WORD));
        }
    }

    /// Whether it is in.
    pub(super) fn has(&self, route: u16) -> bool {
        let word = self.0.get(usize::from(route / WORD));
        word.is_some_and(|word| word & (1 << (route % WORD)) != 0)
    }

    /// Puts in all of another set.
    pub(super) fn extend(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Whether all of it is in another.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let mut words = self.0.iter().zip(other.0);
        words.all(|(word, other)| word & !other == 0)
    }
}

/// On which connections which routes have worked. What was sent before a permission was withdrawn
/// may have run.
#[derive(Debug, Default)]
pub(super) struct Worked {
    connections: Vec<(Serial, Routes)>,
}

impl Worked {
    /// Notes an answer.
    pub(super) fn note(&mut self, serial: Serial, route: u16) {
        let known = self.connections.iter_mut().find(|(it, _)| *it == serial);
        match known {
            Some((_, routes)) => routes.insert(route),
            None => {
                let mut routes = Routes::default();
                routes.insert(route);
                self.connections.push((serial, routes));
            }
        }
    }

    /// Whether there was one.
    pub(super) fn has(&self, serial: Serial, route: u16) -> bool {
        let known = self.connections.iter().find(|(it, _)| *it == serial);
        known.is_some_and(|(_, routes)| routes.has(route))
    }

    /// The route goes to another subject now.
    pub(super) fn forget_route(&mut self, route: u16) {
        for (_, routes) in &mut self.connections {
            routes.remove(route);
        }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, serial: Serial) {
        self.connections.retain(|(it, _)| *it != serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn one_request_at_a_time_finds_out_whether_a_route_is_still_refused() {
        let (first, second) = (Token::new(0, 1, 1), Token::new(0, 2, 1));
        let mut refused = Refused::default();
        assert!(refused.may_send(3, Nanos(0)));
        assert_eq!(refused.refuse(3, 7, Nanos(0)), None);
        assert!(!refused.may_send(3, Nanos(SECOND - 1)));
        assert!(refused.may_send(4, Nanos(0)));
        let now = Nanos(SECOND);
        assert!(refused.may_send(3, now));
        refused.sent(3, first, 7, Nanos(2 * SECOND));
        assert!(!refused.may_send(3, now));
        // A complaint on another connection is not about it.
        assert_eq!(refused.refuse(3, 8, now), None);
        assert_eq!(refused.refuse(3, 7, now), Some(first));
        let later = Nanos(3 * SECOND);
        refused.sent(3, first, 7, Nanos(4 * SECOND));
        assert!(!refused.may_send(3, later));
        // It was never answered.
        assert!(refused.may_send(3, Nanos(4 * SECOND)));
        refused.sent(3, second, 7, Nanos(9 * SECOND));
        refused.answered(first);
        assert!(!refused.may_send(3, Nanos(5 * SECOND)));
        refused.answered(second);
        assert!(refused.may_send(3, Nanos(5 * SECOND)));
    }

    #[test]
    fn what_has_worked_is_known_by_connection_and_route() {
        let mut worked = Worked::default();
        worked.note(1, 0);
        worked.note(1, 255);
        worked.note(2, 64);
        assert!(worked.has(1, 0) && worked.has(1, 255) && worked.has(2, 64));
        assert!(!worked.has(1, 64) && !worked.has(2, 0) && !worked.has(3, 0));
        worked.forget(1);
        assert!(!worked.has(1, 0) && worked.has(2, 64));
    }
}
