//! From records to OTLP's messages. Attributes are the gateway's own words and numbers, never a
//! header, a payload or a client's name.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::bridge::Outcome;
use crate::clock::Nanos;
use crate::route::Route;
use crate::trace::{Random, Record};

/// The message for these records. `epoch` is what to add to a monotonic moment to have nanoseconds
/// since 1970.
pub(super) fn request(
    records: &[Record],
    routes: &[Route],
    service_name: &str,
    epoch: u64,
    random: &mut Random,
) -> ExportTraceServiceRequest {
    let mut spans = Vec::with_capacity(records.len() * 5);
    for record in records {
        let route = routes.get(usize::from(record.route));
        of(record, route, epoch, random, &mut spans);
    }
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", service_name),
                    text("service.version", env!("CARGO_PKG_VERSION")),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn of(
    record: &Record,
    route: Option<&Route>,
    epoch: u64,
    random: &mut Random,
    spans: &mut Vec<Span>,
) {
    let span =
        |id: u64, parent: Option<u64>, name: &str, kind: SpanKind, from: Nanos, to: Nanos| Span {
            trace_id: record.trace_id.to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: parent.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
            name: name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: epoch.wrapping_add(from.0),
            end_time_unix_nano: epoch.wrapping_add(to.0),
            ..Span::default()
        };
    let (submitted, accepted, completed) = (record.submitted, record.accepted, record.completed);
    let is_answered = record.code.outcome() == Outcome::Answered;
    let mut attributes = vec![
        text("ipcgw.outcome", record.code.outcome().name()),
        text("ipcgw.code", record.code.name()),
        number("messaging.message.body.size", record.payload_bytes),
        number("ipcgw.reply.body.size", record.reply_bytes),
    ];
    if let Some(route) = route {
        attributes.push(text("ipcgw.route", &route.name));
        attributes.push(text("messaging.system", "nats"));
        attributes.push(text("messaging.destination.name", route.subject.as_str()));
    }
    let id = record.request;
    let (server, internal) = (SpanKind::Server, SpanKind::Internal);
    let name = "ipc_gateway.request";
    let status = (!is_answered).then(|| Status {
        message: record.code.name().to_owned(),
        code: StatusCode::Error.into(),
    });
    spans.push(Span {
        attributes,
        status,
        ..span(id, record.parent, name, server, submitted, completed)
    });
    let child = Some(id);
    let wait = random.span_id();
    spans.push(span(
        wait,
        child,
        "ring_wait",
        internal,
        submitted,
        accepted,
    ));
    let client = SpanKind::Client;
    if let Some(times) = record.times {
        let (published, answered) = (times.published, times.answered);
        let (publish, deliver) = (random.span_id(), random.span_id());
        spans.push(span(
            publish, child, "publish", internal, accepted, published,
        ));
        spans.push(span(
            record.upstream,
            child,
            "upstream",
            client,
            published,
            answered,
        ));
        spans.push(span(
            deliver, child, "deliver", internal, answered, completed,
        ));
    } else if record.has_upstream() {
        // When it was published is not known of what was not answered.
        spans.push(span(
            record.upstream,
            child,
            "upstream",
            client,
            accepted,
            completed,
        ));
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(
        key,
        Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)),
    )
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
