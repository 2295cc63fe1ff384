//! A worker's part of tracing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::random::Random;
use super::record::{Record, Records};
use crate::bridge::{Code, Reply, headers};
use crate::clock::Nanos;
use crate::metrics::worker::WorkerMetrics;
use crate::settings::TracingSettings;

const TRACEPARENT: &str = "traceparent";
const TRACE_ID: &str = "trace_id";
/// Bytes of a `traceparent` header in a block, and of what NATS adds to it and to a block.
const HEADER_BYTES: usize = 4 + TRACEPARENT.len() + 55 + 256;
/// Most headers that a block may have.
const MOST: usize = headers::MAX_HEADERS;
const MILLION: u64 = 1_000_000;

/// What is remembered of a traced request until it is completed.
#[derive(Clone, Copy, Debug)]
struct Begun {
    trace_id: u128,
    parent: Option<u64>,
    request: u64,
    upstream: u64,
    payload_bytes: u64,
}

/// Samples a worker's requests and records the moments of those that it has sampled.
pub struct Tracer {
    follow_parent: bool,
    per_million: u64,
    random: Random,
    /// By place in the worker's slab.
    begun: HashMap<u32, Begun>,
    records: Records,
    metrics: Arc<WorkerMetrics>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer that pushes into `records` and counts what had no room in the worker's `metrics`.
    #[must_use]
    pub fn new(
        settings: &TracingSettings,
        random: Random,
        records: Records,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            follow_parent: settings.follow_parent,
            per_million: settings.sample_ratio.per_million().into(),
            random,
            begun: HashMap::new(),
            records,
            metrics,
        }
    }

    /// Decides whether the request at `place` is traced. If so, its `traceparent` becomes one that
    /// names the upstream's span. Returns the body to send and the bytes of it that are headers.
    /// A request whose body would become larger than `most` with another header is not traced.
    pub fn begin(&mut self, place: u32, body: Bytes, header_len: u32, most: u32) -> (Bytes, u32) {
        // Whoever was here and was abandoned is forgotten.
        self.begun.remove(&place);
        let block = body.get(..header_len as usize).unwrap_or_default();
        let named = Named::read(block);
        let is_parent_sampled = named.parent.is_some_and(|parent| parent.is_sampled);
        let is_followed = self.follow_parent && is_parent_sampled;
        if !is_followed && !self.draws() {
            return (body, header_len);
        }
        let has_room = || {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            named.count < MOST && body.len() + HEADER_BYTES <= most
        };
        if !named.has_traceparent && !has_room() {
            return (body, header_len);
        }
        let trace_id = named
            .parent
            .map(|parent| parent.trace_id)
            .or(named.trace_id)
            .unwrap_or_else(|| self.random.trace_id());
        let begun = Begun {
            trace_id,
            parent: named.parent.map(|parent| parent.span_id),
            request: self.random.span_id(),
            upstream: self.random.span_id(),
            payload_bytes: (body.len() - block.len()) as u64,
        };
        let context = Context {
            trace_id,
            span_id: begun.upstream,
            is_sampled: true,
        };
        let Some(sent) = with(&body, block, &context) else {
            return (body, header_len);
        };
        self.begun.insert(place, begun);
        sent
    }

    fn draws(&mut self) -> bool {
        self.per_million > 0 && self.random.number() % MILLION < self.per_million
    }

    /// Records the request at `place`, if it is traced. `code` is what its client was told.
    pub fn complete(
        &mut self,
        place: u32,
        route: u16,
        (accepted, ring_wait_ns): (Nanos, u64),
        reply: &Reply,
        code: Code,
        now: Nanos,
    ) {
        let Some(begun) = self.begun.remove(&place) else {
            return;
        };
        let record = Record {
            trace_id: begun.trace_id,
            parent: begun.parent,
            request: begun.request,
            upstream: begun.upstream,
            route,
            code,
            payload_bytes: begun.payload_bytes,
            reply_bytes: reply.payload.len() as u64,
            submitted: Nanos(accepted.0.saturating_sub(ring_wait_ns)),
            accepted,
            times: reply.times,
            completed: now,
        };
        if let Err(record) = self.records.push(record.in_order()) {
            self.metrics.trace_dropped.add(record.spans());
        }
    }
}

/// What a client's headers say about the trace.
struct Named {
    /// The first `traceparent` that keeps the rules.
    parent: Option<Context>,
    trace_id: Option<u128>,
    has_traceparent: bool,
    count: usize,
}

impl Named {
    fn read(block: &[u8]) -> Self {
        let mut named = Self {
            parent: None,
            trace_id: None,
            has_traceparent: false,
            count: 0,
        };
        for (name, value) in headers::decode(block).flatten() {
            named.count += 1;
            if name.eq_ignore_ascii_case(TRACEPARENT) {
                named.has_traceparent = true;
                named.parent = named.parent.or_else(|| Context::parse(value));
            } else if name == TRACE_ID {
                named.trace_id = named.trace_id.or_else(|| Context::trace_id_of(value));
            }
        }
        named
    }
}

