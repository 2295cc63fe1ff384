//! Subject, header names and encodings, reserved names and the limits of headers.

use ipc_ringbuf::decide::{MAX_PAYLOAD_BYTES, trace_id_of};
use ipc_ringbuf::entry::MAX_HEADER_BYTES;
use ipc_tools::stage::{Ask, Failure};

use crate::bench::Bench;
use crate::document::{Contract, Encoding, Header, Presence};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) fn check(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    let request = contract.decide.minimal_request.to_string();
    let ask = || Ask::decide(request.clone()).route(&contract.decide.route);
    bench.check(
        "subject.decide",
        "the route's subject, and its time",
        |bench, report| {
            bench.router(&[])?;
            let got = bench.call(report, ask())?;
            report.answer("the minimal request", &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            report.equal("the subject", &sent.subject, &contract.decide.subject);
            let left = sent.header("ipcgw-deadline-ms").unwrap_or_default();
            let left = left.parse::<u64>().unwrap_or(0);
            let most = contract.decide.timeout_ms;
            let is_right = left <= most && left + 1000 > most;
            report.must(is_right, format_args!("{left} ms were left of {most}"));
            let most = contract.decide.max_payload_bytes;
            report.equal("largest payload", &most, &MAX_PAYLOAD_BYTES);
            Ok(())
        },
    )?;
    for header in &contract.request_headers {
        let id = format!("headers.{}", header.name);
        bench.check(&id, "presence and encoding", |bench, report| {
            bench.router(&[])?;
            // Given, where a client may give it.
            let given = given(header);
            let mut with = ask();
            if let Some(value) = given {
                with = with.header(&header.name, value);
            }
            let got = bench.call(report, with)?;
            report.answer("with it", &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            let found = sent.header(&header.name).unwrap_or("absent").to_owned();
            let is_right = is_encoded(header, &found, contract.decide.timeout_ms);
            report.must(
                is_right,
                format_args!("{} is {found:?}: {:?}", header.name, header.encoding),
            );
            if let Some(value) = given {
                report.equal("what was given", &found.as_str(), &value);
            }
            // Not given.
            let got = bench.call(report, ask())?;
            report.answer("without it", &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            let is_there = sent.header(&header.name).is_some();
            let expected = header.presence == Presence::Always;
            report.equal(
                "whether it is there when nobody gives it",
                &is_there,
                &expected,
            );
            Ok(())
        })?;
    }
    bench.check(
        "headers.trace",
        "traceparent gives the trace_id",
        |bench, report| {
            bench.router(&[])?;
            let got = bench.call(report, ask().header("traceparent", PARENT))?;
            report.answer("with traceparent alone", &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            let found = sent.header("trace_id").unwrap_or("absent");
            report.equal("trace_id", &found, &trace_id_of(PARENT).unwrap_or_default());
            Ok(())
        },
    )?;
    reserved(bench, contract)?;
    limits(bench, contract)
}

/// A value that a client may give.
fn given(header: &Header) -> Option<&'static str> {
    match (header.presence, header.encoding) {
        (Presence::Always, _) | (_, Encoding::Constant | Encoding::DecimalMs) => None,
        (_, Encoding::TraceId) => Some(TRACE),
        (_, Encoding::Traceparent) => Some(PARENT),
        (_, Encoding::Text) => Some("a value; with = marks"),
    }
}

fn is_encoded(header: &Header, value: &str, longest_ms: u64) -> bool {
    match header.encoding {
        Encoding::TraceId => {
            value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        Encoding::Traceparent => trace_id_of(value).is_some(),
        Encoding::Text => !value.is_empty() && value != "absent",
        Encoding::Constant => Some(value) == header.value.as_deref(),
        Encoding::DecimalMs => value
            .parse::<u64>()
            .is_ok_and(|ms| (1..=longest_ms).contains(&ms)),
    }
}

/// Names that belong to the gateway or the server.
fn reserved(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    let request = contract.decide.minimal_request.to_string();
    let reserved = &contract.reserved_headers;
    for prefix in &reserved.prefixes {
        let id = format!("headers.reserved.{}", prefix.trim_end_matches('-'));
        bench.check(&id, "refused in any spelling", |bench, report| {
            bench.router(&[])?;
            let status = contract.status(&reserved.code).unwrap_or(0);
            for spelling in [prefix.clone(), prefix.to_uppercase()] {
                let name = format!("{spelling}x");
                let ask = Ask::decide(request.clone()).header(&name, "1");
                let got = bench.call(report, ask)?;
                report.answer(&name, &got, &reserved.code, status);
            }
            let found = bench.wire.all(|m| m.subject == contract.decide.subject);
            report.equal("messages on the wire", &found.len(), &0);
            Ok(())
        })?;
    }
    for name in &reserved.exceptions {
        let id = format!("headers.exception.{name}");
        bench.check(&id, "let through", |bench, report| {
            bench.router(&[])?;
            let ask = Ask::decide(request.clone()).header(name, "m-1");
            let got = bench.call(report, ask)?;
            report.answer(name, &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            report.equal("its value", &sent.header(name).unwrap_or("absent"), &"m-1");
            Ok(())
        })?;
    }
    Ok(())
}

/// Number, name and value at one less than the limit, exactly, and one more.
fn limits(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    type With = fn(Ask, usize) -> Ask;
    let limits = contract.header_limits;
    let request = contract.decide.minimal_request.to_string();
    // Too many headers are the gateway's to refuse; the client library sends none that are too long.
    let cases: [(&str, usize, &str, With); 3] = [
        ("count", limits.max_headers, "BAD_HEADER", |ask, count| {
            (0..count).fold(ask, |ask, number| ask.header(&format!("x-{number}"), "1"))
        }),
        ("name", limits.max_name_bytes, "NOT_SENT", |ask, bytes| {
            ask.header(&"n".repeat(bytes), "1")
        }),
        ("value", limits.max_value_bytes, "NOT_SENT", |ask, bytes| {
            ask.header("x-long", &"v".repeat(bytes))
        }),
    ];
    for (what, limit, beyond, with) in cases {
        let id = format!("headers.limit.{what}");
        bench.check(&id, "at limit-1, limit and limit+1", |bench, report| {
            bench.router(&[])?;
            for (size, code) in [(limit - 1, "OK"), (limit, "OK"), (limit + 1, beyond)] {
                let got = bench.call(report, with(Ask::decide(request.clone()), size))?;
                report.equal(format_args!("{what} of {size}"), &got.code.as_str(), &code);
                if code == "OK" {
                    let sent = bench.published(report, &contract.decide.subject)?;
                    let own = sent
                        .headers
                        .iter()
                        .filter(|(n, _)| n.starts_with("x-") || n.starts_with('n'));
                    let crossed = match what {
                        "count" => own.count(),
                        "name" => own.map(|(name, _)| name.len()).max().unwrap_or(0),
                        _ => own.map(|(_, value)| value.len()).max().unwrap_or(0),
                    };
                    report.equal(format_args!("{what} on the wire"), &crossed, &size);
                }
            }
            let block = usize::try_from(MAX_HEADER_BYTES).unwrap_or(0);
            report.equal("largest header block", &limits.max_block_bytes, &block);
            Ok(())
        })?;
    }
    Ok(())
}
