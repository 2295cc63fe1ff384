//! The control room: everything slow. Accepts clients, checks who they are, makes their regions,
//! gives them to workers, and takes them down when they go. Its own thread and runtime.
//!
//! | file | what it is |
//! |---|---|
//! | `listener` | the socket that clients attach to |
//! | `attach` | from a hello to a session |
//! | `server` | the loop: clients, notices of the workers, signals |

mod attach;
mod listener;
mod server;

pub use listener::{Listener, StartError};
pub use server::{Ended, Server, WorkerHandle, run};
