//! Judging what `nats::probe` has seen of the servers, for the routes of this configuration.

use core::time::Duration;

use super::finding::{Check, Finding};
use super::rights::{backpressure, permissions};
use crate::config::Config;
use crate::nats::{Probe, Seen, Unreached};
use crate::route::{Route, RouteKind};

/// Payloads that a gateway is no use without.
const LEAST_PAYLOAD: usize = 64 << 10;
/// From here on the way to the server is longer than what the gateway saves.
const FAR: Duration = Duration::from_millis(10);
/// The oldest release that the tests run against.
const OLDEST: (u32, u32) = (2, 9);
/// The newest one.
const NEWEST: (u32, u32) = (2, 14);

/// Findings for each server, in the order of `nats.urls`.
pub(super) fn judge(probes: &[Probe], config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(url) = config.nats.unprotected() {
        findings.push(Finding::warn(
            Check::Secrets,
            format!("a password or token would go to {url} unencrypted"),
            "Set nats.tls.required = true or use tls://, or sign in with an nkey or credentials file.",
        ));
    } else {
        findings.push(Finding::ok(
            Check::Secrets,
            "none leaves this machine unencrypted",
        ));
    }
    let is_one_up = probes.iter().any(|probe| probe.seen.is_ok());
    for Probe { place, seen } in probes {
        match seen {
            Ok(seen) => within(place, seen, config, &mut findings),
            Err(reason) => findings.push(unreached(place, reason, is_one_up)),
        }
    }
    findings
}

fn unreached(place: &str, reason: &Unreached, is_one_up: bool) -> Finding {
    let found = format!("{place}: {}", reason.text);
    if reason.is_refused {
        let advice = "The server is there and does not let this user in: check IPC_GATEWAY_NATS_USER \
                      and _PASSWORD, _TOKEN, _CREDS or _NKEY, or [nats] of the configuration file.";
        return Finding::fail(Check::Connect, found, advice);
    }
    if is_one_up {
        let advice = "Start it, or take it out of nats.urls: until then the others have to do.";
        return Finding::warn(Check::Connect, found, advice);
    }
    let advice = "Start nats-server there, or correct --nats, IPC_GATEWAY_NATS or nats.urls, the \
                  firewall and nats.tls.";
    Finding::fail(Check::Connect, found, advice)
}

fn within(place: &str, seen: &Seen, config: &Config, findings: &mut Vec<Finding>) {
    findings.push(Finding::ok(Check::Connect, format!("{place}: connected")));
    findings.push(version(place, seen));
    findings.push(inbox(place, seen, &config.nats.inbox_prefix));
    findings.push(round_trip(place, seen));
    findings.push(max_payload(place, seen, config.control.max_message_size));
    permissions(place, seen, config, findings);
    findings.push(backpressure(place, seen, &config.nats.backpressure));
    streams(place, seen, &config.routes, findings);
}

fn version(place: &str, seen: &Seen) -> Finding {
    let version = &seen.version;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let found = format!("{place}: nats-server {version}");
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (OLDEST..=NEWEST).contains(&(major, minor)) => {
            Finding::ok(Check::Version, found)
        }
        // Releases of the same major number stay compatible.
        (Some(major), Some(minor)) if major == NEWEST.0 && minor > NEWEST.1 => {
            let newer = "newer than 2.14, the newest that the gateway is tested with";
            Finding::ok(Check::Version, format!("{found}, {newer}"))
        }
        _ => Finding::warn(
            Check::Version,
            found,
            "The gateway is tested with nats-server 2.9 and 2.14: take one of these or what lies \
             between.",
        ),
    }
}

fn inbox(place: &str, seen: &Seen, prefix: &str) -> Finding {
    match &seen.inbox {
        Ok(true) => Finding::ok(
            Check::Inbox,
            format!("{place}: this user may subscribe to its inbox"),
        ),
        Ok(false) => Finding::fail(
            Check::Inbox,
            format!("{place}: this user may not subscribe to its inbox, {prefix}.>"),
            format!(
                "Allow this user to subscribe to {prefix}.>, or choose an inbox that it may have: \
                 nats.inbox_prefix."
            ),
        ),
        Err(reason) => Finding::warn(
            Check::Inbox,
            format!("{place}: whether this user may subscribe to its inbox is not known: {reason}"),
            format!(
                "Run it again. If the server stays silent, see its log, and that this user may \
                 subscribe to {prefix}.>."
            ),
        ),
    }
}

