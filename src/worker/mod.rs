//! The worker room: between the rings of its sessions and one upstream.
//!
//! A worker is stepped, by a thread of its own ([`thread`]) or by the NATS runtime's thread, and
//! never blocks: it moves submissions from rings to the upstream's queue, answers from there into
//! the blocks they belong to, and gives every accepted request exactly one completion. Only the
//! control thread speaks to it, by mail.
//!
//! | file | what it is |
//! |---|---|
//! | `cycle` | the duty cycle |
//! | `parts` | what a worker is made of |
//! | `validate` | what may pass |
//! | `sessions` | the table of sessions |
//! | `charges` | what requests count against their user's limit |
//! | `in_flight` | the slab of requests on their way |
//! | `timers` | their deadlines |
//! | `rings` | what a session may cost by ringing |
//! | `mailbox` | to and from the control thread |
//! | `idle` | how to wait |
//! | `thread` | a thread of its own |

pub mod charges;
pub mod cycle;
pub mod idle;
pub mod in_flight;
pub mod mailbox;
pub mod parts;
pub mod rings;
pub mod sessions;
pub mod thread;
pub mod timers;
pub mod validate;

#[cfg(test)]
mod tests;
