//! What a server complains about (`-ERR`), and what follows from it.

use super::failure::scrub;
use super::outstanding::Serial;
use super::refused::Routes;
use super::requester::Requester;
use crate::clock::Nanos;

/// Least time between two log lines about the server's complaints; all are counted.
const LOG_NS: u64 = 1_000_000_000;
/// Most characters of a complaint that are logged and shown.
const MOST_SHOWN: usize = 512;

/// A complaint, as far as something follows from it. It names no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint<'a> {
    /// This user may not publish to the subject.
    Publish(&'a str),
    /// This user may not subscribe to the subject.
    Subscription(&'a str),
    /// Another permission.
    Permission,
    /// The server does not know this user, or not any more.
    Authorization,
    /// Anything else.
    Other,
}

impl<'a> Complaint<'a> {
    /// From the text of an `-ERR`, without its quotes.
    pub(super) fn of(text: &'a str) -> Self {
        // Permissions Violation for Publish to "subject"
        // Permissions Violation for Subscription to "subject" using queue "name"
        if let Some(rest) = text.strip_prefix("Permissions Violation") {
            let subject = |start| {
                let (_, rest) = rest.split_once(start)?;
                rest.split_once('"').map(|(subject, _)| subject)
            };
            return subject(" for Publish to \"")
                .map(Self::Publish)
                .or_else(|| subject(" for Subscription to \"").map(Self::Subscription))
                .unwrap_or(Self::Permission);
        }
        let about_the_user = [
            "Authorization Violation",
            "User Authentication",
            "Account Authentication",
            "Authentication",
        ];
        if about_the_user.iter().any(|start| text.starts_with(start)) {
            return Self::Authorization;
        }
        Self::Other
    }
}

impl Requester {
    /// Counts a complaint.
    pub(super) fn count_complaint(&self, text: &str) {
        let metrics = &self.desk.metrics;
        match Complaint::of(text) {
            Complaint::Publish(_) | Complaint::Subscription(_) | Complaint::Permission => {
                metrics.errors_permission.increment();
            }
            Complaint::Authorization => metrics.errors_authorization.increment(),
            Complaint::Other => metrics.errors_other.increment(),
        }
    }

    /// Counts and reports a complaint, and completes what it is about. `passed` are the routes that the
    /// server had let through on the connection before.
    pub(super) fn complaint(&mut self, serial: Serial, text: &str, passed: &Routes, now: Nanos) {
        self.count_complaint(text);
        // Whoever is between may have put anything into it. Cut last: a part of a secret is not found.
        let shown = scrub(text.to_owned(), &self.settings.auth);
        let shown: String = shown.chars().take(MOST_SHOWN).collect();
        match Complaint::of(text) {
            Complaint::Publish(subject) => {
                let connection = self.pool.connection(serial);
                match connection.filter(|it| it.is_marker(subject)) {
                    Some(connection) => connection.refuse_markers(now),
                    None => self.refuse(serial, subject, passed, now),
                }
            }
            Complaint::Subscription(subject) => {
                // Without its inbox a connection gets no answers.
                let deaf = self.pool.connection(serial);
                if let Some(connection) = deaf.filter(|it| it.listens_on(subject)) {
                    connection.has_ended = true;
                    connection.complaint = Some(shown.clone());
                }
            }
            Complaint::Permission => {}
            // It is why the server closes the connection now, or may be why it does so next.
            Complaint::Authorization | Complaint::Other => {
                if let Some(connection) = self.pool.connection(serial) {
                    connection.complaint = Some(shown.clone());
                }
            }
        }
        if self.log_again <= now {
            self.log_again = Nanos(now.0.saturating_add(LOG_NS));
            tracing::warn!(error = shown, "the NATS server complains");
        }
        self.health.set_last_error(shown);
    }

    /// What was published to `subject` on a connection was not let through, or not all of it.
    fn refuse(&mut self, serial: Serial, subject: &str, passed: &Routes, now: Nanos) {
        self.desk.forbidden(serial, subject, passed, now);
        if let Some(connection) = self.pool.connection(serial) {
            let routes = (0_u16..).zip(self.routes.iter());
            for (number, _) in routes.filter(|(_, route)| route.subject.as_str() == subject) {
                connection.refused(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_say_what_they_are_about() {
        for (text, expected) in [
            (
                "Permissions Violation for Publish to \"a.b\"",
                Complaint::Publish("a.b"),
            ),
            (
                "Permissions Violation for Subscription to \"_INBOX.x.*\"",
                Complaint::Subscription("_INBOX.x.*"),
            ),
            (
                "Permissions Violation for Subscription to \"a\" using queue \"q\"",
                Complaint::Subscription("a"),
            ),
            (
                "Permissions Violation for Publish with Reply of \"a\"",
                Complaint::Permission,
            ),
            ("Authorization Violation", Complaint::Authorization),
            ("User Authentication Expired", Complaint::Authorization),
            ("User Authentication Revoked", Complaint::Authorization),
            ("Account Authentication Expired", Complaint::Authorization),
            ("Authentication Timeout", Complaint::Authorization),
            ("Stale Connection", Complaint::Other),
        ] {
            assert_eq!(Complaint::of(text), expected);
        }
    }
}
