//! The closed lists of outcomes and codes: how a request ended. Numbers and names are stable for ever.

use core::fmt;

/// Which of the three classes a completion belongs to: whether the request may have run.
///
/// ```
/// use ipc_ringbuf::{Code, Outcome};
///
/// assert_eq!(Code::Timeout.outcome(), Outcome::Unknown);
/// assert_eq!(Outcome::Unknown.name(), "unknown");
/// assert!(Outcome::ALL.contains(&Outcome::Rejected));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Outcome {
    /// The Router, or for some codes the broker, decided.
    Answered = 1,
    /// The request never left the gateway: it is always safe to send it again.
    Rejected = 2,
    /// The request may have run: send it again only if it is idempotent.
    Unknown = 3,
}

impl Outcome {
    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Rejected, Self::Unknown];

    /// The lower-case name used in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $outcome:ident, $status:literal;)*) => {
        /// Why a request completed the way it did. Numbers and names are stable for ever.
        ///
        /// ```
        /// use ipc_ringbuf::{Code, Outcome};
        ///
        /// let code = Code::from_number(207).unwrap();
        /// assert_eq!(code, Code::UpstreamDown);
        /// assert_eq!(code.outcome(), Outcome::Rejected);
        /// assert_eq!((code.name(), code.number(), code.status()), ("UPSTREAM_DOWN", 207, 503));
        /// assert!(Code::Ok.is_success() && !code.is_success());
        /// // Those that leave it open whether the request has run.
        /// let open = Code::ALL.iter().filter(|code| code.outcome() == Outcome::Unknown);
        /// assert!(open.clone().any(|code| *code == Code::Timeout));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The upper-case name used in JSON, logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The class that this code belongs to. A code belongs to exactly one.
            #[inline]
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)* }
            }

            /// The HTTP-like status number.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

codes! {
    /// The Router answered, and its answer is not an error.
    Ok = 0, "OK", Answered, 200;
    /// A `publish` route: the broker has the message.
    Sent = 1, "SENT", Answered, 202;
    /// A `stream` route: the stream has stored the message.
    Stored = 2, "STORED", Answered, 201;
    /// The broker knows of nobody who listens to the route's subject. Safe to send again.
    NoResponders = 10, "NO_RESPONDERS", Answered, 503;
    /// A `stream` route: `JetStream` answered with an error; the body is that answer.
    StreamError = 11, "STREAM_ERROR", Answered, 500;
    /// The Router answered `invalid_request`.
    RouterInvalidRequest = 100, "ROUTER_INVALID_REQUEST", Answered, 400;
    /// The Router answered `unauthorized`.
    RouterUnauthorized = 101, "ROUTER_UNAUTHORIZED", Answered, 401;
    /// The Router answered `policy_not_found`.
    RouterPolicyNotFound = 102, "ROUTER_POLICY_NOT_FOUND", Answered, 404;
    /// The Router answered `decision_failed`.
    RouterDecisionFailed = 103, "ROUTER_DECISION_FAILED", Answered, 500;
    /// The Router answered `internal`.
    RouterInternal = 104, "ROUTER_INTERNAL", Answered, 500;
    /// The Router answered `extension_not_found`.
    RouterExtensionNotFound = 105, "ROUTER_EXTENSION_NOT_FOUND", Answered, 404;
    /// The Router answered `extension_timeout`.
    RouterExtensionTimeout = 106, "ROUTER_EXTENSION_TIMEOUT", Answered, 504;
    /// The Router answered `validator_blocked`.
    RouterValidatorBlocked = 107, "ROUTER_VALIDATOR_BLOCKED", Answered, 403;
    /// The Router answered `post_processor_failed`.
    RouterPostProcessorFailed = 108, "ROUTER_POST_PROCESSOR_FAILED", Answered, 500;
    /// The Router answered `extension_unavailable`.
    RouterExtensionUnavailable = 109, "ROUTER_EXTENSION_UNAVAILABLE", Answered, 503;
    /// The Router answered `extension_error`.
    RouterExtensionError = 110, "ROUTER_EXTENSION_ERROR", Answered, 500;
    /// The Router answered `unavailable`.
    RouterUnavailable = 111, "ROUTER_UNAVAILABLE", Answered, 503;
    /// The Router answered `rate_limit_exceeded`.
    RouterRateLimitExceeded = 112, "ROUTER_RATE_LIMIT_EXCEEDED", Answered, 429;
    /// The Router answered an error that nobody knows; the body is that answer. Never a success.
    RouterUnknown = 199, "ROUTER_UNKNOWN", Answered, 500;
    /// The submission descriptor is malformed.
    BadRecord = 200, "BAD_RECORD", Rejected, 400;
    /// Headers and payload are larger than the session, the route or the broker allows.
    TooLarge = 201, "TOO_LARGE", Rejected, 413;
    /// No route has this number.
    BadRoute = 202, "BAD_ROUTE", Rejected, 404;
    /// A header name or value is malformed or reserved, or there are too many.
    BadHeader = 203, "BAD_HEADER", Rejected, 400;
    /// This user may not use this route, or not for this tenant.
    Forbidden = 204, "FORBIDDEN", Rejected, 403;
    /// This user has too much in flight.
    Quota = 205, "QUOTA", Rejected, 429;
    /// The gateway or the Router is overloaded; the completion says when to try again.
    Overloaded = 206, "OVERLOADED", Rejected, 429;
    /// There is no connection to NATS.
    UpstreamDown = 207, "UPSTREAM_DOWN", Rejected, 503;
    /// The deadline passed before the request was handed to NATS, or came so near that it could not be.
    ExpiredUnsent = 208, "EXPIRED_UNSENT", Rejected, 504;
    /// The gateway is shutting down.
    Draining = 209, "DRAINING", Rejected, 503;
    /// No answer within the deadline.
    Timeout = 300, "TIMEOUT", Unknown, 504;
    /// The connection to NATS was lost while the request was on its way.
    UpstreamLost = 301, "UPSTREAM_LOST", Unknown, 502;
    /// An answer came that cannot be handed on, for example because it is larger than the block.
    BadReply = 302, "BAD_REPLY", Unknown, 502;
    /// The gateway ended while the request was outstanding.
    GatewayRestarted = 303, "GATEWAY_RESTARTED", Unknown, 503;
}

impl Code {
    /// Whether the request did what its route promises: `OK`, `SENT` or `STORED`.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Ok | Self::Sent | Self::Stored)
    }

    /// The stable number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_unambiguous() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number());
            assert_ne!(pair[0].name(), pair[1].name());
        }
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
    }
}
