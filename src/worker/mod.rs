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
//! | `gate` | what each route lets through: the three below and the Router's word |
//! | `breaker` | keeps requests away from an upstream that answers nobody |
//! | `session` | one session |
//! | `sessions` | the table of sessions |
//! | `awake` | which of them are looked at |
//! | `charges` | what requests count against their user's limit |
//! | `in_flight` | the slab of requests on their way |
//! | `limit` | how many of them there may be |
//! | `slow` | clients that take no completions |
//! | `timers` | their deadlines |
//! | `rings` | what a session may cost by ringing |
//! | `mailbox` | to and from the control thread |
//! | `onlooker` | whether somebody looks, who is shown more |
//! | `idle` | how to wait |
//! | `thread` | a thread of its own |

pub mod awake;
pub mod breaker;
pub mod charges;
pub mod cycle;
pub mod gate;
pub mod idle;
pub mod in_flight;
pub mod limit;
pub mod mailbox;
pub mod onlooker;
pub mod parts;
pub mod rings;
pub mod session;
pub mod sessions;
pub mod slow;
pub mod thread;
pub mod timers;
pub mod validate;

#[cfg(test)]
mod tests;
