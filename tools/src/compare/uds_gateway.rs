//! The baseline that shared memory has to beat: a gateway over a Unix-domain socket, on one thread,
//! with the same NATS side as `direct-pipelined`.
//!
//! ```text
//! client -- frames --> reader task --> Asker --> NATS
//! client <-- frames -- outbox  <-- dispatcher <-- Answers <-- NATS
//! ```
//!
//! All answers of a batch that go to one client are written at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::inbox::{self, Answers, Asker};
use crate::{frames, orders, responder};
use ipc_tools::stage::{Failure, While as _};

/// Bytes that one read has room for, at least.
const CHUNK: usize = 64 * 1024;

/// What answers requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upstream<'a> {
    Nats {
        address: &'a str,
        subject: &'a str,
    },
    /// The gateway itself.
    Echo,
}

/// Serves at `socket` until standard input ends.
///
/// # Errors
/// The socket's, or the connection's to NATS.
pub(crate) async fn run(socket: &str, upstream: Upstream<'_>) -> Result<(), Failure> {
    let listener = UnixListener::bind(socket).or_say(format_args!("cannot listen at {socket}"))?;
    let desk = match upstream {
        Upstream::Nats { address, subject } => {
            let (asker, answers) = inbox::open(address, subject).await?;
            let desk = Rc::new(Desk::new(asker));
            spawn_local(end_with(dispatch(answers, Rc::clone(&desk))));
            Some(desk)
        }
        Upstream::Echo => None,
    };
    orders::say_ready()?;
    std::thread::spawn(responder::end_with_input);
    loop {
        let (stream, _) = listener.accept().await.or_say("cannot accept")?;
        let outbox = Rc::new(Outbox::new(stream));
        spawn_local(write_later(Rc::clone(&outbox)));
        spawn_local(end_with(serve(outbox, desk.clone())));
    }
}

/// Nothing goes on after a failure: clients see the end of their connections.
async fn end_with(task: impl Future<Output = Result<(), Failure>>) {
    if let Err(failure) = task.await {
        crate::complain(&failure);
        #[expect(clippy::exit, reason = "the run has failed")]
        std::process::exit(1);
    }
}

/// Who waits for which answer.
#[derive(Debug)]
struct Desk {
    asker: Asker,
    /// By slot.
    waiting: RefCell<Vec<Option<Waiter>>>,
    free: RefCell<Vec<usize>>,
}

/// A client that waits for an answer.
#[derive(Debug)]
struct Waiter {
    outbox: Rc<Outbox>,
    /// The client's number of the request.
    number: u64,
}

impl Desk {
    const fn new(asker: Asker) -> Self {
        Self {
            asker,
            waiting: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
        }
    }

    fn enter(&self, outbox: &Rc<Outbox>, number: u64) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        let who = Some(Waiter {
            outbox: Rc::clone(outbox),
            number,
        });
        let free = self.free.borrow_mut().pop();
        if let Some(place) = free.and_then(|slot| waiting.get_mut(slot)) {
            *place = who;
            free.unwrap_or(0)
        } else {
            waiting.push(who);
            waiting.len() - 1
        }
    }

    fn leave(&self, slot: usize) -> Option<Waiter> {
        let who = self.waiting.borrow_mut().get_mut(slot)?.take()?;
        self.free.borrow_mut().push(slot);
        Some(who)
    }
}

/// The way to one client.
#[derive(Debug)]
struct Outbox {
    stream: UnixStream,
    /// Not yet written.
    out: RefCell<Vec<u8>>,
    /// Whether it is among those that the present batch has answers for.
    is_dirty: Cell<bool>,
    /// The socket was full.
    later: Notify,
}

impl Outbox {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            out: RefCell::new(Vec::new()),
            is_dirty: Cell::new(false),
            later: Notify::new(),
        }
    }

    /// Writes as much as the socket takes.
    fn write(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        let mut written = 0;
        let result = loop {
            let rest = out.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.stream.try_write(rest) {
                Ok(count) => written += count,
                Err(error) => break Err(error),
            }
        };
        out.drain(..written);
        result
    }

    /// Writes now, or leaves it to the task that waits for room.
    fn flush(&self) {
        if self.write().is_err() {
            self.later.notify_one();
        }
    }
}

/// Writes what the socket did not take at once. Ends with the connection.
async fn write_later(outbox: Rc<Outbox>) {
    loop {
        outbox.later.notified().await;
        loop {
            if outbox.stream.writable().await.is_err() {
                return;
            }
            match outbox.write() {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client is gone; its answers are of no use to anybody.
                Err(_) => return,
            }
        }
    }
}

/// Takes one client's requests.
async fn serve(outbox: Rc<Outbox>, desk: Option<Rc<Desk>>) -> Result<(), Failure> {
    let mut buffer = BytesMut::new();
    loop {
        if outbox.stream.readable().await.is_err() {
            return Ok(());
        }
        buffer.reserve(CHUNK);
        match outbox.stream.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return Ok(()),
        }
        while let Some((number, body)) = frames::split(&mut buffer)? {
            let Some(desk) = &desk else {
                frames::push(&mut outbox.out.borrow_mut(), number, &body);
                continue;
            };
            let slot = desk.enter(&outbox, number);
            desk.asker.ask(slot, body).await?;
        }
        if desk.is_none() {
            outbox.flush();
        }
    }
}

/// Takes answers to the clients that wait for them.
async fn dispatch(mut answers: Answers, desk: Rc<Desk>) -> Result<(), Failure> {
    let mut dirty: Vec<Rc<Outbox>> = Vec::new();
    loop {
        for message in answers.next().await? {
            let slot = answers.slot_of(&message)?;
            let Waiter { outbox, number } = desk.leave(slot).ok_or_else(|| {
                Failure::Failed(format!(
                    "an answer came to request {slot}, which nobody made"
                ))
            })?;
            frames::push(&mut outbox.out.borrow_mut(), number, &message.payload);
            if !outbox.is_dirty.replace(true) {
                dirty.push(outbox);
            }
        }
        for outbox in dirty.drain(..) {
            outbox.is_dirty.set(false);
            outbox.flush();
        }
    }
}
