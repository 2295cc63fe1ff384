//! [`Client`]: one attached handle for one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::attachment::Attachment;
use super::completion::{Completion, OwnedCompletion};
use super::error::{CallError, Refused, SubmitError};
use super::loan::Loan;
use super::presence::{ASK_EVERY, Presence};
use super::reattach::{Patience, Reattach};
use super::request::{Request, Ticket};
use super::route::RouteId;
use super::session::{Session, Shown, Sleeper};
use super::waiting::{Budget, WaitStrategy};
use crate::code::Code;
use crate::doorbell;
use crate::entry::{Cqe, MAX_HEADER_BYTES, Opcode, Sqe};
use crate::error::{AttachError, EndReason};
use crate::sys::{self, Peer};

/// Looks between two reads of the clock while waiting awake.
const LOOKS_PER_CLOCK: u32 = 64;

/// A handle for one thread: `Send`, not `Sync`. Submits requests and takes completions.
///
/// A child made by `fork` must not use the handle: the mapping is not there in the child (the next
/// access would end it), and the session ends with the parent whatever the child keeps. The child may
/// drop it. Attach in the child instead.
///
/// Completions come in any order, each exactly once. When the gateway goes away, everything
/// outstanding completes as `GATEWAY_RESTARTED`, or as `DRAINING` if the gateway says that it never
/// took it, and later submissions attach again as [`Reattach`] says.
///
/// Dropping the handle ends the session and tells nobody what becomes of its requests: what was
/// submitted and not yet shown ([`flush`](Self::flush)) is never sent, what was shown is sent or not, and
/// completions that were not taken are lost. So take completions until [`outstanding`](Self::outstanding)
/// is 0 first. Dropping does not flush: the gateway may see that the session has ended before it sees what
/// was shown last, and a forked child that drops the handle must not touch the rings.
///
/// One request at a time:
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Request};
///
/// let body = r#"{"tenant_id":"acme","request_id":"1","task":{"type":"chat","payload":{"text":"hi"}}}"#;
/// let mut client = ClientBuilder::new().connect()?;
/// let reply = client.call(Request::to("decide").payload(body))?;
/// println!("{} {:?}", reply.code(), reply.payload());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// As many as the session has blocks:
///
/// ```no_run
/// use std::time::Duration;
/// use ipc_ringbuf::{CallError, ClientBuilder, Request, SubmitError};
///
/// let body = r#"{"tenant_id":"acme","request_id":"1","task":{"type":"chat","payload":{"text":"hi"}}}"#;
/// let mut client = ClientBuilder::new().entries(64).connect()?;
/// let route = client.route("decide").ok_or("the gateway has no route decide")?;
/// println!("{} requests of {} bytes", client.entries(), client.message_size());
/// let (mut sent, count, mut refused) = (0, 1000, None);
/// loop {
///     while sent < count && refused.is_none() {
///         match client.submit(Request::to(route).payload(body).user_data(sent)) {
///             Ok(_) => sent += 1,
///             Err(SubmitError::Full(_)) => break,
///             // What was submitted before is completed all the same.
///             Err(error) => refused = Some(CallError::from(error)),
///         }
///     }
///     if client.outstanding() == 0 {
///         break;
///     }
///     if let Some(completion) = client.wait(Duration::from_secs(1)) {
///         println!("{} {}", completion.ticket().0, completion.code());
///     }
/// }
/// if !client.is_attached() {
///     println!("ended: {:?}, {:?}", client.end_reason(), client.last_attach_error());
/// }
/// refused.map_or(Ok(()), Err)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In a loop that has other things to do:
///
/// ```no_run
/// # let mut client = ipc_ringbuf::ClientBuilder::new().connect()?;
/// client.flush();
/// while let Some(completion) = client.poll() {
///     println!("{}", completion.code());
/// }
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
///
/// In one that waits for other descriptors too, with `epoll` for example ([`arm`](Self::arm) has the
/// order of calls):
///
/// ```no_run
/// # let mut client = ipc_ringbuf::ClientBuilder::new().connect()?;
/// # fn until_one_is_readable(_: std::os::fd::BorrowedFd<'_>) {}
/// while client.outstanding() > 0 {
///     if client.arm() {
///         if let Some(socket) = client.socket() {
///             until_one_is_readable(socket);
///         }
///         client.disarm();
///     }
///     while let Some(completion) = client.poll() {
///         println!("{}", completion.code());
///     }
/// }
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    attachment: Attachment,
    session: Option<Session>,
    /// Marks of requests that a lost gateway did not complete, and what they complete as.
    lost: VecDeque<(u64, Code)>,
    /// Completions of other requests that [`call`](Self::call) met.
    stash: VecDeque<OwnedCompletion>,
    /// What [`poll`](Self::poll) lends when it takes from the stash.
    lent: Option<OwnedCompletion>,
    /// Body of the completion that is lent.
    body: BytesMut,
    next_mark: u64,
    /// The block of the newest submission.
    newest: u32,
    /// The clock reading of what is pushed and not yet shown; 0 when it is to be read.
    stamp: u64,
    presence: Presence,
    budget: Budget,
    ended: Option<EndReason>,
}

