//! What a session may cost by ringing.
//!
//! A client rings after it has submitted, so each ring stands for a submission or more. One that
//! rings without submitting makes the worker look for nothing. A look is cheap and serves every
//! session, so nobody starves; but it takes the core. So a ring in vain costs a credit, a
//! submission earns one, and a session without credit is not listened to for a while: the worker
//! then looks at it by the clock, as it would at a client that cannot ring.

use std::time::Duration;

use crate::clock::Nanos;

/// Most rings in vain that are saved up for. A client that rings after each submission needs one or
/// two: a ring can come after its submission was taken, but not after the next one.
const CREDIT: u32 = 64;
/// How long a session is not listened to.
pub const DEAF_FOR: Duration = Duration::from_secs(1);
/// How often the worker looks at a session that it does not listen to.
pub const DEAF_LOOK: Duration = Duration::from_millis(1);

/// One session's account.
#[derive(Debug)]
pub struct Rings {
    credit: u32,
    has_rung: bool,
    /// When it is listened to again; `None` while it is.
    deaf_until: Option<Nanos>,
}

/// What a look at a session's ring says of its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing to remark.
    Fine,
    /// It had rung, and nothing was there.
    InVain,
    /// The same, and it has no credit left: listen to it no longer.
    Exhausted,
    /// It was not listened to for long enough.
    Forgiven,
}

impl Default for Rings {
    fn default() -> Self {
        Self {
            credit: CREDIT,
            has_rung: false,
            deaf_until: None,
        }
    }
}

impl Rings {
    /// The session has rung.
    pub const fn ring(&mut self) {
        self.has_rung = true;
    }

    /// The worker has looked, and has taken this many submissions.
    #[inline]
    pub fn looked(&mut self, taken: usize, now: Nanos) -> Look {
        if taken > 0 {
            let earned = u32::try_from(taken).unwrap_or(CREDIT);
            self.credit = self.credit.saturating_add(earned).min(CREDIT);
            self.has_rung = false;
        } else if self.has_rung {
            return self.in_vain(now);
        }
        match self.deaf_until {
            Some(until) if now >= until => {
                self.deaf_until = None;
                Look::Forgiven
            }
            _ => Look::Fine,
        }
    }

    #[cold]
    fn in_vain(&mut self, now: Nanos) -> Look {
        self.has_rung = false;
        self.credit = self.credit.saturating_sub(1);
        if self.credit > 0 || self.deaf_until.is_some() {
            return Look::InVain;
        }
        self.deaf_until = Some(now.after(DEAF_FOR));
        // What it may ring in vain once it is listened to again.
        self.credit = CREDIT / 8;
        Look::Exhausted
    }

    /// Whether a look that finds nothing would change nothing.
    #[inline]
    pub const fn is_quiet(&self) -> bool {
        !self.has_rung && self.deaf_until.is_none()
    }

    /// Whether the session is not listened to.
    pub const fn is_deaf(&self) -> bool {
        self.deaf_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(5);

    #[test]
    fn a_session_that_rings_for_its_submissions_is_always_heard() {
        let mut rings = Rings::default();
        for _ in 0..10 * CREDIT {
            rings.ring();
            assert_eq!(rings.looked(1, NOW), Look::Fine);
            // The ring of a submission that was taken before it came.
            rings.ring();
            assert_eq!(rings.looked(0, NOW), Look::InVain);
        }
        assert!(!rings.is_deaf());
    }

    #[test]
    fn a_session_that_only_rings_is_heard_so_often_and_again_after_a_while() {
        let mut rings = Rings::default();
        for _ in 1..CREDIT {
            rings.ring();
            assert_eq!(rings.looked(0, NOW), Look::InVain);
        }
        rings.ring();
        assert_eq!(rings.looked(0, NOW), Look::Exhausted);
        let later = NOW.after(DEAF_FOR);
        assert_eq!(rings.looked(0, Nanos(later.0 - 1)), Look::Fine);
        assert!(rings.is_deaf());
        // Submissions are taken all the same.
        assert_eq!(rings.looked(3, NOW), Look::Fine);
        assert_eq!(rings.looked(0, later), Look::Forgiven);
        assert!(!rings.is_deaf());
        let heard = (1..).take_while(|_| {
            rings.ring();
            rings.looked(0, later) == Look::InVain
        });
        assert_eq!(heard.count(), CREDIT as usize / 8 + 2);
    }
}
