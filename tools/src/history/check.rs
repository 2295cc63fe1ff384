//! The invariants, checked over whole histories.
//!
//! `UNKNOWN` is what Jepsen calls `info`: the Router may have received such a request or not.

use core::time::Duration;
use std::collections::{BTreeMap, HashMap};

use super::event::{Event, Mark, Received, digest};
use super::metrics::Books;
use super::verdict::{Invariant, Verdict};

/// How long after a healing requests must succeed.
const HEALED_AFTER: u64 = 2_000_000_000;
/// Requests of which one may fail after a healing.
const HEALED_ONE_IN: u64 = 1000;
/// How often an idempotent request may arrive: once and two more.
const TRIES: u32 = 3;

/// What the check allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How much later than its deadline a completion may be seen.
    pub epsilon: Duration,
    /// What the gateway does about the tenant of a request.
    pub tenants: Tenants,
}

/// What a gateway does about the tenant of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a gateway binds tenants or does not"
)]
pub enum Tenants {
    /// It passes on what the client says, which may be nothing.
    #[default]
    Free,
    /// It binds each user to a tenant: every request must arrive with the header `tenant_id`.
    Bound,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            epsilon: Duration::from_millis(50),
            tenants: Tenants::Free,
        }
    }
}

#[derive(Debug)]
struct Request {
    at: u64,
    deadline: u64,
    idempotent: bool,
    digest: u32,
    received: u32,
    /// Digests and tenants were the right ones whenever it was received.
    is_intact: bool,
    completions: u32,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Answered,
    Rejected,
    Unknown,
}

#[derive(Debug)]
struct Client {
    tenant: String,
    requests: HashMap<u64, Request>,
    has_ended: bool,
    is_untouched: bool,
}

/// Reads histories, then judges.
#[derive(Debug, Default)]
pub struct Checker {
    limits: Limits,
    clients: BTreeMap<String, Client>,
    marks: Vec<Mark>,
    books: Option<Books>,
    verdict: Verdict,
}

