//! From a request to its reply: every rule and every fault meets here. No network, no waiting.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

use crate::args::{Answers, Args};
use crate::idempotency::{SeenKeys, Sighting};
use crate::log::{Action, Log, Replies};
use crate::misbehave::{Dice, Fault, Pace};
use crate::refusal::Refusal;
use crate::request::{Context, Headers, Request, Value};
use crate::respond::Responder;
use crate::validate::Rules;

/// A reply to send.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) content: Content,
    /// How often to send it, at least once.
    pub(crate) times: u64,
    /// How long to wait before.
    pub(crate) wait: Duration,
}

/// What a reply consists of.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Body(Bytes),
    /// The malformed header block of `poison`.
    Malformed,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Requests.
    received: u64,
    /// Replies as they should be.
    answered: u64,
    /// Replies with an error: on demand, or because the request was invalid.
    errors: u64,
    /// Requests left without a reply on demand.
    silent: u64,
    /// Replies sent once more than they should be.
    duplicates: u64,
    /// Requests left without a reply because their idempotency key was seen.
    repeated: u64,
    /// Replies that were late, whatever they were.
    late: u64,
    /// Replies with a malformed header block.
    malformed: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "received={} answered={} errors={} silent={} duplicates={} repeated={} late={} \
             malformed={}",
            self.received,
            self.answered,
            self.errors,
            self.silent,
            self.duplicates,
            self.repeated,
            self.late,
            self.malformed,
        )
    }
}

/// What is answered when nothing goes wrong.
#[derive(Clone, Debug)]
enum Answer {
    /// A decision, to requests that these rules allow; without rules to all.
    Decision(Option<Rules>),
    /// The request's payload.
    Echo,
    /// The same bytes always.
    Fixed(Bytes),
}

impl Answer {
    fn new(answers: &Answers) -> Self {
        match &answers.raw_body {
            Some(body) => Self::Fixed(body.0.clone()),
            None if answers.echo => Self::Echo,
            None if answers.no_validate => Self::Decision(None),
            None => Self::Decision(Some(Rules::new(answers.allow_tenant.iter().cloned()))),
        }
    }
}

/// What was decided about a request.
struct Verdict {
    action: Action,
    /// Code of the error that the reply has.
    code: Option<String>,
    content: Option<Content>,
}

impl Verdict {
    fn reply(action: Action, content: Content) -> Self {
        Self {
            action,
            code: None,
            content: Some(content),
        }
    }

    fn silence(action: Action) -> Self {
        Self {
            action,
            code: None,
            content: None,
        }
    }
}

/// Which headers replies have.
#[derive(Debug)]
struct ReplyHeaders {
    fixed: Option<HeaderMap>,
    echo: Echo,
}

/// Whether headers of requests are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    Yes,
    No,
}

/// The rules, the faults and the counts.
pub(crate) struct Router {
    answer: Answer,
    dice: Dice,
    responder: Responder,
    error_code: String,
    /// Remembered keys, if idempotency is asked for.
    seen: Option<SeenKeys>,
    headers: ReplyHeaders,
    /// How often each reply is sent.
    log: Option<Log>,
    replies: Option<Replies>,
    counts: Counts,
}

impl Router {
    /// The Router that the command line describes; creates the log.
    pub(crate) fn new(args: &Args) -> io::Result<Self> {
        Ok(Self {
            answer: Answer::new(&args.answers),
            dice: Dice::new(&args.faults),
            responder: Responder::new(args.answers.padding, &args.faults.error_code),
            error_code: args.faults.error_code.clone(),
            seen: args.answers.idempotency.then(SeenKeys::default),
            headers: ReplyHeaders::new(&args.answers),
            log: match &args.log {
                Some(path) => Some(Log::create(path, args.log_matching.as_deref())?),
                None => None,
            },
            replies: args.reply_log.as_deref().map(Replies::create).transpose()?,
            counts: Counts::default(),
        })
    }

