//! The control room: everything slow. Accepts clients, checks who they are, makes their regions,
//! gives them to workers, and takes them down when they go. Its own thread and runtime.
//!
//! | file | what it is |
//! |---|---|
//! | `listener` | the socket that clients attach to |
//! | `attach` | from a hello to a session |
//! | `server` | the loop: clients, notices of the workers, signals |
//! | `interrupt` | signals, for the subcommands that are not the server |

mod attach;
mod interrupt;
mod listener;
mod server;

pub use interrupt::Interrupts;
pub use listener::{Listener, StartError};
pub use server::{Ended, Server, WorkerHandle, run};
