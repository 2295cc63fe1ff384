//! What a client process is told on standard input, and what it says on standard output: JSON, one
//! object a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::ledger::Account;

/// What a client is told. It drains and ends when its input does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Send.
    Load {
        /// When the schedule starts, in nanoseconds of the monotonic clock.
        start: u64,
        /// Requests a second of all clients; none is as many as the window allows.
        rate: Option<u64>,
        /// Clients that share the rate.
        clients: u32,
        /// This one among them, from 0.
        number: u32,
    },
    /// Send nothing more, and say when everything is completed.
    Pause,
}

/// What a client did since it last said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// When, in nanoseconds of the monotonic clock.
    pub(crate) at: u64,
    /// Whether it has been told to pause and has nothing on its way.
    pub(crate) idle: bool,
    /// Requests and completions.
    #[serde(flatten)]
    pub(crate) account: Account,
    /// Requests that were due while the window was full, and waited too long to be sent.
    pub(crate) given_up: u64,
    /// Requests that could not be submitted because the gateway was gone.
    pub(crate) refused: u64,
    /// Requests that the client library took for wrong.
    pub(crate) faulty: u64,
    /// Latency of what was answered, from when it was due, in microseconds.
    pub(crate) latency: String,
    /// How much later than due requests were sent although the window had room, in microseconds.
    pub(crate) lag: String,
    /// Lines of its history that could not be written.
    pub(crate) unwritten: u64,
}

/// A histogram as text, which is what a `.hlog` file has: the compressed V2 format in base64.
pub(crate) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // Writing to a vector does not fail, and the counts fit.
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => STANDARD.encode(bytes),
        Err(_) => String::new(),
    }
}

/// The histogram in a text; none when there is none in it.
pub(crate) fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_from_its_text() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
        for value in [10, 20, 2000] {
            histogram.record(value).unwrap();
        }
        let again = decode(&encode(&histogram)).unwrap();
        assert_eq!(again, histogram);
        assert!(decode("no").is_none());
    }

    #[test]
    fn an_order_is_one_line() {
        let order = Order::Load {
            start: 5,
            rate: None,
            clients: 2,
            number: 1,
        };
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
        let tick = Tick {
            at: 7,
            ..Tick::default()
        };
        let text = serde_json::to_string(&tick).unwrap();
        assert_eq!(serde_json::from_str::<Tick>(&text).unwrap(), tick);
    }
}