/// The body with this `traceparent` in place of any other; `None` if the block breaks the encoding.
fn with(body: &Bytes, block: &[u8], context: &Context) -> Option<(Bytes, u32)> {
    let mut out = Vec::with_capacity(body.len() + HEADER_BYTES);
    for header in headers::decode(block) {
        let (name, value) = header.ok()?;
        if !name.eq_ignore_ascii_case(TRACEPARENT) {
            headers::encode(name, value, &mut out).ok()?;
        }
    }
    headers::encode(TRACEPARENT, &context.header(), &mut out).ok()?;
    let header_len = u32::try_from(out.len()).ok()?;
    out.extend_from_slice(body.get(block.len()..)?);
    Some((out.into(), header_len))
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::*;
    use crate::bridge::{Times, Token};
    use crate::settings::Ratio;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(follow_parent: bool, ratio: f64) -> (Tracer, Records) {
        let settings = TracingSettings {
            follow_parent,
            sample_ratio: Ratio::new(ratio).unwrap(),
            ..TracingSettings::default()
        };
        let queue = records();
        let metrics = Arc::new(WorkerMetrics::for_routes(1));
        let tracer = Tracer::new(&settings, Random::new(7), Arc::clone(&queue), metrics);
        (tracer, queue)
    }

    fn body(list: &[(&str, &str)]) -> (Bytes, u32) {
        let mut block = Vec::new();
        for (name, value) in list {
            headers::encode(name, value, &mut block).unwrap();
        }
        let header_len = u32::try_from(block.len()).unwrap();
        block.extend_from_slice(b"payload");
        (block.into(), header_len)
    }

    fn answer(tracer: &mut Tracer, times: Option<Times>) {
        let token = Token::new(0, 3, 0);
        let reply = Reply {
            times,
            ..Reply::bare(token, Code::Ok)
        };
        tracer.complete(3, 0, (Nanos(100), 40), &reply, Code::Ok, Nanos(150));
    }

    #[test]
    fn a_sampled_parent_is_followed_and_the_upstream_is_told_of_its_own_span() {
        let (mut tracer, records) = tracer(true, 0.0);
        let (given, len) = body(&[("x", "1"), ("Traceparent", PARENT)]);
        let (sent, sent_len) = tracer.begin(3, given, len, 1000);
        let times = Times {
            published: Nanos(90),
            answered: Nanos(160),
        };
        answer(&mut tracer, Some(times));
        let record = records.pop().unwrap();
        let parent = Context::parse(PARENT).unwrap();
        assert_eq!(record.trace_id, parent.trace_id);
        assert_eq!(record.parent, Some(parent.span_id));
        assert_eq!((record.payload_bytes, record.submitted), (7, Nanos(60)));
        // Readings of one batch are brought in order.
        let times = record.times.unwrap();
        assert_eq!((times.published, times.answered), (Nanos(100), Nanos(160)));
        assert_eq!(record.completed, Nanos(160));
        let (block, payload) = sent.split_at(sent_len as usize);
        assert_eq!(payload, b"payload");
        let sent: Vec<_> = headers::decode(block).map(Result::unwrap).collect();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0], ("x", "1"));
        let told = Context::parse(sent[1].1).unwrap();
        assert_eq!(
            (told.trace_id, told.span_id),
            (record.trace_id, record.upstream)
        );
        // It is recorded once.
        answer(&mut tracer, None);
        assert!(records.is_empty());
    }

    #[test]
    fn what_is_not_sampled_goes_out_as_it_came() {
        let off = PARENT.replace("-01", "-00");
        for (follow, value) in [(true, off.as_str()), (false, PARENT), (true, "nonsense")] {
            let (mut tracer, records) = tracer(follow, 0.0);
            let (given, len) = body(&[("traceparent", value)]);
            assert_eq!(tracer.begin(3, given.clone(), len, 1000), (given, len));
            answer(&mut tracer, None);
            assert!(records.is_empty());
        }
    }

    #[test]
    fn a_drawn_request_keeps_its_trace_id_and_one_without_room_is_left_alone() {
        let (mut tracer, records) = tracer(true, 1.0);
        let (given, len) = body(&[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]);
        let (_, sent) = tracer.begin(3, given.clone(), len, 1000);
        assert!(sent > len);
        answer(&mut tracer, None);
        let record = records.pop().unwrap();
        assert_eq!(record.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((record.parent, record.spans()), (None, 3));
        let most = u32::try_from(given.len()).unwrap();
        assert_eq!(tracer.begin(3, given.clone(), len, most), (given, len));
    }

    #[test]
    fn a_ratio_is_the_share_that_is_drawn() {
        let (mut tracer, _) = tracer(true, 0.25);
        let drawn = (0..10_000).filter(|_| tracer.draws()).count();
        assert!((2_200..2_800).contains(&drawn), "{drawn}");
    }

    #[test]
    fn what_has_no_room_is_counted_by_span() {
        let (mut tracer, records) = tracer(true, 1.0);
        for _ in 0..=records.capacity() {
            let (given, len) = body(&[]);
            tracer.begin(3, given, len, 1000);
            answer(&mut tracer, None);
        }
        assert_eq!(tracer.metrics.trace_dropped.get(), 3);
    }
}