impl Checker {
    /// One with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes a client's history. A last line without its end is left out: its client was killed.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn client(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let (complete, _) = text.rsplit_once('\n').unwrap_or_default();
        let mut name = String::new();
        for line in complete.lines() {
            let event: Event = serde_json::from_str(line)?;
            if let Event::Start { client, tenant } = event {
                name.clone_from(&client);
                self.clients.entry(client).or_insert_with(|| Client {
                    tenant,
                    requests: HashMap::new(),
                    has_ended: false,
                    is_untouched: false,
                });
            } else if let Some(client) = self.clients.get_mut(&name) {
                client.take(&name, event, &mut self.verdict, self.limits);
            }
        }
        Ok(())
    }

    /// Says that no fault touched this client: I9 holds for it.
    pub fn untouched(&mut self, name: &str) {
        match self.clients.get_mut(name) {
            Some(client) => client.is_untouched = true,
            None => {
                let what = format!("{name} has no history");
                self.verdict.broken(Invariant::I9, what);
            }
        }
    }

    /// Takes the Router's log, after all clients. A last line without its end is left out.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn router(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let (complete, _) = text.rsplit_once('\n').unwrap_or_default();
        for line in complete.lines() {
            let received: Received = serde_json::from_str(line)?;
            if let Some(payload) = &received.payload {
                self.received(payload, received.headers.as_ref());
            }
        }
        Ok(())
    }

    /// Takes when faults began and healed, in order.
    pub fn marks(&mut self, marks: impl IntoIterator<Item = Mark>) {
        self.marks.extend(marks);
    }

    /// Takes what the gateway has counted over the histories. The gateway is at rest.
    pub fn books(&mut self, books: Books) {
        self.books = Some(books);
    }

    /// Judges.
    #[must_use]
    pub fn judge(mut self) -> Verdict {
        let clients = core::mem::take(&mut self.clients);
        self.verdict.clients = clients.len();
        for (name, client) in &clients {
            self.verdict.clients_killed += usize::from(!client.has_ended);
            for (n, request) in &client.requests {
                self.request(name, *n, client, request);
            }
        }
        self.healing();
        self.balance(clients.values().all(|client| client.has_ended));
        self.verdict
            .violations
            .sort_by_key(|violation| violation.invariant);
        self.verdict
    }

    fn received(
        &mut self,
        payload: &str,
        headers: Option<&serde_json::Map<String, serde_json::Value>>,
    ) {
        // Warm-up requests and strangers have no history.
        let Some((name, n)) = identity(payload) else {
            return;
        };
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        self.verdict.received += 1;
        let Some(request) = client.requests.get_mut(&n) else {
            // A killed client may not have written what it submitted.
            if client.has_ended {
                let what = format!("the Router received {name}-{n}, which nobody submitted");
                self.verdict.broken(Invariant::I3, what);
            }
            return;
        };
        request.received += 1;
        let tenant = headers.and_then(|headers| headers.get("tenant_id"));
        let is_it = |value: &serde_json::Value| value.as_str() == Some(&client.tenant);
        let is_tenants = match tenant {
            None => self.limits.tenants == Tenants::Free,
            Some(serde_json::Value::Array(all)) => !all.is_empty() && all.iter().all(is_it),
            Some(value) => is_it(value),
        };
        request.is_intact &= is_tenants && request.digest == digest(payload.as_bytes());
    }

    fn request(&mut self, name: &str, n: u64, client: &Client, request: &Request) {
        let verdict = &mut self.verdict;
        if client.has_ended && request.completions == 0 {
            verdict.broken(Invariant::I1, format!("{name}-{n} never completed"));
        }
        if request.outcome == Some(Outcome::Rejected) && request.received > 0 {
            verdict.broken(
                Invariant::I2,
                format!("{name}-{n} was rejected, and received"),
            );
        }
        if request.outcome == Some(Outcome::Ok) && request.received == 0 {
            verdict.broken(
                Invariant::I3,
                format!("{name}-{n} is OK, and was never received"),
            );
        }
        if !request.is_intact {
            let what =
                format!("{name}-{n} was received with another payload or tenant, or with none");
            verdict.broken(Invariant::I3, what);
        }
        let most = if request.idempotent { TRIES } else { 1 };
        if request.received > most {
            let what = format!("{name}-{n} was received {} times", request.received);
            verdict.broken(Invariant::I4, what);
        }
        if client.is_untouched && request.outcome != Some(Outcome::Ok) {
            let what = format!("{name}-{n} ended as {:?}", request.outcome);
            verdict.broken(Invariant::I9, what);
        }
        if self.marks.is_empty() || !is_healed(&self.marks, request) {
            return;
        }
        verdict.healed += 1;
        verdict.healed_ok += u64::from(request.outcome == Some(Outcome::Ok));
    }

    fn healing(&mut self) {
        let verdict = &mut self.verdict;
        let failed = verdict.healed - verdict.healed_ok;
        if failed > verdict.healed / HEALED_ONE_IN {
            let what = format!("{failed} of {} failed", verdict.healed);
            verdict.broken(Invariant::I8, what);
        }
        let is_marked = self
            .marks
            .iter()
            .any(|mark| matches!(mark, Mark::Healed { .. }));
        if is_marked && verdict.healed == 0 {
            let what = "no request was submitted 2 s after a healing".to_owned();
            verdict.broken(Invariant::I8, what);
        }
    }

    /// `is_complete`: every client ended by itself, so its history has all it did.
    fn balance(&mut self, is_complete: bool) {
        let Some(books) = &self.books else { return };
        let verdict = &mut self.verdict;
        let accounted = books.completed() + books.in_flight + books.abandoned;
        if books.accepted != accounted {
            let what = format!(
                "{} accepted, but {} completed, {} in flight and {} abandoned",
                books.accepted,
                books.completed(),
                books.in_flight,
                books.abandoned
            );
            verdict.broken(Invariant::I6, what);
        }
        if books.answers_refused > 0 {
            let what = format!("{} answers found no room", books.answers_refused);
            verdict.broken(Invariant::I6, what);
        }
        if books.in_flight > 0 || books.sessions > 0 {
            let (in_flight, sessions) = (books.in_flight, books.sessions);
            let what = format!("{in_flight} in flight and {sessions} sessions are left");
            verdict.broken(Invariant::I7, what);
        }
        // What the library completes by itself when a gateway is gone is in no gateway's books.
        if is_complete && !verdict.codes.contains_key("GATEWAY_RESTARTED") {
            let differing = books
                .completions
                .iter()
                .filter(|(code, count)| verdict.codes.get(*code).unwrap_or(&0) != *count)
                .map(|(code, count)| {
                    let ours = verdict.codes.get(code).unwrap_or(&0);
                    format!("{count} completions {code} in the books, {ours} at the clients")
                })
                .collect::<Vec<_>>();
            for what in differing {
                verdict.broken(Invariant::I6, what);
            }
        }
    }
}

