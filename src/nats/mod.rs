//! The NATS room: takes requests from the workers' links, sends them on a few connections, and
//! answers each token at most once. The only room that speaks NATS.
//!
//! Enter through [`run`], on a thread of its own. Inside, from the outside in:
//!
//! 1. `runtime`, `gather`, `yields`: the thread's runtime, when to yield, when to wait for more, when to sleep.
//! 2. `requester`: one turn.
//! 3. `desk`, `outstanding`, `classify`: who waits for what, and how a message becomes a reply.
//! 4. `pool`, `dial`, `backoff`, `failure`, `files`, `connection`, `inbox`, `slots`, `digits`: the
//!    lines to NATS.
//! 5. `wire`: the protocol on one connection.
//! 6. `held`, `resend`, `publish`: requests on their way out.
//! 7. `complaint`, `refused`, `passage`: what the server does not let us do.
//! 8. `probe`: what `ipc-gateway doctor` sees of a server.
//! 9. `backpressure`: what the Router says of its load, as `router_contract` reads it.
//!
//! The third and the sixth do no IO: [`Desk`], [`Held`] and [`Queue`] are public so that the
//! simulation (`tools/src/simulate`) drives the same code as the room does, and what reads and writes
//! bytes in `wire` so that its instructions are counted (`benches/instructions.rs`).
//!
//! Invariant: a request that was handed to a connection is completed by the first of its reply, its
//! connection's end and the server's refusal; one that was not is rejected. Nothing is sent on a
//! connection that was lost and came back: a connection is used once.

mod backoff;
mod backpressure;
mod classify;
mod complaint;
mod connection;
mod desk;
mod dial;
mod digits;
mod error;
mod failure;
mod files;
mod gather;
mod held;
mod inbox;
mod outstanding;
mod passage;
mod pool;
mod probe;
mod publish;
mod refused;
mod requester;
mod resend;
mod runtime;
mod slots;
mod told;
mod wire;
mod yields;

pub use desk::Desk;
pub use error::NatsError;
pub use held::{Held, Queue};
pub use outstanding::Serial;
pub use probe::{Permissions, Probe, Rights, Seen, Unreached, probe};
pub use requester::MAX_HELD;
pub use runtime::run;
pub use wire::Message;
#[doc(hidden)]
pub use wire::{Broken, Head, Incoming, Info, Line, Out};

#[cfg(test)]
mod tests;
