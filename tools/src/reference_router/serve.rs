//! The network side: subscriptions, replies, backpressure and signals, on one thread.
//!
//! Each subscription has a task that takes what has come as one batch, has all of it judged, and
//! only then sends: so the log is in its file before the replies are on their way. Only a reply
//! that must wait has a task of its own.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::args::{Args, Backpressure};
use crate::backpressure::Status;
use crate::log::{self, Action};
use crate::router::{Content, Counts, Reply, Router};

/// Most requests that are judged before their replies are sent.
const BATCH: usize = 256;
/// Requests that may wait for us; async-nats drops those beyond it.
const SUBSCRIPTION_CAPACITY: usize = 1 << 18;
/// Replies that may wait for the connection's task.
const CLIENT_CAPACITY: usize = 8192;
/// Longest time for the server to confirm the subscriptions.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to send what is left at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the reference Router ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, async_nats::ConnectError),
    #[error("cannot subscribe to {0}: {1}")]
    Subscribe(String, async_nats::SubscribeError),
    #[error("the server did not confirm the subscriptions within {READY_TIMEOUT:?}")]
    NotReady,
    #[error("the connection is closed")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT; returns what happened.
pub(crate) fn run(args: Args) -> Result<Counts, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(args))
}

/// Says something to whoever runs us.
pub(crate) fn report(what: &str) {
    // Nobody is left to tell when stderr is closed.
    writeln!(io::stderr(), "reference-router: {what}").ok();
}

async fn serve(args: Args) -> Result<Counts, ServeError> {
    let mut signals = Signals::new()?;
    let router = Rc::new(RefCell::new(Router::new(&args)?));
    let client = connect(&args.nats).await?;
    let sender = Sender {
        client: client.clone(),
        poison: spawn_poison(args.nats.clone()),
        places: Rc::new(Semaphore::new(
            args.faults
                .concurrency
                .map_or(Semaphore::MAX_PERMITS, NonZeroUsize::get),
        )),
    };
    for subject in &args.subject {
        let requests = subscribe(&client, subject, &args.queue).await?;
        spawn_local(answer(requests, Rc::clone(&router), sender.clone()));
    }
    let station = Rc::new(Station::new(&args, client.clone(), Rc::clone(&router)));
    station.listen(&args.backpressure, &args.queue).await?;
    confirm(&client).await?;
    announce(&args)?;
    while let Order::Push(status) = signals.next().await {
        station.push(status).await;
    }
    // What cannot be sent in time is lost, as with any Router that ends.
    timeout(FLUSH_TIMEOUT, client.flush()).await.ok();
    let mut router = router.borrow_mut();
    router.flush_log();
    Ok(router.counts())
}

async fn connect(server: &ServerAddr) -> Result<Client, ServeError> {
    // The library itself does not look at what stands before the host.
    let options = match (server.username(), server.password()) {
        (Some(user), Some(password)) => {
            ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        }
        (Some(token), None) => ConnectOptions::with_token(token.to_owned()),
        _ => ConnectOptions::new(),
    };
    options
        .name("reference-router")
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        // Reply subjects come from the server, which has checked them.
        .skip_subject_validation(true)
        .event_callback(|event| async move {
            if !matches!(event, Event::Connected) {
                report(&event.to_string());
            }
        })
        .connect(server.clone())
        .await
        .map_err(|error| ServeError::Connect(format!("{}:{}", server.host(), server.port()), error))
}

async fn subscribe(client: &Client, subject: &str, queue: &str) -> Result<Subscriber, ServeError> {
    client
        .queue_subscribe(subject.to_owned(), queue.to_owned())
        .await
        .map_err(|error| ServeError::Subscribe(subject.to_owned(), error))
}

/// Waits until the server has every subscription: it handles what a connection sends in order, so
/// a message to ourselves comes back after all of them.
async fn confirm(client: &Client) -> Result<(), ServeError> {
    let inbox = client.new_inbox();
    let mut echo = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| ServeError::Subscribe(inbox.clone(), error))?;
    client
        .publish(inbox, Bytes::new())
        .await
        .map_err(|_| ServeError::Closed)?;
    match timeout(READY_TIMEOUT, echo.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(ServeError::Closed),
        Err(_) => Err(ServeError::NotReady),
    }
}

/// Tells whoever started us that requests will be answered from now on: the file, then the line.
fn announce(args: &Args) -> io::Result<()> {
    if let Some(path) = &args.ready_file {
        // Readers wait for the name: it must never stand for a file that is still empty.
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".tmp");
        std::fs::write(&unfinished, std::process::id().to_string())?;
        std::fs::rename(&unfinished, path)?;
    }
    if !args.log.as_deref().is_some_and(log::is_stdout) {
        // Whoever closed stdout does not want to know.
        writeln!(io::stdout(), "ready").ok();
    }
    Ok(())
}

/// Judges and answers everything on one subject.
async fn answer(requests: Subscriber, router: Rc<RefCell<Router>>, sender: Sender) {
    let mut batches = requests.ready_chunks(BATCH);
    let mut replies = Vec::with_capacity(BATCH);
    while let Some(batch) = batches.next().await {
        {
            let mut router = router.borrow_mut();
            replies.extend(
                batch
                    .into_iter()
                    .filter_map(|request| router.judge(request)),
            );
            router.flush_log();
        }
        for reply in replies.drain(..) {
            if reply.wait.is_zero() {
                sender.send(reply).await;
            } else {
                let sender = sender.clone();
                spawn_local(async move {
                    // Never closed. First come, first served.
                    let _place = sender.places.acquire().await;
                    sleep(reply.wait).await;
                    sender.send(reply).await;
                });
            }
        }
    }
}

