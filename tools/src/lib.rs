//! What the tools have in common: the processes that a check is made with, the evidence that a run
//! leaves, the history of a client, and the checker that holds it against what the Router received
//! and what the gateway counted.

pub mod artifact;
pub mod history;
pub mod stage;
