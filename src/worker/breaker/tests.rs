use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(5);
const START: Nanos = Nanos(1_000_000_000_000);

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        enabled: true,
        failures_percent: 50,
        min_failures: 4,
        window: Duration::from_secs(10),
        open_time: Duration::from_secs(1),
        max_open_time: Duration::from_secs(8),
        probes: 2,
        min_timeout: Duration::from_millis(100),
    }
}

struct Bench {
    breaker: Breaker,
    now: Nanos,
}

impl Bench {
    fn new() -> Self {
        Self::with(policy())
    }

    fn with(policy: BreakerPolicy) -> Self {
        Self {
            breaker: Breaker::new(policy, 7),
            now: START,
        }
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    /// One request that ends at once.
    fn request(&mut self, code: Code) {
        let pass = self.breaker.admit(self.now).unwrap();
        self.breaker.ended(pass, code, self.now, LONG, self.now);
    }

    fn open(&mut self) {
        while self.breaker.state() != State::Open {
            self.request(Code::NoResponders);
        }
    }

    fn wait_until_half_open(&mut self) -> Pass {
        self.now = self.breaker.until;
        self.breaker.admit(self.now).unwrap()
    }

    fn end(&mut self, pass: Pass, code: Code) {
        self.breaker.ended(pass, code, self.now, LONG, self.now);
    }
}

#[test]
fn enough_failures_open_it_and_a_refusal_says_for_how_long() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.request(Code::NoResponders);
    }
    assert_eq!(bench.breaker.state(), State::Closed);
    bench.request(Code::NoResponders);
    assert_eq!(bench.breaker.state(), State::Open);
    let refused = bench.breaker.admit(bench.now).unwrap_err();
    assert!(
        (750..=1250).contains(&refused.retry_after_ms),
        "{refused:?}"
    );
}

#[test]
fn a_share_of_failures_below_the_limit_leaves_it_closed() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.request(Code::Ok);
        bench.request(Code::Ok);
        bench.request(Code::NoResponders);
    }
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn failures_leave_the_window() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.request(Code::NoResponders);
        bench.pass(Duration::from_secs(4));
    }
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn the_routers_own_errors_and_our_rejections_never_open_it() {
    let mut bench = Bench::new();
    for code in Code::ALL {
        if matches!(
            code,
            Code::NoResponders | Code::Timeout | Code::UpstreamLost
        ) {
            continue;
        }
        for _ in 0..100 {
            bench.request(*code);
        }
        assert_eq!(bench.breaker.state(), State::Closed, "{code}");
    }
}

#[test]
fn a_timeout_counts_only_when_nobody_was_answered_meanwhile_and_there_was_time() {
    let mut bench = Bench::new();
    let time_out = |bench: &mut Bench, allowed: Duration, answered: bool| {
        let pass = bench.breaker.admit(bench.now).unwrap();
        let accepted = bench.now;
        bench.pass(Duration::from_millis(10));
        if answered {
            bench.request(Code::Ok);
        }
        bench.pass(Duration::from_millis(10));
        bench
            .breaker
            .ended(pass, Code::Timeout, accepted, allowed, bench.now);
    };
    for _ in 0..50 {
        time_out(&mut bench, LONG, true);
        time_out(&mut bench, Duration::from_millis(99), false);
    }
    assert_eq!(bench.breaker.state(), State::Closed);
    bench.pass(LONG * 3);
    for _ in 0..4 {
        time_out(&mut bench, LONG, false);
    }
    assert_eq!(bench.breaker.state(), State::Open);
}

#[test]
fn a_lost_connection_is_one_failure() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        bench.request(Code::UpstreamLost);
    }
    assert_eq!(bench.breaker.state(), State::Closed);
    for _ in 0..3 {
        bench.pass(Duration::from_millis(100));
        bench.request(Code::UpstreamLost);
    }
    assert_eq!(bench.breaker.state(), State::Open);
}