impl Client {
    fn take(&mut self, name: &str, event: Event, verdict: &mut Verdict, limits: Limits) {
        match event {
            Event::Start { .. } => {}
            Event::Submit {
                n,
                at,
                timeout,
                idempotent,
                digest,
            } => {
                verdict.submitted += 1;
                let request = Request {
                    at,
                    deadline: at.saturating_add(timeout),
                    idempotent,
                    digest,
                    received: 0,
                    is_intact: true,
                    completions: 0,
                    outcome: None,
                };
                if self.requests.insert(n, request).is_some() {
                    verdict.broken(Invariant::I1, format!("{name}-{n} was submitted twice"));
                }
            }
            Event::Refused { n, .. } => {
                verdict.refused += 1;
                verdict.submitted -= 1;
                self.requests.remove(&n);
            }
            Event::Complete {
                n,
                at,
                outcome,
                code,
                names_it,
            } => {
                let ended = outcome_of(&outcome, &code);
                *verdict.codes.entry(code).or_default() += 1;
                let Some(request) = self.requests.get_mut(&n) else {
                    let what = format!("{name}-{n} completed, which nobody submitted");
                    return verdict.broken(Invariant::I1, what);
                };
                request.completions += 1;
                request.outcome = Some(ended);
                if request.completions > 1 {
                    verdict.broken(Invariant::I1, format!("{name}-{n} completed again"));
                }
                if !names_it {
                    let what = format!("the reply to {name}-{n} is not its own");
                    verdict.broken(Invariant::I3, what);
                }
                let late = at.saturating_sub(request.deadline);
                verdict.latest_ns = verdict.latest_ns.max(late);
                if u128::from(late) > limits.epsilon.as_nanos() {
                    let ms = late / 1_000_000;
                    let what = format!("{name}-{n} completed {ms} ms after its deadline");
                    verdict.broken(Invariant::I5, what);
                }
            }
            Event::End { .. } => self.has_ended = true,
        }
    }
}

fn outcome_of(outcome: &str, code: &str) -> Outcome {
    match outcome {
        "answered" if code == "OK" => Outcome::Ok,
        "answered" => Outcome::Answered,
        "rejected" => Outcome::Rejected,
        _ => Outcome::Unknown,
    }
}

/// Whether a request was submitted, and ran out, while everything had been whole for a while.
fn is_healed(marks: &[Mark], request: &Request) -> bool {
    let mut since = None;
    for mark in marks {
        match *mark {
            Mark::Healed { at } if at <= request.at => since = Some(at),
            Mark::Fault { at } if at <= request.at => since = None,
            // The next fault may hit what is on its way.
            Mark::Fault { at } if at <= request.at.saturating_add(HEALED_AFTER) => return false,
            _ => {}
        }
    }
    since.is_some_and(|at| request.at - at >= HEALED_AFTER)
}

/// The client's name and the number in `"request_id":"NAME-NUMBER"`.
fn identity(payload: &str) -> Option<(&str, u64)> {
    let (_, rest) = payload.split_once(r#""request_id":""#)?;
    let (id, _) = rest.split_once('"')?;
    let (name, n) = id.rsplit_once('-')?;
    Some((name, n.parse().ok()?))
}

#[cfg(test)]
mod tests;
