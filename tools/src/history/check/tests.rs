use super::*;

/// What one client asked and was told, and what the Router received.
struct Story {
    client: Vec<String>,
    router: Vec<String>,
}

fn payload(n: u64) -> String {
    format!(r#"{{"request_id":"c-{n}"}}"#)
}

impl Story {
    fn new() -> Self {
        let start = r#"{"event":"start","client":"c","tenant":"acme"}"#;
        Self {
            client: vec![start.to_owned()],
            router: Vec::new(),
        }
    }

    fn submit(mut self, n: u64, at: u64) -> Self {
        let digest = digest(payload(n).as_bytes());
        self.client.push(format!(
            r#"{{"event":"submit","n":{n},"at":{at},"timeout":1000,"digest":{digest}}}"#
        ));
        self
    }

    fn complete(mut self, n: u64, at: u64, outcome: &str, code: &str) -> Self {
        self.client.push(format!(
            r#"{{"event":"complete","n":{n},"at":{at},"outcome":"{outcome}","code":"{code}","names_it":true}}"#
        ));
        self
    }

    fn ok(self, n: u64) -> Self {
        let at = n * 10;
        self.submit(n, at)
            .received(n)
            .complete(n, at + 5, "answered", "OK")
    }

    fn received(self, n: u64) -> Self {
        self.received_as(&payload(n), "acme")
    }

    fn received_as(mut self, payload: &str, tenant: &str) -> Self {
        let line = serde_json::json!({"payload": payload, "headers": {"tenant_id": [tenant]}});
        self.router.push(line.to_string());
        self
    }

    fn end(mut self) -> Self {
        self.client.push(r#"{"event":"end","at":99999}"#.to_owned());
        self
    }

    fn checker(&self) -> Checker {
        let mut checker = Checker::default();
        checker.client(&(self.client.join("\n") + "\n")).unwrap();
        checker.router(&(self.router.join("\n") + "\n")).unwrap();
        checker
    }

    fn broken(&self) -> Vec<Invariant> {
        self.checker().judge().broken.into_keys().collect()
    }
}

#[test]
fn a_good_history_holds() {
    let story = Story::new()
        .ok(1)
        .ok(2)
        .submit(3, 0)
        .complete(3, 10, "rejected", "QUOTA")
        .submit(4, 0)
        .received(4)
        .complete(4, 10, "unknown", "TIMEOUT")
        .end();
    let verdict = story.checker().judge();
    assert!(verdict.holds(), "{verdict}");
    assert_eq!((verdict.submitted, verdict.received), (4, 3));
}

#[test]
fn a_completion_too_few_or_too_many_is_found() {
    let never = Story::new().submit(1, 0).end();
    assert_eq!(never.broken(), [Invariant::I1]);
    let again = Story::new().ok(1).complete(1, 9, "answered", "OK").end();
    assert_eq!(again.broken(), [Invariant::I1]);
    let nobodys = Story::new()
        .complete(1, 9, "answered", "NO_RESPONDERS")
        .end();
    assert_eq!(nobodys.broken(), [Invariant::I1]);
    // A client that was killed waits for nothing.
    assert_eq!(Story::new().submit(1, 0).broken(), []);
}

#[test]
fn a_rejected_request_that_was_received_is_found() {
    let story = Story::new()
        .submit(1, 0)
        .received(1)
        .complete(1, 5, "rejected", "UPSTREAM_DOWN");
    assert_eq!(story.end().broken(), [Invariant::I2]);
}

#[test]
fn an_answer_from_nowhere_or_to_other_bytes_is_found() {
    let nowhere = Story::new().submit(1, 0).complete(1, 5, "answered", "OK");
    assert_eq!(nowhere.end().broken(), [Invariant::I3]);
    let changed = r#"{"request_id":"c-1"} "#;
    for (payload, tenant) in [(changed, "acme"), (payload(1).as_str(), "other")] {
        let story = Story::new().submit(1, 0).received_as(payload, tenant);
        let story = story.complete(1, 5, "answered", "OK").end();
        assert_eq!(story.broken(), [Invariant::I3]);
    }
    let mut mixed_up = Story::new().ok(1).end();
    mixed_up.client[2] = mixed_up.client[2].replace("true", "false");
    assert_eq!(mixed_up.broken(), [Invariant::I3]);
}

#[test]
fn a_repetition_is_found_unless_it_is_allowed() {
    let mut story = Story::new().ok(1).received(1).end();
    assert_eq!(story.broken(), [Invariant::I4]);
    story.client[1] = story.client[1].replace("\"digest\"", "\"idempotent\":true,\"digest\"");
    assert_eq!(story.broken(), []);
    let story = story.received(1).received(1);
    assert_eq!(story.broken(), [Invariant::I4]);
}

#[test]
fn a_late_completion_is_found() {
    let at = 1000 + 50_000_000;
    let timely = Story::new()
        .submit(1, 0)
        .complete(1, at, "unknown", "TIMEOUT");
    assert_eq!(timely.end().broken(), []);
    let late = Story::new()
        .submit(1, 0)
        .complete(1, at + 1, "unknown", "TIMEOUT");
    assert_eq!(late.end().broken(), [Invariant::I5]);
}

#[test]
fn books_that_do_not_balance_or_differ_from_the_clients_are_found() {
    let story = Story::new().ok(1).end();
    let good = Books {
        accepted: 1,
        completions: [("OK".to_owned(), 1)].into(),
        ..Books::default()
    };
    let judge = |books: Books| {
        let mut checker = story.checker();
        checker.books(books);
        checker.judge().broken.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(judge(good.clone()), []);
    let accepted = 2;
    assert_eq!(
        judge(Books {
            accepted,
            ..good.clone()
        }),
        [Invariant::I6]
    );
    let two = Books {
        accepted,
        completions: [("OK".to_owned(), 2)].into(),
        ..Books::default()
    };
    assert_eq!(judge(two), [Invariant::I6]);
    let sessions = 1;
    assert_eq!(judge(Books { sessions, ..good }), [Invariant::I7]);
}

#[test]
fn failures_after_a_healing_are_found_and_those_of_a_fault_are_not() {
    let second = 1_000_000_000;
    let judge = |at: u64| {
        let story = Story::new()
            .submit(1, at)
            .complete(1, at, "unknown", "UPSTREAM_LOST");
        let mut checker = story.ok(0).end().checker();
        checker.marks([
            Mark::Fault { at: 10 * second },
            Mark::Healed { at: 11 * second },
            Mark::Fault { at: 20 * second },
            Mark::Healed { at: 21 * second },
        ]);
        let verdict = checker.judge();
        (
            verdict.healed,
            verdict.broken.into_keys().collect::<Vec<_>>(),
        )
    };
    assert_eq!(judge(15 * second), (1, vec![Invariant::I8]));
    for fault in [10, 12, 19, 20, 22] {
        // Nothing was asked while all was well, which is a finding of its own.
        assert_eq!(judge(fault * second), (0, vec![Invariant::I8]));
    }
}

#[test]
fn a_client_that_was_not_touched_has_no_failure() {
    let story = Story::new()
        .submit(1, 0)
        .complete(1, 5, "unknown", "TIMEOUT")
        .end();
    let mut checker = story.checker();
    checker.untouched("c");
    checker.untouched("d");
    assert_eq!(checker.judge().broken, [(Invariant::I9, 2)].into());
}

#[test]
fn a_line_that_was_cut_is_left_out_and_a_bad_one_is_an_error() {
    let mut checker = Checker::default();
    checker
        .client("{\"event\":\"start\",\"client\":\"c\",\"tenant\":\"t\"}\n{\"ev")
        .unwrap();
    assert!(checker.client("{\"ev\n").is_err());
    assert!(checker.router("nonsense\n").is_err());
}

#[test]
fn a_request_without_its_tenant_is_found_where_the_gateway_binds_tenants() {
    for headers in [
        serde_json::json!({}),
        serde_json::Value::Null,
        serde_json::json!({"tenant_id": []}),
        serde_json::json!({"tenant_id": "acme"}),
    ] {
        let mut story = Story::new().submit(1, 0);
        let line = serde_json::json!({"payload": payload(1), "headers": headers});
        story.router.push(line.to_string());
        let story = story.complete(1, 5, "answered", "OK").end();
        let broken = |tenants| {
            let mut checker = Checker::new(Limits {
                tenants,
                ..Limits::default()
            });
            checker.client(&(story.client.join("\n") + "\n")).unwrap();
            checker.router(&(story.router.join("\n") + "\n")).unwrap();
            !checker.judge().holds()
        };
        let is_named = headers["tenant_id"] == "acme";
        assert_eq!(broken(Tenants::Bound), !is_named, "{headers}");
        let is_empty = headers["tenant_id"].is_array();
        assert_eq!(broken(Tenants::Free), is_empty, "{headers}");
    }
}