#[test]
fn a_limited_number_of_probes_passes_and_one_answer_closes_it() {
    let mut bench = Bench::new();
    bench.open();
    let first = bench.wait_until_half_open();
    let second = bench.breaker.admit(bench.now).unwrap();
    bench.breaker.admit(bench.now).unwrap_err();
    // One that says nothing gives its place back.
    bench.end(second, Code::UpstreamDown);
    bench.breaker.admit(bench.now).unwrap();
    bench.breaker.admit(bench.now).unwrap_err();
    bench.end(first, Code::RouterInvalidRequest);
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn probes_of_sessions_that_have_gone_give_their_places_back() {
    let mut bench = Bench::new();
    bench.open();
    let mut pass = bench.wait_until_half_open();
    for _ in 0..100 {
        bench.breaker.forget(pass);
        pass = bench.breaker.admit(bench.now).unwrap();
    }
    let _second = bench.breaker.admit(bench.now).unwrap();
    bench.breaker.admit(bench.now).unwrap_err();
}

#[test]
fn each_failed_probe_doubles_the_open_time_up_to_its_limit() {
    let mut bench = Bench::new();
    bench.open();
    for seconds in [1_u64, 2, 4, 8, 8] {
        let wait = bench.breaker.until.until(bench.now);
        let of_it = wait.as_millis() / u128::from(seconds);
        assert!((750..=1250).contains(&of_it), "{wait:?} {seconds}");
        let probe = bench.wait_until_half_open();
        bench.end(probe, Code::NoResponders);
        assert_eq!(bench.breaker.state(), State::Open);
    }
    let probe = bench.wait_until_half_open();
    bench.end(probe, Code::Ok);
    // Failing at once goes on where it was; after a good while it begins anew.
    bench.open();
    assert!(bench.breaker.until.until(bench.now) >= Duration::from_secs(6));
    let probe = bench.wait_until_half_open();
    bench.end(probe, Code::Ok);
    bench.pass(Duration::from_secs(60));
    bench.open();
    assert!(bench.breaker.until.until(bench.now) <= Duration::from_millis(1250));
}

#[test]
fn what_was_sent_before_a_change_decides_nothing_after_it() {
    let mut bench = Bench::new();
    let old = bench.breaker.admit(bench.now).unwrap();
    bench.open();
    let probe = bench.wait_until_half_open();
    bench.end(old, Code::NoResponders);
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    bench.end(old, Code::Ok);
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    bench.end(probe, Code::Ok);
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn switched_off_it_never_opens_by_itself_but_probes_after_a_closure() {
    let mut bench = Bench::with(BreakerPolicy {
        enabled: false,
        ..policy()
    });
    for _ in 0..1000 {
        bench.request(Code::NoResponders);
    }
    assert_eq!(bench.breaker.state(), State::Closed);
    bench.breaker.probe();
    let probe = bench.breaker.admit(bench.now).unwrap();
    bench.breaker.admit(bench.now).unwrap();
    bench.breaker.admit(bench.now).unwrap_err();
    bench.end(probe, Code::Ok);
    assert_eq!(bench.breaker.state(), State::Closed);
}

proptest! {
    /// However requests come and end: no more probes than allowed are on their way, nothing passes
    /// while open, and an upstream that has healed is let in again.
    #[test]
    fn any_course_of_events_ends_well(
        steps in prop::collection::vec((0_u8..7, 0_u64..3_000), 1..300),
        seed in any::<u64>(),
    ) {
        let mut breaker = Breaker::new(policy(), seed);
        let mut now = START;
        let mut out: Vec<(Pass, Nanos, State)> = Vec::new();
        for (what, millis) in steps {
            let code = match what {
                0 => Code::Ok,
                1 => Code::NoResponders,
                2 => Code::Timeout,
                3 => Code::UpstreamLost,
                4 => Code::UpstreamDown,
                _ => {
                    now = now.after(Duration::from_millis(millis));
                    let was_open = breaker.state() == State::Open && now < breaker.until;
                    if let Ok(pass) = breaker.admit(now) {
                        prop_assert!(!was_open);
                        out.push((pass, now, breaker.state()));
                    }
                    let probes = out.iter().filter(|(pass, _, state)| {
                        *state == State::HalfOpen && pass.0 == breaker.stay
                    });
                    prop_assert!(probes.count() <= 2);
                    continue;
                }
            };
            if !out.is_empty() {
                let at = usize::try_from(millis).unwrap() % out.len();
                let (pass, accepted, _) = out.swap_remove(at);
                breaker.ended(pass, code, accepted, LONG, now);
            }
        }
        for (pass, accepted, _) in out.drain(..) {
            breaker.ended(pass, Code::UpstreamDown, accepted, LONG, now);
        }
        for _ in 0..3 {
            now = now.after(Duration::from_secs(11));
            let pass = breaker.admit(now);
            prop_assert!(pass.is_ok());
            breaker.ended(pass.unwrap(), Code::Ok, now, LONG, now);
            prop_assert_eq!(breaker.state(), State::Closed);
        }
    }
}
