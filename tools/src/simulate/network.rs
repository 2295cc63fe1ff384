//! What is on its way between the gateway and the Router, and when it arrives.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_gateway::bridge::Token;
use ipc_gateway::clock::Nanos;
use ipc_gateway::nats::Message;
use ipc_gateway::nats::Serial;

use super::fate::Fate;

/// A request that the library has.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) serial: Serial,
    pub(crate) token: Token,
    pub(crate) route: u16,
    pub(crate) payload: Bytes,
    pub(crate) deadline: Nanos,
}

/// What will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// The request arrives.
    Arrival(Shipped, Fate),
    /// A message arrives for a token.
    Reply(Serial, Token, Message),
    /// The server has the message of a publish route.
    Confirmed(Serial, Token),
}

impl Event {
    /// The connection that it travels on.
    const fn serial(&self) -> Serial {
        match self {
            Self::Arrival(shipped, _) => shipped.serial,
            Self::Reply(serial, ..) | Self::Confirmed(serial, _) => *serial,
        }
    }
}

/// Everything on its way, by time, and by order where the time is the same.
#[derive(Debug, Default)]
pub(crate) struct Network {
    wire: BTreeMap<(Nanos, u64), Event>,
    order: u64,
}

impl Network {
    /// Lets something happen at this time.
    pub(crate) fn push(&mut self, at: Nanos, event: Event) {
        self.order += 1;
        self.wire.insert((at, self.order), event);
    }

    /// When the next thing happens.
    pub(crate) fn due(&self) -> Nanos {
        let first = self.wire.keys().next();
        first.map_or(Nanos::NEVER, |(at, _)| *at)
    }

    /// The next thing that has happened by `now`.
    pub(crate) fn pop(&mut self, now: Nanos) -> Option<Event> {
        let first = self.wire.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Takes off everything that travels on a connection, in order.
    pub(crate) fn cut(&mut self, serial: Serial) -> Vec<Event> {
        self.wire
            .extract_if(.., |_, event| event.serial() == serial)
            .map(|(_, event)| event)
            .collect()
    }
}
