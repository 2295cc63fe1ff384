//! One connection: two directions, both of which follow the state.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::order::{Cut, State};

/// Bytes taken at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that wait for their delay in one direction; beyond, the sender is not read.
const WAITING: usize = 4 * 1024 * 1024;

/// Forwards until an end, or until it is told to end.
pub(crate) async fn run(
    mut client: TcpStream,
    mut server: TcpStream,
    state: watch::Receiver<State>,
) {
    let before = state.borrow().cuts;
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, state.clone(), None);
        let down = pump(from_server, to_client, state.clone(), Some(before));
        let both = async { tokio::try_join!(up, down) };
        let (mut both, mut ended) = (pin!(both), pin!(ended(state.clone(), before)));
        tokio::select! {
            // An error of one side is the other's end.
            _ = &mut both => Cut::Drop,
            cut = &mut ended => cut,
        }
    };
    if cut == Cut::Reset {
        // What is closed without lingering is reset.
        for side in [&client, &server] {
            drop(side.set_zero_linger());
        }
    }
}

/// Waits for an order that ends both directions.
async fn ended(mut state: watch::Receiver<State>, before: u64) -> Cut {
    let is_end = |state: &State| state.cuts > before && state.cut != Some(Cut::HalfClose);
    match state.wait_for(is_end).await {
        Ok(state) => state.cut.unwrap_or(Cut::Drop),
        Err(_) => Cut::Drop,
    }
}

/// Forwards one direction to its end. `half_close` is the number of orders after which one to
/// half-close is meant for this direction.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    half_close: Option<u64>,
) -> io::Result<()> {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut bytes, mut is_open) = (0, true);
    let mut chunk = vec![0; CHUNK];
    while is_open || !waiting.is_empty() {
        let now = *state.borrow_and_update();
        if half_close.is_some_and(|before| now.cuts > before && now.cut == Some(Cut::HalfClose)) {
            to.shutdown().await?;
            // The other direction goes on until an end.
            return core::future::pending().await;
        }
        let due = waiting.front().map(|(taken, _)| *taken + now.delay);
        tokio::select! {
            changed = state.changed() => changed.map_err(io::Error::other)?,
            read = from.read(&mut chunk), if is_open && !now.is_blackhole && bytes < WAITING => {
                let taken = chunk.get(..read?).unwrap_or_default();
                is_open = !taken.is_empty();
                bytes += taken.len();
                waiting.push_back((Instant::now(), taken.to_vec()));
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)),
                if due.is_some() && !now.is_blackhole =>
            {
                if let Some((_, taken)) = waiting.pop_front() {
                    bytes -= taken.len();
                    to.write_all(&taken).await?;
                }
            }
        }
    }
    to.shutdown().await
}
