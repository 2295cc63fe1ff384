//! The NATS client protocol on one connection, without tasks, queues or locks of its own: whoever
//! holds a [`Wire`] polls it. Source of the protocol:
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
//!
//! 1. `op`, `block`: what the server sends, and the header block of a message, read where they lie.
//! 2. `incoming`, `out`: what has come and is cut from one buffer; what goes, gathered in another and
//!    written in large pieces.
//! 3. `transport`, `tls`: the socket, encrypted or not.
//! 4. `info`, `sign_in`: what the server says of itself, and how we show ourselves to it.
//! 5. `server`: a connection to one, from the first byte to the last.
//!
//! A general client hands each message from the caller to a task, from there to the socket, and
//! back through a queue for each subscription. Here the room reads and writes by itself, which is
//! what a request costs least (`docs/PERFORMANCE.md`), and a message whose headers cannot be read
//! costs that one message and not the connection.

mod block;
mod incoming;
mod info;
mod op;
mod out;
mod server;
mod sign_in;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use block::Message;
pub(super) use block::{Block, Malformed};
pub use incoming::{Incoming, Line};
pub use info::Info;
pub use op::{Broken, Head};
pub use out::Out;
pub(super) use server::{Event, Wire};
