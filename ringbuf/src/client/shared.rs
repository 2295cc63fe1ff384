//! [`SharedClient`]: one handle for many threads.
//!
//! One of the waiting threads is the leader: it sleeps on the session's bell, takes completions
//! and hands each to the thread that it belongs to. When the leader has what it came for it wakes
//! one of the others to lead. Those who wait for a free block stand in a queue: whoever takes
//! completions wakes as many of them as there are blocks, and nobody overtakes them. Nobody holds the
//! lock while asleep or while attaching: one thread tries, and the others are refused meanwhile.

use core::fmt;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::completion::OwnedCompletion;
use super::error::{CallError, Refused, is_unsent};
use super::handle::Client;
use super::reattach::Reattach;
use super::request::Request;
use super::route::RouteId;
use crate::doorbell;
use crate::error::{AttachError, EndReason};
use crate::sys;

/// Longest sleep of a leader or a follower before it looks around.
const SLICE: Duration = Duration::from_millis(100);

/// A handle that any number of threads can call through. Clones share the session.
///
/// A [`Client`] for each thread is faster: here every call takes a lock twice.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Request};
///
/// let client = ClientBuilder::new().connect_shared()?;
/// let route = client.route("decide").ok_or("the gateway has no route decide")?;
/// std::thread::scope(|scope| {
///     for _ in 0..8 {
///         let client = client.clone();
///         scope.spawn(move || match client.call(Request::to(route).payload(b"{}")) {
///             Ok(completion) => println!("{}", completion.code()),
///             Err(error) => println!("not sent: {error}"),
///         });
///     }
/// });
/// if !client.is_attached() {
///     println!("ended: {:?}", client.end_reason());
///     println!("attaching again: {:?}", client.last_attach_error());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SharedClient {
    state: Arc<Mutex<State>>,
    reattach: Reattach,
}

struct State {
    client: Client,
    next_mark: u64,
    /// Those who wait, by mark: where to wake them.
    waiting: HashMap<u64, Thread>,
    /// Completions whose threads have not taken them yet.
    done: HashMap<u64, OwnedCompletion>,
    /// Marks of those who wait for a free block, in order of arrival, and so ascending.
    queue: VecDeque<u64>,
    led: bool,
    /// Whether a thread tries to attach.
    attaching: bool,
}

impl fmt::Debug for SharedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedClient").finish_non_exhaustive()
    }
}

impl SharedClient {
    pub(super) fn new(client: Client) -> Self {
        let (client, reattach) = client.without_patience();
        let state = State {
            client,
            next_mark: 0,
            waiting: HashMap::new(),
            done: HashMap::new(),
            queue: VecDeque::new(),
            led: false,
            attaching: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            reattach,
        }
    }

