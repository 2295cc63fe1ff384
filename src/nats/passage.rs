//! Which routes a server has let through on a connection.
//!
//! A server complains of what it does not let through, before it answers a ping that came after. So a
//! route that was asked on before a ping, and not complained of before its answer, may be published to:
//! what was sent there may run. Where that is not known of a route, a ping is sent at once, one at a time;
//! so it is known a round trip after the first request to a route.

use std::collections::VecDeque;

use super::refused::Routes;

/// What a connection's server lets through, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// Routes with a request on this connection.
    asked: Routes,
    /// Those of them that were let through.
    passed: Routes,
    /// What was asked before each ping that is not answered yet, oldest first. The connection is given up
    /// when it has left two unanswered.
    pings: VecDeque<Routes>,
}

impl Passage {
    /// Notes a request.
    #[inline]
    pub(super) fn asked(&mut self, route: u16) {
        self.asked.insert(route);
    }

    /// Whether there is something that a ping would tell, and none that is on its way.
    pub(super) fn wants_ping(&self) -> bool {
        !self.asked.is_within(&self.passed) && self.pings.is_empty()
    }

    /// Notes a ping.
    pub(super) fn pinged(&mut self) {
        self.pings.push_back(self.asked);
    }

    /// Notes the answer to the oldest one.
    pub(super) fn ponged(&mut self) {
        if let Some(asked) = self.pings.pop_front() {
            self.passed.extend(&asked);
        }
    }

    /// Notes that a route is not let through, or not any more.
    pub(super) fn refused(&mut self, route: u16) {
        self.asked.remove(route);
        self.passed.remove(route);
        self.pings.iter_mut().for_each(|asked| asked.remove(route));
    }

    /// The routes that were let through.
    pub(super) const fn passed(&self) -> Routes {
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_a_ping_and_not_complained_of_was_let_through() {
        let mut passage = Passage::default();
        assert!(!passage.wants_ping());
        passage.asked(3);
        passage.asked(200);
        assert!(passage.wants_ping());
        passage.pinged();
        passage.asked(4);
        assert!(!passage.wants_ping());
        assert!(!passage.passed().has(3));
        passage.refused(200);
        passage.ponged();
        let passed = passage.passed();
        assert!(passed.has(3) && !passed.has(4) && !passed.has(200));
        // There is a route that nothing is known of yet, and then none.
        assert!(passage.wants_ping());
        passage.pinged();
        passage.ponged();
        assert!(passage.passed().has(4));
        passage.asked(3);
        assert!(!passage.wants_ping());
    }

    #[test]
    fn what_is_withdrawn_has_to_pass_anew() {
        let mut passage = Passage::default();
        passage.asked(1);
        passage.pinged();
        passage.ponged();
        passage.refused(1);
        assert!(!passage.passed().has(1) && !passage.wants_ping());
        // An answer that nobody waits for says nothing.
        passage.ponged();
        passage.asked(1);
        assert!(passage.wants_ping());
    }
}
