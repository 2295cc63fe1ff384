//! How long a listener rests that cannot accept.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// The rests of one listener that has no descriptors left: twice as long each time that there are
/// still none, because what is short does mostly not come back at once.
pub(super) struct Rest {
    next: Duration,
}

impl Default for Rest {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Rest {
    /// Rests, and longer the next time.
    pub(super) async fn take(&mut self) {
        tokio::time::sleep(self.due()).await;
    }

    /// Accepting works: the next rest is a short one.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    fn due(&mut self) -> Duration {
        let longer = (2 * self.next).min(LONGEST);
        std::mem::replace(&mut self.next, longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_a_second_and_are_short_again_after() {
        let mut rest = Rest::default();
        let taken = [(); 6].map(|()| rest.due().as_millis());
        assert_eq!(taken, [100, 200, 400, 800, 1000, 1000]);
        rest.over();
        assert_eq!(rest.due(), FIRST);
    }
}