fn round_trip(place: &str, seen: &Seen) -> Finding {
    let Some(nanos) = seen.round_trip_ns else {
        return Finding::warn(
            Check::RoundTrip,
            format!("{place}: nothing has come back"),
            "Run it again. If the server stays silent, see its log and its load.",
        );
    };
    let time = Duration::from_nanos(nanos);
    let found = format!("{place}: {time:.1?}");
    if time < FAR {
        return Finding::ok(Check::RoundTrip, found);
    }
    Finding::warn(
        Check::RoundTrip,
        found,
        "No request is answered sooner than that: run a nats-server on this machine or near it, as a \
         leaf node of the others.",
    )
}

fn max_payload(place: &str, seen: &Seen, largest: u32) -> Finding {
    let kib = |bytes: usize| bytes >> 10;
    let wanted = usize::try_from(largest).unwrap_or(usize::MAX);
    let found = format!("{place}: {} KiB", kib(seen.max_payload));
    let advice = format!(
        "Clients may ask for messages of {} KiB (control.max_message_size): set max_payload of \
         nats-server to that, or lower the key. What is larger is rejected.",
        kib(wanted)
    );
    if seen.max_payload < LEAST_PAYLOAD.min(wanted) {
        Finding::fail(Check::MaxPayload, found, advice)
    } else if seen.max_payload < wanted {
        Finding::warn(Check::MaxPayload, found, advice)
    } else {
        Finding::ok(Check::MaxPayload, found)
    }
}

fn streams(place: &str, seen: &Seen, routes: &[Route], findings: &mut Vec<Finding>) {
    let lists = match &seen.streams {
        Err(reason) => {
            findings.push(Finding::warn(
                Check::Stream,
                format!("{place}: which streams capture the routes' subjects is not known: {reason}"),
                "Allow this user to publish $JS.API.STREAM.NAMES, or look yourself: nats stream ls.",
            ));
            return;
        }
        Ok(lists) => lists.as_deref(),
    };
    if lists.is_none() && routes.iter().all(|it| it.kind != RouteKind::Stream) {
        findings.push(Finding::ok(
            Check::Stream,
            format!("{place}: without JetStream for this user, and no route needs it"),
        ));
        return;
    }
    for (at, route) in routes.iter().enumerate() {
        let names = lists.and_then(|lists| lists.get(at));
        let names = names.map(|names| names.join(", ")).unwrap_or_default();
        findings.push(stream(place, route, &names));
    }
}

