//! [`AsyncClient`]: one handle for the tasks of a tokio runtime.
//!
//! A task of its own, the driver, waits for the control socket, takes completions and hands each
//! to the task that it belongs to. It ends when the last handle is dropped. When it ends for another
//! reason, nothing would be completed any more: what waits is, and nothing more is sent.

use core::fmt;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::attachment::Attachment;
use super::completion::OwnedCompletion;
use super::error::{CallError, Refused, is_unsent};
use super::handle::Client;
use super::reattach::Reattach;
use super::request::Request;
use super::route::RouteId;
use super::waiting::WaitStrategy;
use crate::code::Code;
use crate::error::{AttachError, EndReason};

/// Longest time between two looks at whether the gateway is still there.
const SLICE: Duration = Duration::from_millis(500);
/// Time between two looks at whether a lost gateway may be tried again, or at a session whose socket
/// cannot be watched.
const RETRY_LOOK: Duration = Duration::from_millis(20);

/// A handle that any number of tasks can call through. Clones share the session.
///
/// It needs the runtime that it was attached on, with input, output and time enabled. When that runtime
/// is shut down, what is outstanding completes as `GATEWAY_RESTARTED`, and later calls are refused as
/// detached.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Request};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let client = ClientBuilder::new().connect_async().await?;
///     let route = client.route("decide").ok_or("the gateway has no route decide")?;
///     let one = client.call(Request::to(route).payload(b"1"));
///     let other = client.call(Request::to(route).payload(b"2"));
///     let (one, other) = tokio::join!(one, other);
///     println!("{} {}", one?.code(), other?.code());
///     if !client.is_attached() {
///         println!("ended: {:?}", client.end_reason());
///         println!("attaching again: {:?}", client.last_attach_error());
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct AsyncClient {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// One permit for each block.
    credits: Semaphore,
    reattach: Reattach,
    /// Rung when the last handle is dropped, so that the driver ends.
    dropped: Arc<Notify>,
}

struct State {
    client: Client,
    next_mark: u64,
    waiting: HashMap<u64, oneshot::Sender<OwnedCompletion>>,
    /// Whether the driver has ended: what is sent would never be completed.
    undriven: bool,
}

impl fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient").finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

