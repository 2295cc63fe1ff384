//! The worker room: one pinned thread that never blocks, between sessions and upstream.

pub mod mailbox;