    /// A route, to save the look-up at each call; it stays good when the handle attaches again. `None` when
    /// the gateway has no route of this name, and while detached.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<RouteId> {
        self.lock().client.route(name)
    }

    /// Whether there is a session. Calls notice a lost gateway.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lock().client.is_attached()
    }

    /// Why the last session ended, if one has.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.lock().client.end_reason()
    }

    /// Why the last try to attach again failed, if it did.
    #[must_use]
    pub fn last_attach_error(&self) -> Option<Arc<AttachError>> {
        self.lock().client.attach_error()
    }

    /// Submits a request and waits for its completion. A mark that the request has is not kept.
    /// With [`Reattach::Wait`] a gateway is waited for, and what an ending one has not sent is
    /// submitted again.
    ///
    /// # Errors
    /// [`CallError`] when nothing was sent.
    pub fn call(&self, request: Request<'_>) -> Result<OwnedCompletion, CallError> {
        let mut patience = self.reattach.patience();
        if !patience.is_some() {
            return self.call_once(request);
        }
        loop {
            let result = self.call_once(request.clone());
            if !is_unsent(&result) {
                return result;
            }
            let Some(pause) = patience.next() else {
                return result;
            };
            sys::pause(pause);
        }
    }

    fn call_once(&self, request: Request<'_>) -> Result<OwnedCompletion, CallError> {
        let mut state = self.attached(self.lock())?;
        let mark = state.next_mark;
        state.next_mark = mark.wrapping_add(1);
        let mut request = request.user_data(mark);
        state.waiting.insert(mark, std::thread::current());
        let submitted = loop {
            // Submitted without a session, it would attach.
            if !state.client.is_attached() {
                break Err(CallError::Detached);
            }
            if state.has_turn(mark) {
                match state.client.submit(request).map_err(Refused::from) {
                    Ok(_) => break Ok(()),
                    Err(Refused::Final(error)) => break Err(error),
                    Err(Refused::Full(back)) => request = back,
                }
            }
            state.enqueue(mark);
            state = self.wait(state, mark);
        };
        state.dequeue(mark);
        if let Err(error) = submitted {
            state.waiting.remove(&mark);
            // The block that it might have had is the next one's.
            state.wake_queue(mark);
            state.pass_on();
            return Err(error);
        }
        state.client.flush();
        loop {
            if let Some(completion) = state.done.remove(&mark) {
                state.pass_on();
                return Ok(completion);
            }
            state = self.wait(state, mark);
        }
    }

    /// Attaches again if there is no session, it is time to try and nobody else does. The lock is not
    /// held for the length of a handshake.
    fn attached<'l>(
        &'l self,
        mut state: MutexGuard<'l, State>,
    ) -> Result<MutexGuard<'l, State>, CallError> {
        if state.client.is_attached() {
            return Ok(state);
        }
        if state.attaching {
            return Err(CallError::Detached);
        }
        let Some(attachment) = state.client.due_attachment() else {
            return Err(CallError::Detached);
        };
        state.attaching = true;
        drop(state);
        let result = attachment.attach();
        let mut state = self.lock();
        state.attaching = false;
        state.client.tried(result);
        if state.client.is_attached() {
            Ok(state)
        } else {
            Err(CallError::Detached)
        }
    }

    /// Leads if nobody does, else sleeps until woken. Returns with the lock held again.
    fn wait<'l>(&'l self, mut state: MutexGuard<'l, State>, mark: u64) -> MutexGuard<'l, State> {
        if state.led {
            drop(state);
            std::thread::park_timeout(SLICE);
            return self.lock();
        }
        state.led = true;
        if !state.take_completions(mark)
            && let Some(sleeper) = state.client.arm_bell(doorbell::ASLEEP)
        {
            drop(state);
            sleeper.sleep(SLICE);
            state = self.lock();
            state.client.disarm_bell();
            if !state.take_completions(mark) {
                state.client.check_presence();
                state.take_completions(mark);
            }
        }
        state.led = false;
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another thread cannot leave the state half changed: every step that can
        // panic is an allocation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands every completion to its thread; says whether there was one for `mark`, or any at all
    /// when `mark` waits for a free block.
    fn take_completions(&mut self, mark: u64) -> bool {
        let mut any = false;
        while let Some(completion) = self.client.poll() {
            any = true;
            let owner = completion.ticket().0;
            let owned = completion.to_owned();
            if let Some(thread) = self.waiting.remove(&owner) {
                self.done.insert(owner, owned);
                if owner != mark {
                    thread.unpark();
                }
            }
        }
        if any {
            self.wake_queue(mark);
        }
        any
    }

    /// Whether it is this one's turn to submit: each of those who came before it has a block for
    /// itself. Without any free block everybody may try, to hear what else is wrong.
    fn has_turn(&self, mark: u64) -> bool {
        let free = self.client.free_blocks();
        free == 0 || self.queue.partition_point(|other| *other < mark) < free
    }

    /// Joins the queue, if not in it.
    fn enqueue(&mut self, mark: u64) {
        if let Err(at) = self.queue.binary_search(&mark) {
            self.queue.insert(at, mark);
        }
    }

    /// Leaves the queue, if in it.
    fn dequeue(&mut self, mark: u64) {
        if let Ok(at) = self.queue.binary_search(&mark) {
            self.queue.remove(at);
        }
    }

    /// Wakes those in the queue who have a block now, all but `mark`, which is awake; everybody when
    /// there is no session any more.
    fn wake_queue(&self, mark: u64) {
        let count = if self.client.is_attached() {
            self.client.free_blocks()
        } else {
            self.queue.len()
        };
        for next in self.queue.iter().take(count).filter(|next| **next != mark) {
            if let Some(thread) = self.waiting.get(next) {
                thread.unpark();
            }
        }
    }

    /// Wakes one of those who wait, to lead.
    fn pass_on(&self) {
        if !self.led
            && let Some(thread) = self.waiting.values().next()
        {
            thread.unpark();
        }
    }
}