/// `names` are those of the streams that capture the route's subject.
fn stream(place: &str, route: &Route, names: &str) -> Finding {
    let subject = route.subject.as_str();
    let start = format!("{place}: route {}", route.name);
    match (route.kind, names) {
        (RouteKind::Stream, "") => Finding::fail(
            Check::Stream,
            format!("{start}: no stream captures {subject}"),
            format!(
                "Make one (nats stream add --subjects {subject}); until then requests of the route \
                 complete as NO_RESPONDERS."
            ),
        ),
        (RouteKind::Request, names) if !names.is_empty() => Finding::warn(
            Check::Stream,
            format!("{start}: stream {names} captures {subject}"),
            "The gateway ignores the stream's acknowledgements, but every request is stored, and without \
             a Router requests end as TIMEOUT and not at once as NO_RESPONDERS: take the subject out \
             of the stream unless that is meant.",
        ),
        (_, "") => Finding::ok(
            Check::Stream,
            format!("{start}: no stream captures {subject}"),
        ),
        (_, names) => Finding::ok(
            Check::Stream,
            format!("{start}: stream {names} captures {subject}"),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::finding::Level;
    use super::super::tests::configured;
    use super::*;
    use crate::nats::Permissions;

    pub(in super::super) const ROUTES: &str = r#"
control.max_message_size = "1MiB"
[[route]]
name = "ask"
subject = "a.ask"
[[route]]
name = "tell"
subject = "a.tell"
kind = "publish"
[[route]]
name = "store"
subject = "a.store"
kind = "stream"
"#;

    pub(in super::super) fn good(config: &Config) -> Seen {
        let streams = config.routes.iter().map(|route| match route.kind {
            RouteKind::Stream => vec!["S".to_owned()],
            _ => Vec::new(),
        });
        Seen {
            version: "2.14.0".to_owned(),
            max_payload: 1 << 20,
            round_trip_ns: Some(100_000),
            inbox: Ok(true),
            permissions: Ok(Permissions::default()),
            streams: Ok(Some(streams.collect())),
        }
    }

    pub(in super::super) fn complaints(
        probes: &[Probe],
        config: &Config,
    ) -> Vec<(Check, Level, String)> {
        let findings = judge(probes, config).into_iter();
        let bad = findings.filter(|it| it.level != Level::Ok);
        bad.inspect(|it| assert!(!it.advice.is_empty(), "{it}"))
            .map(|it| (it.check, it.level, it.found))
            .collect()
    }

    pub(in super::super) fn probe(seen: Result<Seen, Unreached>) -> Probe {
        let place = "h:1".to_owned();
        Probe { place, seen }
    }

    pub(in super::super) fn with(change: impl FnOnce(&mut Seen)) -> Vec<(Check, Level, String)> {
        let config = configured(ROUTES);
        let mut seen = good(&config);
        change(&mut seen);
        complaints(&[probe(Ok(seen))], &config)
    }

    pub(in super::super) fn kinds(complaints: &[(Check, Level, String)]) -> Vec<(Check, Level)> {
        complaints.iter().map(|it| (it.0, it.1)).collect()
    }

    #[test]
    fn a_good_server_is_ok_and_each_fault_is_found() {
        assert_eq!(with(|_| {}), []);
        let old = with(|seen| seen.version = "2.8.4".to_owned());
        assert_eq!(kinds(&old), [(Check::Version, Level::Warn)]);
        let deaf = with(|seen| seen.inbox = Ok(false));
        assert_eq!(kinds(&deaf), [(Check::Inbox, Level::Fail)]);
        let far = with(|seen| seen.round_trip_ns = Some(10_000_000));
        assert_eq!(kinds(&far), [(Check::RoundTrip, Level::Warn)]);
        let small = |bytes| kinds(&with(|seen| seen.max_payload = bytes));
        assert_eq!(small((1 << 20) - 1), [(Check::MaxPayload, Level::Warn)]);
        assert_eq!(small(64 << 10), [(Check::MaxPayload, Level::Warn)]);
        assert_eq!(small((64 << 10) - 1), [(Check::MaxPayload, Level::Fail)]);
    }

    #[test]
    fn of_a_server_that_says_nothing_nothing_is_known() {
        let silent = with(|seen| {
            seen.inbox = Err("no answer in 5s".to_owned());
            seen.round_trip_ns = None;
        });
        let warn = |check| (check, Level::Warn);
        assert_eq!(kinds(&silent), [warn(Check::Inbox), warn(Check::RoundTrip)]);
        assert!(silent[0].2.ends_with("is not known: no answer in 5s"));
    }

    #[test]
    fn a_newer_server_is_ok_and_said_to_be_newer_unless_it_is_of_another_major_release() {
        let config = configured("");
        let found = |number: &str| {
            let mut seen = good(&config);
            seen.version = number.to_owned();
            version("h:1", &seen)
        };
        for (number, level, is_newer) in [
            ("2.8.4", Level::Warn, false),
            ("2.9.0", Level::Ok, false),
            ("2.14.9", Level::Ok, false),
            ("2.15.0-RC.1", Level::Ok, true),
            ("3.0.0", Level::Warn, false),
            ("", Level::Warn, false),
        ] {
            let found = found(number);
            assert_eq!(found.level, level, "{found}");
            assert_eq!(found.found.contains("newer than 2.14"), is_newer, "{found}");
        }
    }

    #[test]
    fn streams_are_needed_by_some_routes_and_in_the_way_of_others() {
        let captured = with(|seen| {
            for list in seen.streams.as_mut().unwrap().as_mut().unwrap() {
                *list = vec!["S".to_owned()];
            }
        });
        assert!(captured.iter().all(|it| it.1 == Level::Warn));
        assert!(captured.iter().any(|it| it.2.contains("route ask")));
        assert!(!captured.iter().any(|it| it.2.contains("route tell")));
        let without = with(|seen| seen.streams = Ok(None));
        assert_eq!(kinds(&without), [(Check::Stream, Level::Fail)]);
        assert!(without[0].2.contains("route store"));
    }

    #[test]
    fn one_server_of_two_does_unless_it_refuses_the_user() {
        let config = configured(ROUTES);
        let down = |is_refused| {
            let text = "why".to_owned();
            probe(Err(Unreached { text, is_refused }))
        };
        let up = || probe(Ok(good(&config)));
        let found = |probes: &[Probe]| kinds(&complaints(probes, &config));
        let (warn, fail) = ((Check::Connect, Level::Warn), (Check::Connect, Level::Fail));
        assert_eq!(found(&[up(), down(false)]), [warn]);
        assert_eq!(found(&[up(), down(true)]), [fail]);
        assert_eq!(found(&[down(false), down(false)]), [fail, fail]);
    }

    #[test]
    fn a_password_on_an_open_network_is_told() {
        let mut config = configured("");
        config.nats.urls = vec!["nats://10.0.0.1:4222".to_owned()];
        config.nats.auth =
            crate::settings::NatsAuth::Token(crate::settings::Secret::new("s3cret".to_owned()));
        let found = complaints(&[], &config);
        assert_eq!(kinds(&found), [(Check::Secrets, Level::Warn)]);
        assert!(!found[0].2.contains("s3cret"));
    }
}
