//! The one room of system calls: memfds, eventfds, futexes, epoll, descriptor passing, time.
//!
//! Everything here is a thin, safe wrapper. Calls that could block on something a hostile peer
//! holds are not among them: a futex wake cannot block, socket sends carry `MSG_DONTWAIT`, and the
//! gateway never reads or writes an eventfd that a client also holds.
//!
//! | file | what it has |
//! |---|---|
//! | `time` | the clock, and giving the processor away |
//! | `memory` | memory files: made, sealed, given back |
//! | `page` | the page that a worker shows its clients |
//! | `futex` | sleeping on a word of shared memory |
//! | `bell` | what a worker sleeps on, and what rings it |
//! | `socket` | control sockets, and who is at the other end |
//! | `packet` | what goes over them |
//! | `interrupted` | calls on them that a signal interrupts |

mod bell;
mod futex;
mod interrupted;
mod memory;
mod packet;
mod page;
mod socket;
mod time;

pub use bell::{Bell, Ringer, Rings, eventfd, ring_eventfd};
pub use futex::{futex_wait, futex_wake};
pub(crate) use memory::file_size;
pub use memory::{check_sealed, give_back, sealed_memfd};
#[cfg(feature = "tokio")]
pub use packet::watch_readable;
pub(crate) use packet::{Peer, drain, hung_up, nudge};
pub use packet::{is_readable, receive_packet, receive_plain, send_packet};
pub use page::BellPage;
pub(crate) use socket::is_other_socket_type;
pub use socket::{
    accept, connect_seqpacket, own_uid, packet_pair, peer_groups, peer_uid, take_inherited,
};
pub(crate) use time::{coarse_ns, pause};
pub use time::{monotonic_ns, yield_now};
