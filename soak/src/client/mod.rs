//! A client process: sends decide requests at its pace, checks each reply against its ledger, and
//! tells what it did, once a second.
//!
//! | file | what it is |
//! |---|---|
//! | `order` | what it is told on standard input, and what it says on standard output |
//! | `pace` | when its requests are due |
//! | `body` | what it sends, and how a reply is known |
//! | `load` | the loop |

mod body;
mod load;
mod order;
mod pace;

pub(crate) use load::run;
pub(crate) use order::{Order, Tick, decode, encode};

/// What a client prints once it is attached.
pub(crate) const ATTACHED: &str = "attached";
