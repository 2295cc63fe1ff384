//! Why there is no connection, in words that hold no secret.

use core::fmt;

use crate::settings::NatsAuth;

/// Why an attempt to connect has failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What happened.
    pub(super) text: String,
    /// Whose fault it is.
    pub(super) cause: Cause,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server does not let this user in, or not do what is needed.
    Authorization,
    /// Anything else.
    Other,
}

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            text: error.to_string(),
            cause: Cause::Other,
        }
    }
}

/// The part of a URL after credentials, which should not be there but may.
pub(super) fn without_userinfo(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, place)| place)
}

/// Removes the configured secret from text, whoever put it there, in capitals or not.
pub(super) fn scrub(text: String, auth: &NatsAuth) -> String {
    match auth {
        NatsAuth::Password {
            password: secret, ..
        }
        | NatsAuth::Token(secret)
            if !secret.reveal().is_empty() =>
        {
            without(&text, secret.reveal())
        }
        _ => text,
    }
}

fn without(text: &str, secret: &str) -> String {
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut left = String::with_capacity(text.len());
    let mut end = 0;
    for (start, found) in lower.match_indices(&secret) {
        left.push_str(text.get(end..start).unwrap_or_default());
        left.push_str("***");
        end = start + found.len();
    }
    left.push_str(text.get(end..).unwrap_or_default());
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    #[test]
    fn secrets_do_not_stay_in_text() {
        let auth = NatsAuth::Token(Secret::new("s3cret".to_owned()));
        assert_eq!(scrub("bad s3cret here".to_owned(), &auth), "bad *** here");
        let twice = "S3CRETs3cret-\u{e9}-S3cret";
        assert_eq!(scrub(twice.to_owned(), &auth), "******-\u{e9}-***");
        assert_eq!(without_userinfo("nats://me:pw@host:1"), "host:1");
        assert_eq!(without_userinfo("nats://host:1"), "nats://host:1");
    }
}