    /// What happened so far.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Decides what a request is answered with, if at all.
    pub(crate) fn judge(&mut self, message: Message) -> Option<Reply> {
        let (fault, pace) = self.dice.throw();
        let verdict = self.decide(&message, fault);
        let times = self.dice.times();
        self.count(&verdict, pace, times);
        let action = match pace {
            Pace::Late if verdict.content.is_some() => Action::Late,
            _ => verdict.action,
        };
        self.record(&message, action, verdict.code.as_deref());
        let content = verdict.content?;
        if let (Some(replies), Content::Body(body)) = (&mut self.replies, &content) {
            complain(replies.record(body));
        }
        let subject = match message.reply {
            Some(reply) => reply,
            None => format!("{}.reply", message.subject).into(),
        };
        Some(Reply {
            subject,
            headers: self.headers.for_reply_to(message.headers),
            content,
            times,
            wait: self.dice.wait(pace),
        })
    }

    /// Writes a line to the log, if there is one.
    pub(crate) fn record(&mut self, message: &Message, action: Action, code: Option<&str>) {
        if let Some(log) = &mut self.log {
            complain(log.record(message, action, code));
        }
    }

    /// Hands the logs to their files, so that they are never behind the replies.
    pub(crate) fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            complain(log.flush());
        }
        if let Some(replies) = &mut self.replies {
            complain(replies.flush());
        }
    }

    fn decide(&mut self, message: &Message, fault: Fault) -> Verdict {
        match fault {
            Fault::Silent => return Verdict::silence(Action::Silent),
            Fault::Malformed => return Verdict::reply(Action::Malformed, Content::Malformed),
            Fault::Error | Fault::None => {}
        }
        let headers = Headers::pick(message.headers.as_ref());
        let request = self
            .reads_payload(fault)
            .then(|| Request::parse(&message.payload))
            .flatten();
        let context = Context::of(request.as_ref(), headers);
        if let Answer::Decision(Some(rules)) = &self.answer {
            let checked = rules.check(
                &message.subject,
                headers,
                &message.payload,
                request.as_ref(),
            );
            if let Err(refusal) = checked {
                return self.refuse(refusal, context);
            }
        }
        if self.sighting(request.as_ref()) == Sighting::Repeated {
            return Verdict::silence(Action::Repeated);
        }
        if fault == Fault::Error {
            return Verdict {
                action: Action::Error,
                code: self.log.is_some().then(|| self.error_code.clone()),
                content: Some(Content::Body(self.responder.failure(context))),
            };
        }
        let body = match &self.answer {
            Answer::Decision(_) => self.responder.decision(context),
            Answer::Echo => message.payload.clone(),
            Answer::Fixed(body) => body.clone(),
        };
        Verdict::reply(Action::Answered, Content::Body(body))
    }

    /// Whether anything in the payload matters; an opaque answer needs none of it.
    fn reads_payload(&self, fault: Fault) -> bool {
        matches!(self.answer, Answer::Decision(_)) || fault == Fault::Error || self.seen.is_some()
    }

    fn refuse(&mut self, refusal: Refusal, context: Context<'_>) -> Verdict {
        Verdict {
            action: Action::Refused,
            code: self.log.is_some().then(|| refusal.code().to_owned()),
            content: Some(Content::Body(self.responder.refusal(refusal, context))),
        }
    }

    fn sighting(&mut self, request: Option<&Request<'_>>) -> Sighting {
        let (Some(seen), Some(request)) = (&mut self.seen, request) else {
            return Sighting::First;
        };
        match request.idempotency_key.value() {
            Value::Text(key) => seen.see(&key, Instant::now()),
            Value::Absent | Value::Other => Sighting::First,
        }
    }

    const fn count(&mut self, verdict: &Verdict, pace: Pace, times: u64) {
        let counts = &mut self.counts;
        counts.received += 1;
        let counter = match verdict.action {
            Action::Error | Action::Refused => &mut counts.errors,
            Action::Silent => &mut counts.silent,
            Action::Repeated => &mut counts.repeated,
            Action::Malformed => &mut counts.malformed,
            _ => &mut counts.answered,
        };
        *counter += 1;
        if verdict.content.is_some() {
            counts.duplicates += times - 1;
            if matches!(pace, Pace::Late) {
                counts.late += 1;
            }
        }
    }
}

fn complain(written: io::Result<()>) {
    if let Err(error) = written {
        crate::serve::report(&format!("log: {error}"));
    }
}