/// Where the next completion lies.
enum Found {
    Stashed,
    InBody(Cqe),
    /// Of a session that is gone; without a body.
    Lost(Cqe),
}

impl Client {
    pub(super) fn new(attachment: Attachment, session: Session, wait: WaitStrategy) -> Self {
        Self {
            attachment,
            session: Some(session),
            lost: VecDeque::new(),
            stash: VecDeque::new(),
            lent: None,
            body: BytesMut::new(),
            next_mark: 0,
            newest: 0,
            stamp: 0,
            presence: Presence::checked_now(),
            budget: Budget::new(wait),
            ended: None,
        }
    }

    /// Submits a request: copies it into a block and pushes that. It is shown to the gateway when
    /// enough requests wait, and in any case by [`flush`](Self::flush), [`wait`](Self::wait) and
    /// [`call`](Self::call). What was not shown when the handle is dropped is never sent.
    ///
    /// Without a session it attaches again first, as [`Reattach`] says, which may take time; with one it
    /// does not wait.
    ///
    /// # Errors
    /// [`SubmitError`] gives the request back; nothing was sent.
    #[inline]
    pub fn submit<'a>(&mut self, request: Request<'a>) -> Result<Ticket, SubmitError<'a>> {
        let (block, sqe, request) = self.prepare(request)?;
        let Some(session) = &mut self.session else {
            return Err(SubmitError::Detached(request));
        };
        // `prepare` has checked that it fits.
        session.write(block, sqe.header_len, request.payload);
        step!(HalfWritten);
        Ok(self.push(block, sqe))
    }

    /// Takes a block to write the payload in place. `request` says everything but the payload,
    /// which must be empty. Attaches again as [`submit`](Self::submit) does.
    /// [`Loan`] shows it.
    ///
    /// # Errors
    /// [`SubmitError`] gives the request back.
    pub fn loan<'a>(&mut self, request: Request<'a>) -> Result<Loan<'_>, SubmitError<'a>> {
        let (block, sqe, _) = self.prepare(request)?;
        let room = self.message_size().saturating_sub(sqe.header_len);
        Ok(Loan::new(self, block, sqe, room))
    }

    /// Takes a block and writes the headers.
    #[inline]
    fn prepare<'a>(
        &mut self,
        request: Request<'a>,
    ) -> Result<(u32, Sqe, Request<'a>), SubmitError<'a>> {
        if self.session.is_none() && !self.reattach(self.attachment.patience().end()) {
            return Err(SubmitError::Detached(request));
        }
        let Some(session) = &mut self.session else {
            return Err(SubmitError::Detached(request));
        };
        let Some(route) = session.number(request.route) else {
            return Err(SubmitError::UnknownRoute(request));
        };
        let headers = match &request.headers {
            Ok(headers) => headers,
            Err(fault) => return Err(SubmitError::BadHeader(*fault, request)),
        };
        let limit = session.message_size();
        let header_len = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        let payload_len = u32::try_from(request.payload.len()).unwrap_or(u32::MAX);
        if header_len > MAX_HEADER_BYTES
            || u64::from(header_len) + u64::from(payload_len) > u64::from(limit)
        {
            return Err(SubmitError::TooLarge { request, limit });
        }
        let Some(block) = session.take_block() else {
            self.stamp = 0;
            session.publish();
            return Err(SubmitError::Full(request));
        };
        step!(SlotReserved);
        if header_len != 0 {
            session.write(block, 0, headers);
        }
        step!(HeadersWritten);
        let user_data = request.user_data.unwrap_or(self.next_mark);
        self.next_mark = self.next_mark.wrapping_add(1);
        let sqe = Sqe {
            user_data,
            opcode: Opcode::Call,
            idempotent: request.idempotent,
            route,
            header_len,
            payload_len,
            timeout_ns: request.timeout_ns,
            submitted_ns: 0,
        };
        Ok((block, sqe, request))
    }

    /// The moment of a submission; the clock is read once for a batch.
    #[inline]
    fn stamp(&mut self) -> u64 {
        if !self.attachment.timestamps {
            return 0;
        }
        if self.stamp == 0 {
            self.stamp = sys::monotonic_ns();
        }
        self.stamp
    }

    /// Dates a block that is written, and pushes it.
    #[inline]
    fn push(&mut self, block: u32, mut sqe: Sqe) -> Ticket {
        sqe.submitted_ns = self.stamp();
        self.newest = block;
        match self.session.as_mut().map(|s| s.push(block, &sqe)) {
            Some(Ok(Shown::No)) => {}
            // What comes next is another batch, whenever it comes.
            Some(Ok(Shown::Yes)) => self.stamp = 0,
            Some(Err(_)) | None => {
                self.distrust();
                self.lost.push_back((sqe.user_data, Code::GatewayRestarted));
            }
        }
        Ticket(sqe.user_data)
    }

    /// Pushes a loaned block.
    pub(super) fn push_loan(&mut self, block: u32, sqe: Sqe) -> Ticket {
        // What was lent may have taken its time to be written.
        self.stamp = 0;
        self.push(block, sqe)
    }

    /// Gives a loaned block back.
    pub(super) fn return_loan(&mut self, block: u32) {
        if let Some(session) = &mut self.session {
            session.put_back(block);
        }
    }

    /// Copies bytes into a loaned block.
    pub(super) fn write_loan(&self, block: u32, at: u32, bytes: &[u8]) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.write(block, at, bytes))
    }

    /// Shows everything submitted to the gateway, and wakes it if it sleeps.
    #[inline]
    pub fn flush(&mut self) {
        self.stamp = 0;
        if let Some(session) = &mut self.session {
            session.publish();
        }
    }

    /// Takes a completion if there is one. Does not flush and does not wait.
    #[inline]
    pub fn poll(&mut self) -> Option<Completion<'_>> {
        let found = self.find()?;
        Some(self.lend(found))
    }

    #[inline]
    fn lend(&mut self, found: Found) -> Completion<'_> {
        match found {
            Found::Stashed => {
                self.lent = self.stash.pop_front();
                let bare = Completion {
                    cqe: Cqe::bare(0, Code::GatewayRestarted),
                    headers: &[],
                    payload: &[],
                };
                self.lent.as_ref().map_or(bare, OwnedCompletion::get)
            }
            Found::InBody(cqe) | Found::Lost(cqe) => {
                let split = (cqe.header_len as usize).min(self.body.len());
                let (headers, payload) = self.body.split_at(split);
                Completion {
                    cqe,
                    headers,
                    payload,
                }
            }
        }
    }

    /// Takes the next completion out of wherever it is.
    #[inline]
    fn find(&mut self) -> Option<Found> {
        if !self.stash.is_empty() {
            return Some(Found::Stashed);
        }
        if let Some(session) = &mut self.session {
            match session.pop(&mut self.body) {
                Ok(Some(cqe)) => {
                    self.presence.found();
                    return Some(Found::InBody(cqe));
                }
                Ok(None) => {
                    self.stamp = 0;
                    if self.presence.is_due_after_poll(session.outstanding() != 0) {
                        self.check_presence();
                    }
                }
                Err(_) => self.distrust(),
            }
        }
        let (mark, code) = self.lost.pop_front()?;
        self.body.clear();
        Some(Found::Lost(Cqe::bare(mark, code)))
    }

    /// Flushes, then waits until there is a completion, at most `timeout`. Returns `None` at once
    /// when nothing is outstanding: `None` alone does not say that everything is completed,
    /// [`outstanding`](Self::outstanding) does.
    pub fn wait(&mut self, timeout: Duration) -> Option<Completion<'_>> {
        self.flush();
        if !self.wait_ready(timeout) {
            return None;
        }
        self.poll()
    }

    /// Submits a request and waits for its completion. Completions of other requests that come
    /// meanwhile are kept for [`poll`](Self::poll). The gateway completes every request that it has taken
    /// at its deadline, so this ends about then, or when the gateway is gone. With
    /// [`Reattach::Wait`] what an ending gateway has not sent is submitted again.
    ///
    /// # Errors
    /// [`CallError`] when nothing was sent.
    pub fn call(&mut self, request: Request<'_>) -> Result<Completion<'_>, CallError> {
        let mut patience = self.patience();
        let mut next = Some(request);
        let mut done = None;
        while let Some(request) = next.take() {
            let again = patience.is_some().then(|| request.clone());
            let completion = self.call_once(request)?;
            let was_sent = completion.code() != Code::Draining;
            done = Some(completion);
            if let Some(again) = again.filter(|_| !was_sent)
                && let Some(pause) = patience.next()
            {
                sys::pause(pause);
                next = Some(again);
            }
        }
        // The loop runs once at least.
        self.lent = done;
        self.lent
            .as_ref()
            .map(OwnedCompletion::get)
            .ok_or(CallError::Detached)
    }

    fn call_once(&mut self, request: Request<'_>) -> Result<OwnedCompletion, CallError> {
        let mut request = request;
        let ticket = loop {
            match self.submit(request).map_err(Refused::from) {
                Ok(ticket) => break ticket,
                Err(Refused::Final(error)) => return Err(error),
                Err(Refused::Full(back)) => {
                    request = back;
                    self.stash_one();
                }
            }
        };
        if self.session.is_some() {
            // What was lost by now is of sessions before.
            self.stash_lost();
        }
        self.flush();
        // Others may have the same mark. Nobody else has the block, as long as there is the session; and of
        // what was lost with it, those with the same mark do not differ.
        let own = self.newest;
        loop {
            match self.wait_for_fresh() {
                Some((completion, Some(block))) if block == own => return Ok(completion),
                Some((completion, None)) if completion.ticket() == ticket => return Ok(completion),
                fresh => self.stash.extend(fresh.map(|(completion, _)| completion)),
            }
        }
    }

    /// Waits for one completion that is not stashed, and stashes it.
    fn stash_one(&mut self) {
        let fresh = self.wait_for_fresh();
        self.stash.extend(fresh.map(|(completion, _)| completion));
    }

    /// Waits for one completion that is not stashed; with it comes its block, unless its session is gone.
    fn wait_for_fresh(&mut self) -> Option<(OwnedCompletion, Option<u32>)> {
        let stash = core::mem::take(&mut self.stash);
        self.wait_ready(ASK_EVERY);
        let fresh = self.find().map(|found| {
            let block = match found {
                Found::InBody(_) => self.session.as_ref().and_then(Session::freed_last),
                Found::Stashed | Found::Lost(_) => None,
            };
            (self.lend(found).to_owned(), block)
        });
        self.stash = stash;
        fresh
    }

    /// Puts what was lost with sessions before among what is kept, so that it is not taken for newer.
    fn stash_lost(&mut self) {
        for (mark, code) in core::mem::take(&mut self.lost) {
            let bare = Completion {
                cqe: Cqe::bare(mark, code),
                headers: &[],
                payload: &[],
            };
            self.stash.push_back(bare.to_owned());
        }
    }

    fn wait_ready(&mut self, timeout: Duration) -> bool {
        if self.ready() {
            return true;
        }
        if self.outstanding() == 0 {
            return false;
        }
        step!(InFlight);
        let deadline = deadline_after(timeout);
        loop {
            if self.look(deadline) {
                return true;
            }
            let Some(sleeper) = self.arm_bell(doorbell::ASLEEP) else {
                return true;
            };
            let left = Duration::from_nanos(deadline.saturating_sub(sys::monotonic_ns()));
            sleeper.sleep(left.min(ASK_EVERY));
            self.disarm_bell();
            self.budget.slept();
            if self.ready() {
                return true;
            }
            self.check_presence();
            if self.outstanding() == 0 || sys::monotonic_ns() >= deadline {
                return self.ready();
            }
        }
    }

    /// Looks for a completion as often as the budget allows.
    fn look(&mut self, deadline: u64) -> bool {
        let is_timed = self.budget.is_timed();
        let mut before = if is_timed { sys::monotonic_ns() } else { 0 };
        for look in 1..=self.budget.looks() {
            self.budget.pause();
            let ready = self.ready();
            if is_timed {
                let now = sys::monotonic_ns();
                let goes_on = self.budget.looked(now.saturating_sub(before));
                before = now;
                if !goes_on {
                    return ready;
                }
            }
            if ready {
                self.budget.rewarded();
                return true;
            }
            if look.is_multiple_of(LOOKS_PER_CLOCK) {
                let now = sys::monotonic_ns();
                if self.presence.is_due(now) {
                    self.check_presence();
                    if self.session.is_none() {
                        return self.ready();
                    }
                }
                if now >= deadline {
                    return false;
                }
            }
        }
        false
    }

    /// Whether a completion can be taken without waiting.
    pub(super) fn ready(&mut self) -> bool {
        if !self.stash.is_empty() || !self.lost.is_empty() {
            return true;
        }
        match self.session.as_mut().map(Session::has_completions) {
            Some(Ok(ready)) => ready,
            Some(Err(_)) => {
                self.distrust();
                !self.lost.is_empty()
            }
            None => false,
        }
    }

    /// Arms the bell; `None` when there is something to take after all.
    pub(super) fn arm_bell(&mut self, how: u32) -> Option<Sleeper> {
        let session = self.session.as_ref()?;
        let sleeper = session.sleeper();
        doorbell::arm(session.bell(), how);
        if self.ready() {
            self.disarm_bell();
            return None;
        }
        Some(sleeper)
    }

    /// Disarms the bell.
    pub(super) fn disarm_bell(&self) {
        if let Some(session) = &self.session {
            doorbell::disarm(session.bell());
        }
    }

    /// Finds out whether the gateway is still there; gives the session up if not.
    pub(super) fn check_presence(&mut self) {
        self.presence = Presence::checked_now();
        let Some(reason) = self.session.as_mut().and_then(Session::ended) else {
            return;
        };
        self.ended = Some(reason);
        // Asked before the last look at what is completed.
        let in_order = self.session.as_ref().is_some_and(Session::ended_in_order);
        // What was completed before the end is still taken first.
        let complete = self
            .session
            .as_mut()
            .is_none_or(|s| !s.has_completions().unwrap_or(false));
        if complete {
            self.lose(if in_order {
                Code::Draining
            } else {
                Code::GatewayRestarted
            });
        }
    }

    /// The rings hold what the gateway never writes: gives the session up. If the gateway has ended
    /// it, and given its memory back, that is the reason.
    #[cold]
    fn distrust(&mut self) {
        let session = self.session.as_mut();
        let said = session.and_then(|session| session.farewell().or_else(|| session.ended()));
        self.ended = Some(said.unwrap_or(EndReason::RingCorrupt));
        self.lose(Code::GatewayRestarted);
    }

    /// Gives the session up: what is outstanding is completed with this code.
    #[cold]
    fn lose(&mut self, code: Code) {
        if let Some(mut session) = self.session.take() {
            self.lost.extend(session.abandon().map(|mark| (mark, code)));
            self.attachment.lost();
            self.stamp = 0;
        }
    }

    /// Attaches again if it is time to try, or whenever it is until the moment `end`.
    #[cold]
    fn reattach(&mut self, end: u64) -> bool {
        self.session = self.attachment.retry_until(end);
        self.session.is_some()
    }

    /// How long a call that begins now may wait for a gateway.
    pub(super) fn patience(&self) -> Patience {
        self.attachment.patience()
    }

    /// Leaves all waiting for a gateway to the caller, who must not do it under a lock.
    pub(super) fn without_patience(mut self) -> (Self, Reattach) {
        let reattach = self.attachment.reattach;
        if let Reattach::Wait(_) = reattach {
            self.attachment.reattach = Reattach::Try;
        }
        (self, reattach)
    }

    /// What a try to attach needs, if there is no session and it is time for one.
    pub(super) fn due_attachment(&self) -> Option<Attachment> {
        let is_due = self.session.is_none() && self.attachment.is_due();
        is_due.then(|| self.attachment.fresh())
    }

    /// Takes the result of such a try.
    pub(super) fn tried(&mut self, result: Result<Session, AttachError>) {
        if self.session.is_none() {
            self.session = self.attachment.tried(result);
        }
    }

    /// A route, to save the look-up at each submission; it stays good when the handle attaches again.
    /// `None` when the gateway has no route of this name, and while detached.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<RouteId> {
        let mut routes = self.session.as_ref()?.welcome().routes.iter();
        routes.find(|route| route.name == name).map(RouteId::new)
    }

    /// Bytes of headers and payload that a request or reply may have; 0 while detached.
    #[must_use]
    pub fn message_size(&self) -> u32 {
        self.session.as_ref().map_or(0, Session::message_size)
    }

    /// Requests that can be outstanding at once; 0 while detached.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.session
            .as_ref()
            .map_or(0, |session| session.geometry().entries)
    }

    /// Blocks that nobody has: so many requests can be submitted now.
    pub(super) fn free_blocks(&self) -> usize {
        self.session.as_ref().map_or(0, Session::free_blocks)
    }

    /// Requests submitted whose completions were not taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        let sent = self.session.as_ref().map_or(0, Session::outstanding);
        sent + self.lost.len() + self.stash.len()
    }

    /// Whether there is a session. A lost gateway is noticed by polling and waiting.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.session.is_some()
    }

    /// Why the last session ended, if one has.
    #[must_use]
    pub const fn end_reason(&self) -> Option<EndReason> {
        self.ended
    }

    /// Why the last try to attach again failed, if it did.
    #[must_use]
    pub fn last_attach_error(&self) -> Option<&AttachError> {
        self.attachment.last_error().map(Arc::as_ref)
    }

    /// The same, for a handle that gives it away.
    pub(super) fn attach_error(&self) -> Option<Arc<AttachError>> {
        self.attachment.last_error().cloned()
    }

    pub(super) const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Takes what waits on the socket; whether the gateway is still there, if there is a session.
    pub(super) fn take_packets(&mut self) -> Option<Peer> {
        self.session.as_mut().map(Session::take_packets)
    }
}

fn deadline_after(timeout: Duration) -> u64 {
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    sys::monotonic_ns().saturating_add(nanos)
}
