//! Judging what the user may do at a server, for the routes and the Router's backpressure.

use super::finding::{Check, Finding};
use crate::config::Config;
use crate::nats::Seen;
use crate::route::RouteKind;
use crate::settings::BackpressureSettings;

/// A finding for each route, and one of its inbox where a route needs to publish to it.
pub(super) fn permissions(place: &str, seen: &Seen, config: &Config, findings: &mut Vec<Finding>) {
    let rights = match &seen.permissions {
        Ok(permissions) => &permissions.publish,
        Err(reason) => {
            findings.push(Finding::warn(
                Check::Permission,
                format!("{place}: what this user may publish is not known: {reason}"),
                "Allow it to publish $SYS.REQ.USER.INFO (nats-server 2.10 or later), or compare its \
                 permissions with the subjects of the routes yourself.",
            ));
            return;
        }
    };
    for route in &config.routes {
        let (name, subject) = (&route.name, route.subject.as_str());
        findings.push(if rights.cover(subject) {
            Finding::ok(
                Check::Permission,
                format!("{place}: route {name}: this user may publish to {subject}"),
            )
        } else {
            Finding::fail(
                Check::Permission,
                format!("{place}: route {name}: this user may not publish to {subject}"),
                format!(
                    "Add {subject} to what the user may publish in nats-server's configuration; \
                     until then requests of the route complete as FORBIDDEN."
                ),
            )
        });
    }
    let prefix = &config.nats.inbox_prefix;
    let has_publish = config.routes.iter().any(|it| it.kind == RouteKind::Publish);
    // Nobody has it: as many tokens as the gateway's own.
    if has_publish && !rights.cover(&format!("{prefix}.doctor.0.m")) {
        findings.push(Finding::fail(
            Check::Permission,
            format!("{place}: this user may not publish to its inbox"),
            format!("Allow {prefix}.>: routes of kind publish need it."),
        ));
    }
}

/// Whether the Router can say that it has too much to do.
pub(super) fn backpressure(place: &str, seen: &Seen, settings: &BackpressureSettings) -> Finding {
    let subject = settings.subject.as_deref();
    let Some(subject) = subject.filter(|_| !settings.routes.is_empty()) else {
        return Finding::ok(Check::Backpressure, "no route is to be closed by it");
    };
    let deaf = format!(
        "Add {subject} to what the user may subscribe to, or set backpressure.enabled = false: without \
         it requests are sent to a Router that has too much to do."
    );
    let Ok(permissions) = &seen.permissions else {
        return Finding::warn(
            Check::Backpressure,
            format!("{place}: whether this user may hear {subject} is not known"),
            format!(
                "Allow it to publish $SYS.REQ.USER.INFO (nats-server 2.10 or later), or see yourself that \
                 it may subscribe to {subject}."
            ),
        );
    };
    if !permissions.subscribe.cover(subject) {
        return Finding::warn(
            Check::Backpressure,
            format!("{place}: this user may not subscribe to {subject}"),
            deaf,
        );
    }
    if settings.poll_interval.is_some() && !permissions.publish.cover(subject) {
        return Finding::warn(
            Check::Backpressure,
            format!("{place}: this user may not publish to {subject}, and is to ask there"),
            format!(
                "Add {subject} to what the user may publish to, or leave backpressure.poll_interval out: \
                 what the Router pushes is heard all the same."
            ),
        );
    }
    Finding::ok(
        Check::Backpressure,
        format!("{place}: this user may hear {subject}"),
    )
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::finding::Level;
    use super::super::servers::tests::{ROUTES, complaints, good, kinds, probe, with};
    use super::super::tests::configured;
    use super::*;
    use crate::nats::{Permissions, Rights};

    #[test]
    fn what_a_user_may_not_publish_is_named_and_what_is_not_known_fails_nothing() {
        let narrow = with(|seen| {
            let allow = Some(vec!["a.ask".to_owned(), "a.store".to_owned()]);
            let deny = Vec::new();
            let permissions = seen.permissions.as_mut().unwrap();
            permissions.publish = Rights { allow, deny };
        });
        let fail = (Check::Permission, Level::Fail);
        assert_eq!(kinds(&narrow[..2]), [fail, fail], "{narrow:?}");
        assert!(narrow.iter().any(|it| it.2.contains("route tell")));
        assert!(narrow.iter().any(|it| it.2.contains("inbox")), "{narrow:?}");
        let unknown = with(|seen| {
            seen.permissions = Err("2.9".to_owned());
            seen.streams = Err("2.9".to_owned());
        });
        let warn = |check| (check, Level::Warn);
        assert_eq!(
            kinds(&unknown),
            [
                warn(Check::Permission),
                warn(Check::Backpressure),
                warn(Check::Stream)
            ]
        );
    }

    #[test]
    fn a_router_that_cannot_be_heard_or_asked_is_told() {
        let mut config = configured(ROUTES);
        let found = |config: &Config, deaf: bool, mute: bool| {
            let mut seen = good(config);
            let subject = "beamline.router.v2.status.backpressure";
            let deny = |is_so: bool| Rights {
                allow: None,
                deny: is_so.then(|| subject.to_owned()).into_iter().collect(),
            };
            seen.permissions = Ok(Permissions {
                publish: deny(mute),
                subscribe: deny(deaf),
            });
            kinds(&complaints(&[probe(Ok(seen))], config))
        };
        let warning = [(Check::Backpressure, Level::Warn)];
        assert_eq!(found(&config, true, false), warning);
        // Who only listens need not publish.
        assert_eq!(found(&config, false, true), []);
        config.nats.backpressure.poll_interval = Some(Duration::from_secs(1));
        assert_eq!(found(&config, false, true), warning);
        // Without a route that it would close it is of no use.
        config.nats.backpressure.routes.clear();
        assert_eq!(found(&config, true, true), []);
    }
}