impl ReplyHeaders {
    fn new(answers: &Answers) -> Self {
        let mut fixed = HeaderMap::new();
        for header in &answers.reply_header {
            fixed.append(header.name.clone(), header.value.clone());
        }
        Self {
            fixed: (!fixed.is_empty()).then_some(fixed),
            echo: if answers.echo_headers {
                Echo::Yes
            } else {
                Echo::No
            },
        }
    }

    /// Headers of the reply to a request with these.
    fn for_reply_to(&self, request: Option<HeaderMap>) -> Option<HeaderMap> {
        let echoed = request.filter(|_| self.echo == Echo::Yes);
        let (Some(mut all), Some(fixed)) = (echoed.clone(), &self.fixed) else {
            return echoed.or_else(|| self.fixed.clone());
        };
        for (name, values) in fixed.iter() {
            for value in values {
                all.append(name.clone(), value.clone());
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const VALID: &str = r#"{"tenant_id":"t","request_id":"r","idempotency_key":"k",
        "task":{"type":"chat","payload_ref":"s3://x"}}"#;

    fn router(flags: &[&str]) -> Router {
        let args = ["reference-router"].iter().chain(flags);
        Router::new(&Args::try_parse_from(args).unwrap()).unwrap()
    }

    fn message(payload: &str) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("trace_id", "0123456789abcdef0123456789abcdef");
        Message {
            subject: "beamline.router.v1.decide".into(),
            reply: Some("inbox".into()),
            payload: payload.to_owned().into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: payload.len(),
        }
    }

    fn body(reply: Option<Reply>) -> String {
        let Content::Body(body) = reply.unwrap().content else {
            panic!("the reply is malformed");
        };
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_valid_request_gets_a_decision_with_its_identifiers() {
        let reply = router(&[]).judge(message(VALID)).unwrap();
        assert_eq!(reply.subject.as_str(), "inbox");
        assert_eq!((reply.times, reply.wait), (1, Duration::ZERO));
        assert!(reply.headers.is_none());
        let body = body(Some(reply));
        assert!(body.starts_with(r#"{"ok":true,"decision":{"#));
        let context =
            r#""context":{"request_id":"r","trace_id":"0123456789abcdef0123456789abcdef"}}"#;
        assert!(body.ends_with(context), "{body}");
    }

    #[test]
    fn without_a_reply_subject_it_answers_beside_the_request() {
        let mut request = message(VALID);
        request.reply = None;
        let reply = router(&[]).judge(request).unwrap();
        assert_eq!(reply.subject.as_str(), "beamline.router.v1.decide.reply");
    }

    #[test]
    fn opaque_answers_validate_nothing() {
        assert_eq!(body(router(&["--echo"]).judge(message("\0x"))), "\0x");
        assert_eq!(body(router(&["--raw-body", "hi"]).judge(message(""))), "hi");
        let lenient = body(router(&["--no-validate"]).judge(message("{}")));
        assert!(lenient.starts_with(r#"{"ok":true"#));
        let strict = body(router(&[]).judge(message("{}")));
        assert!(strict.contains("missing_tenant_id"));
    }

    #[test]
    fn a_repeated_key_gets_no_reply_when_that_is_asked_for() {
        let mut remembers = router(&["--idempotency"]);
        assert!(remembers.judge(message(VALID)).is_some());
        assert!(remembers.judge(message(VALID)).is_none());
        let mut forgets = router(&[]);
        assert!(forgets.judge(message(VALID)).is_some());
        assert!(forgets.judge(message(VALID)).is_some());
    }

    #[test]
    fn headers_are_added_and_copied_when_that_is_asked_for() {
        let flags = ["--reply-header", "a=b", "--echo-headers"];
        let headers = router(&flags).judge(message(VALID)).unwrap().headers;
        let headers = headers.unwrap();
        assert_eq!(headers.get("a").unwrap().as_str(), "b");
        assert!(headers.get("trace_id").is_some());
        let reply = router(&flags[..2]).judge(message(VALID)).unwrap();
        assert_eq!(reply.headers.unwrap().len(), 1);
    }

    #[test]
    fn counts_say_what_happened() {
        let mut router = router(&["--duplicate", "2", "--late", "1s"]);
        router.judge(message(VALID));
        router.judge(message("{}"));
        let expected = "received=2 answered=1 errors=1 silent=0 duplicates=4 repeated=0 late=2 \
                        malformed=0";
        assert_eq!(router.counts().to_string(), expected);
    }
}