fn spawn_poison(server: ServerAddr) -> UnboundedSender<Subject> {
    let (sender, replies) = unbounded_channel();
    spawn_local(async move { crate::poison::serve(&server, replies).await });
    sender
}

/// Where replies go out: the connection, and the one for malformed replies.
#[derive(Clone)]
struct Sender {
    client: Client,
    poison: UnboundedSender<Subject>,
    /// Places of replies that wait.
    places: Rc<Semaphore>,
}

impl Sender {
    async fn send(&self, mut reply: Reply) {
        while reply.times > 1 {
            reply.times -= 1;
            self.send_once(
                reply.subject.clone(),
                reply.headers.clone(),
                reply.content.clone(),
            )
            .await;
        }
        self.send_once(reply.subject, reply.headers, reply.content)
            .await;
    }

    async fn send_once(
        &self,
        subject: Subject,
        headers: Option<async_nats::HeaderMap>,
        content: Content,
    ) {
        let sent = match (content, headers) {
            (Content::Body(body), None) => self.client.publish(subject, body).await,
            (Content::Body(body), Some(headers)) => {
                self.client
                    .publish_with_headers(subject, headers, body)
                    .await
            }
            (Content::Malformed, _) => {
                if self.poison.send(subject).is_err() {
                    report("the task for malformed replies has ended");
                }
                Ok(())
            }
        };
        if let Err(error) = sent {
            report(&format!("reply: {error}"));
        }
    }
}

/// Tells the backpressure status, and is told it.
struct Station {
    client: Client,
    router: Rc<RefCell<Router>>,
    status: Cell<Status>,
    /// Where status is pushed and polled.
    subject: String,
    /// What the status is about.
    about: String,
    retry_after_s: u32,
}

impl Station {
    fn new(args: &Args, client: Client, router: Rc<RefCell<Router>>) -> Self {
        Self {
            client,
            router,
            status: Cell::default(),
            subject: args.backpressure.backpressure_subject.clone(),
            about: args.subject.first().cloned().unwrap_or_default(),
            retry_after_s: args.backpressure.retry_after,
        }
    }

    async fn listen(self: &Rc<Self>, args: &Backpressure, queue: &str) -> Result<(), ServeError> {
        let polls = subscribe(&self.client, &args.backpressure_subject, queue).await?;
        spawn_local(Rc::clone(self).answer_polls(polls));
        if let Some(subject) = &args.backpressure_control {
            let orders = subscribe(&self.client, subject, queue).await?;
            spawn_local(Rc::clone(self).obey(orders));
        }
        Ok(())
    }

    /// Answers requests for the status. Our own pushes come here too, without a reply subject.
    async fn answer_polls(self: Rc<Self>, mut polls: Subscriber) {
        while let Some(poll) = polls.next().await {
            self.log(&poll, Action::BackpressurePoll);
            if let Some(reply) = poll.reply {
                self.publish(reply, self.polled()).await;
            }
        }
    }

    /// Sets and pushes what the control subject says; answers with the status if asked to.
    async fn obey(self: Rc<Self>, mut orders: Subscriber) {
        while let Some(order) = orders.next().await {
            self.log(&order, Action::BackpressureControl);
            let text = std::str::from_utf8(&order.payload).unwrap_or_default();
            match text.parse() {
                Ok(status) => self.push(status).await,
                Err(()) => report(&format!("not a backpressure status: {text:?}")),
            }
            if let Some(reply) = order.reply {
                self.publish(reply, self.polled()).await;
            }
        }
    }

    async fn push(&self, status: Status) {
        self.status.set(status);
        let body = status.pushed(&self.about, self.retry_after_s, wall_clock_ms());
        self.publish(self.subject.as_str().into(), body).await;
    }

    fn polled(&self) -> Bytes {
        let status = self.status.get();
        status.polled(&self.about, self.retry_after_s, wall_clock_ms())
    }

    fn log(&self, message: &async_nats::Message, action: Action) {
        if message.reply.is_some() || action == Action::BackpressureControl {
            let mut router = self.router.borrow_mut();
            router.record(message, action, None);
            router.flush_log();
        }
    }

    async fn publish(&self, subject: Subject, body: Bytes) {
        if let Err(error) = self.client.publish(subject, body).await {
            report(&format!("backpressure: {error}"));
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
enum Order {
    Push(Status),
    End,
}

/// The signals that we heed.
struct Signals {
    active: Signal,
    inactive: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            active: signal(SignalKind::user_defined1())?,
            inactive: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.active.recv() => Order::Push(Status::Active),
            _ = self.inactive.recv() => Order::Push(Status::Inactive),
            _ = self.terminate.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
        }
    }
}

/// Milliseconds since 1970, as the contract's `timestamp` has them.
#[expect(
    clippy::disallowed_methods,
    reason = "the contract's timestamp is wall-clock time; no deadline is computed from it"
)]
fn wall_clock_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|age| u64::try_from(age.as_millis()).ok())
        .unwrap_or(0)
}
