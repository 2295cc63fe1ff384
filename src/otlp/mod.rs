//! Sends traces to an OpenTelemetry collector: OTLP over HTTP/1.1, protobuf, without TLS.
//!
//! | file | what it is |
//! |---|---|
//! | `encode` | from records to OTLP's messages |
//! | `exporter` | the thread that posts them |
//!
//! Nothing here is waited for by a worker: records come through a bounded queue.

mod encode;
mod exporter;

pub use exporter::Exporter;