impl AsyncClient {
    pub(super) async fn attach(
        attachment: Attachment,
        wait: WaitStrategy,
    ) -> Result<Self, AttachError> {
        let attached = tokio::task::spawn_blocking(move || {
            let session = attachment.attach()?;
            Ok::<_, AttachError>((attachment, session))
        });
        let (attachment, session) = attached.await.map_err(std::io::Error::other)??;
        let (client, reattach) = Client::new(attachment, session, wait).without_patience();
        let dropped = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            credits: Semaphore::new(client.entries() as usize),
            state: Mutex::new(State {
                client,
                next_mark: 0,
                waiting: HashMap::new(),
                undriven: false,
            }),
            reattach,
            dropped: Arc::clone(&dropped),
        });
        tokio::spawn(drive(Driven(Arc::downgrade(&shared)), dropped));
        Ok(Self { shared })
    }

    /// A route, to save the look-up at each call; it stays good when the handle attaches again. `None` when
    /// the gateway has no route of this name, and while detached.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<RouteId> {
        self.shared.lock().client.route(name)
    }

    /// Whether there is a session, and a runtime that serves it.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let state = self.shared.lock();
        !state.undriven && state.client.is_attached()
    }

    /// Why the last session ended, if one has.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.shared.lock().client.end_reason()
    }

    /// Why the last try to attach again failed, if it did.
    #[must_use]
    pub fn last_attach_error(&self) -> Option<Arc<AttachError>> {
        self.shared.lock().client.attach_error()
    }

    /// Submits a request and waits for its completion. Waits for a free block if there is none. A
    /// mark that the request has is not kept. Dropping the future does not cancel the request. With
    /// [`Reattach::Wait`] a gateway is waited for, and what an ending one has not sent is submitted
    /// again.
    ///
    /// # Errors
    /// [`CallError`] when nothing was sent.
    pub async fn call(&self, request: Request<'_>) -> Result<OwnedCompletion, CallError> {
        let mut patience = self.shared.reattach.patience();
        if !patience.is_some() {
            return self.call_once(request).await;
        }
        loop {
            let result = self.call_once(request.clone()).await;
            if !is_unsent(&result) {
                return result;
            }
            // Without a driver no gateway is found any more.
            if self.shared.credits.is_closed() {
                return result;
            }
            let Some(pause) = patience.next() else {
                return result;
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn call_once(&self, request: Request<'_>) -> Result<OwnedCompletion, CallError> {
        let Ok(credit) = self.shared.credits.acquire().await else {
            return Err(CallError::Detached);
        };
        // Given back by the driver, when the completion has come.
        credit.forget();
        let (mark, receiver) = self.shared.submit(request).inspect_err(|_| {
            self.shared.credits.add_permits(1);
        })?;
        // From here on it was sent, whoever fails to say what became of it.
        let unknown = |_| OwnedCompletion::bare(mark, Code::GatewayRestarted);
        Ok(receiver.await.unwrap_or_else(unknown))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(
        &self,
        request: Request<'_>,
    ) -> Result<(u64, oneshot::Receiver<OwnedCompletion>), CallError> {
        let mut state = self.lock();
        if state.undriven || !state.client.is_attached() {
            return Err(CallError::Detached);
        }
        let mark = state.next_mark;
        state.next_mark = mark.wrapping_add(1);
        match state
            .client
            .submit(request.user_data(mark))
            .map_err(Refused::from)
        {
            Ok(_) => {}
            Err(Refused::Final(error)) => return Err(error),
            // A permit is a block; only a session lost in between can say otherwise.
            Err(Refused::Full(_)) => return Err(CallError::Detached),
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(mark, sender);
        state.client.flush();
        Ok((mark, receiver))
    }

    /// Hands every completion to its task.
    fn take_completions(&self) {
        let mut state = self.lock();
        let mut taken = 0;
        while let Some(completion) = state.client.poll().map(|c| c.to_owned()) {
            taken += 1;
            if let Some(sender) = state.waiting.remove(&completion.ticket().0) {
                // Nobody listens any more: the request is complete all the same.
                drop(sender.send(completion));
            }
        }
        drop(state);
        self.credits.add_permits(taken);
    }

    /// Whether the driver may sleep: the bell is armed and nothing was completed meanwhile.
    fn arm(&self) -> bool {
        self.lock().client.arm()
    }

    /// A second descriptor of the control socket, for the runtime to watch.
    fn socket(&self) -> Option<OwnedFd> {
        let state = self.lock();
        state.client.session()?.socket().try_clone_to_owned().ok()
    }

    /// Takes the wake packets; notices a gateway that is gone.
    fn disarm(&self) {
        self.lock().client.disarm();
    }
}

/// What is driven, as the driver holds it. Dropped with the driver's task: when it has ended, has
/// panicked, or its runtime is shut down, before it has run at all perhaps.
struct Driven(Weak<Shared>);

impl Drop for Driven {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        shared.credits.close();
        let mut state = shared.lock();
        state.undriven = true;
        for (mark, sender) in state.waiting.drain() {
            // It was sent, and nobody will know what became of it.
            drop(sender.send(OwnedCompletion::bare(mark, Code::GatewayRestarted)));
        }
    }
}

/// The driver.
async fn drive(driven: Driven, dropped: Arc<Notify>) {
    let Driven(shared) = &driven;
    while let Some(strong) = shared.upgrade() {
        let watched = strong.socket().map(crate::sys::watch_readable);
        if let Some(Ok(socket)) = watched {
            drop(strong);
            serve(shared, &dropped, &socket).await;
            continue;
        }
        // There is no session, or no room in this process to watch its socket: then it is looked at
        // as often as a lost gateway.
        strong.take_completions();
        let due = strong.lock().client.due_attachment();
        if let Some(attachment) = due {
            // Blocks for the length of a handshake; nobody else must wait for that.
            let attempt = tokio::task::spawn_blocking(move || attachment.attach()).await;
            let result = attempt.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
            strong.lock().client.tried(result);
        }
        drop(strong);
        let _ = tokio::time::timeout(RETRY_LOOK, dropped.notified()).await;
    }
}

/// Serves one session until it is lost or the last handle is dropped.
async fn serve(shared: &Weak<Shared>, dropped: &Notify, socket: &AsyncFd<OwnedFd>) {
    while let Some(strong) = shared.upgrade() {
        strong.take_completions();
        if !strong.lock().client.is_attached() {
            return;
        }
        if !strong.arm() {
            continue;
        }
        drop(strong);
        tokio::select! {
            ready = socket.readable() => {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
            () = tokio::time::sleep(SLICE) => {}
            () = dropped.notified() => return,
        }
        if let Some(strong) = shared.upgrade() {
            strong.disarm();
        }
    }
}
