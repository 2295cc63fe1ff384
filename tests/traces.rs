//! Traces, as a collector receives them from the real binary.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::Router as Server;
use axum::body::Bytes;
use axum::routing::post;
use ipc_ringbuf::{Code, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::admin::get;
use crate::support::gateway::{Gateway, attach, connected_as};
use crate::support::router::Router;
use crate::support::{SOON, decide, eventually, server};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STAGES: [&str; 4] = ["ring_wait", "publish", "upstream", "deliver"];

/// A collector on a port of its own that answers after so long, and the spans that it is sent.
fn collector(takes: Duration) -> (String, Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let (sender, spans) = channel();
    let take = move |body: Bytes| {
        let message = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = message
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        sender
            .send(scopes.flat_map(|scope| scope.spans).collect())
            .ok();
        tokio::time::sleep(takes)
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Server::new().route("/v1/traces", post(take)))
                .await
                .unwrap();
        });
    });
    (url, spans)
}

fn gateway(url: &str, server: &server::Server) -> Gateway {
    connected_as(&format!("[tracing]\nendpoint = \"{url}\"\n"), server)
}

/// Asks the Router once, as a client whose trace has these flags.
fn ask(gateway: &Gateway, number: u32, flags: &str) {
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    let body = decide(&number.to_string(), 64);
    let request = Request::to("decide")
        .header("traceparent", &parent)
        .payload(&body);
    let mut client = attach(gateway);
    let answer = client.call(request).unwrap();
    assert_eq!(answer.code(), Code::Ok);
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dropped(gateway: &Gateway) -> u64 {
    let text = get(gateway, "/metrics").1;
    let line = "ipcgw_trace_spans_dropped_total{reason=\"export\"} ";
    let value = text.lines().find_map(|l| l.strip_prefix(line));
    value.unwrap().parse().unwrap()
}

#[test]
fn one_trace_has_the_request_and_its_four_stages_and_an_unsampled_request_none() {
    let server = server::Server::start();
    let router = Router::start(&server, &[]);
    let (url, spans) = collector(Duration::ZERO);
    let mut gateway = gateway(&url, &server);
    ask(&gateway, 1, "00");
    ask(&gateway, 2, "01");
    let all = spans.recv_timeout(SOON).unwrap();
    gateway.stop();
    assert_eq!(spans.try_iter().count(), 0);
    let by_name: BTreeMap<&str, &Span> = all.iter().map(|s| (s.name.as_str(), s)).collect();
    assert_eq!((all.len(), by_name.len()), (5, 5), "{all:#?}");
    let whole = by_name["ipc_gateway.request"];
    assert_eq!(hex(&whole.parent_span_id), PARENT);
    let mut at = whole.start_time_unix_nano;
    for stage in STAGES {
        let span = by_name[stage];
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(span.parent_span_id, whole.span_id, "{stage}");
        // Each stage begins where the one before it has ended.
        assert_eq!(span.start_time_unix_nano, at, "{stage}");
        assert!(span.end_time_unix_nano >= at, "{stage}");
        at = span.end_time_unix_nano;
    }
    assert_eq!(at, whole.end_time_unix_nano);
    let upstream = hex(&by_name["upstream"].span_id);
    let log = router.log();
    let seen = serde_json::to_string(&log).unwrap();
    assert!(
        seen.contains(&format!("00-{TRACE}-{upstream}-01")),
        "{seen}"
    );
    assert!(seen.contains(&format!("00-{TRACE}-{PARENT}-00")), "{seen}");
    let said = format!("{:?}", whole.attributes);
    for word in ["decide", "answered", "OK"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_collector_that_is_not_there_or_never_answers_costs_spans_and_no_request() {
    let server = server::Server::start();
    let _router = Router::start(&server, &[]);
    // It accepts by its backlog and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [&silent, &gone].map(|l| format!("http://{}", l.local_addr().unwrap()));
    drop(gone);
    for url in urls {
        let mut gateway = gateway(&url, &server);
        for number in 0..20 {
            ask(&gateway, number, "01");
        }
        // Asked while the exporter waits, too.
        eventually("spans are counted as dropped", || dropped(&gateway) >= 5);
        ask(&gateway, 20, "01");
        gateway.stop();
    }
}

#[test]
fn what_was_traced_is_sent_although_the_gateway_ends_while_the_collector_is_slow() {
    let server = server::Server::start();
    let _router = Router::start(&server, &[]);
    let (url, spans) = collector(Duration::from_millis(500));
    let mut gateway = gateway(&url, &server);
    ask(&gateway, 1, "01");
    assert_eq!(spans.recv_timeout(SOON).unwrap().len(), 5);
    // The exporter waits for the answer to the first, and the second waits behind it.
    ask(&gateway, 2, "01");
    gateway.stop();
    assert_eq!(spans.try_iter().flatten().count(), 5);
}

#[test]
fn nothing_is_traced_unless_an_endpoint_is_set() {
    let server = server::Server::start();
    let router = Router::start(&server, &[]);
    let gateway = connected_as("[tracing]\nsample_ratio = 1.0\n", &server);
    ask(&gateway, 1, "01");
    let seen = serde_json::to_string(&router.log()).unwrap();
    assert!(seen.contains(&format!("00-{TRACE}-{PARENT}-01")), "{seen}");
    assert!(
        get(&gateway, "/metrics")
            .1
            .contains("ipcgw_trace_spans_exported_total 0")
    );
}
