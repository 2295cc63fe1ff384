//! Fewer lines of one site: whatever happens how often, one place in the code writes so many lines
//! at once and so many a second, and others still have room.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::{Clock, System};
use crate::metrics::Counter;
use crate::throttle::Throttle;

/// Lines of one site that may come at once.
const BURST: u32 = 200;
/// Time in which one more is allowed.
const REFILL: Duration = Duration::from_millis(20);

/// Lets a line pass while its site has an allowance, and counts those that it stops.
pub(super) struct Sites<C = System> {
    throttle: Mutex<Throttle<Identifier>>,
    /// Written under the lock.
    suppressed: Arc<Counter>,
    clock: C,
}

impl Sites {
    /// Counts what it stops with `suppressed`.
    pub(super) fn new(suppressed: Arc<Counter>) -> Self {
        Self::with_clock(suppressed, System)
    }
}

impl<C> Sites<C> {
    fn with_clock(suppressed: Arc<Counter>, clock: C) -> Self {
        Self {
            throttle: Mutex::new(Throttle::new(BURST, REFILL)),
            suppressed,
            clock,
        }
    }
}

impl<S: Subscriber, C: Clock + 'static> Filter<S> for Sites<C> {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let site = event.metadata().callsite();
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = throttle.allows(site, self.clock.now());
        if !allowed {
            self.suppressed.increment();
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::{Layer, SubscriberExt as _};
    use tracing_subscriber::registry;

    use super::*;
    use crate::clock::Nanos;

    #[derive(Clone, Default)]
    struct Hand(Arc<Mutex<u64>>);

    impl Clock for Hand {
        fn now(&self) -> Nanos {
            Nanos(*self.0.lock().unwrap())
        }
    }

    struct Heard(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
    }

    #[test]
    fn a_site_that_says_much_does_not_silence_another() {
        let (heard, clock) = (Arc::default(), Hand::default());
        let suppressed = Arc::new(Counter::default());
        let sites = Sites::with_clock(Arc::clone(&suppressed), clock.clone());
        let layer = Heard(Arc::clone(&heard)).with_filter(sites);
        let count = |name: &str| {
            let heard: &Mutex<Vec<&str>> = &heard;
            let heard = heard.lock().unwrap();
            heard.iter().filter(|target| **target == name).count()
        };
        tracing::subscriber::with_default(registry().with(layer), || {
            let shout = |times: u32| {
                for _ in 0..times {
                    tracing::warn!(target: "loud", "again");
                }
            };
            shout(1000);
            tracing::warn!(target: "quiet", "once");
            assert_eq!((count("loud"), count("quiet")), (200, 1));
            assert_eq!(suppressed.get(), 800);
            *clock.0.lock().unwrap() += 100_000_000;
            shout(1000);
            assert_eq!(count("loud"), 205);
        });
    }
}
