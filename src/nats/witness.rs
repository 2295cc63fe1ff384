//! Why a connection ended: whether the server went away, or sent what cannot be read.
//!
//! nats-server hands a malformed header block on without looking at it, and async-nats ends the
//! connection that it comes on. The library says why in its own log only, at level debug. This
//! layer listens to that one event, whatever the log's filter is.
//!
//! The library's tasks run on the NATS room's thread, so what was heard is kept by thread.

use core::cell::RefCell;
use core::fmt;
use std::collections::VecDeque;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Errors that wait to be asked for. There are as many connections at most.
const KEPT: usize = 64;

thread_local! {
    static HEARD: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// What a subscriber needs so that `take` works.
pub fn witness<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let is_it = |metadata: &tracing::Metadata<'_>| {
        metadata.target() == "async_nats"
            && *metadata.level() == Level::DEBUG
            && metadata.fields().field("error").is_some()
    };
    Witness
        .with_filter(tracing_subscriber::filter::filter_fn(is_it).with_max_level_hint(Level::DEBUG))
}

/// Why a connection ended, if that was a message that could not be read. Each is given once, in
/// the order in which connections ended.
pub(super) fn take() -> Option<String> {
    HEARD.with_borrow_mut(VecDeque::pop_front)
}

struct Witness;

impl<S: Subscriber> Layer<S> for Witness {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        if said.message == "disconnected" && is_protocol_error(&said.error) {
            HEARD.with_borrow_mut(|heard| {
                heard.truncate(KEPT - 1);
                heard.push_back(said.error);
            });
        }
    }
}

#[derive(Default)]
struct Said {
    message: String,
    error: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            _ => {}
        }
    }
}

/// Whether an `Option<io::Error>` as text is one that async-nats makes when it cannot read a
/// message. Those of the operating system look otherwise.
fn is_protocol_error(error: &str) -> bool {
    error.starts_with("Some(Custom { kind: InvalidInput")
        || error.contains("parse status parameter")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn errors_of_the_network_are_not_the_senders_fault() {
        let text = |error: io::Error| format!("{:?}", Some(error));
        let parse = io::Error::new(io::ErrorKind::InvalidInput, "header isn't valid utf-8");
        assert!(is_protocol_error(&text(parse)));
        let status = io::Error::other("could not parse status parameter");
        assert!(is_protocol_error(&text(status)));
        assert!(!is_protocol_error(&text(
            io::ErrorKind::ConnectionReset.into()
        )));
        assert!(!is_protocol_error(&text(io::Error::from_raw_os_error(104))));
        assert!(!is_protocol_error("None"));
    }
}
