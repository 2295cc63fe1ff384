//! Codes and statuses of answers, and payloads in both directions.

use ipc_tools::stage::{Ask, Failure, said};

use crate::bench::Bench;
use crate::document::Contract;

/// Time for an answer that never comes.
const SHORT_MS: u64 = 400;

pub(crate) fn check(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    let request = contract.decide.minimal_request.to_string();
    let unknown = &contract.unknown_error;
    let known = contract.errors.iter();
    let known = known.map(|e| (e.code.as_str(), e.gateway_code.as_str(), e.status));
    let foreign = ["no_such_code", "INTERNAL", ""];
    let foreign = foreign.map(|code| (code, unknown.gateway_code.as_str(), unknown.status));
    for (code, gateway_code, status) in known.chain(foreign) {
        let id = match code {
            "" => "errors.unknown.empty".to_owned(),
            code if foreign_code(contract, code) => format!("errors.unknown.{code}"),
            code => format!("errors.{code}"),
        };
        bench.check(
            &id,
            "code, class and status at the client",
            |bench, report| {
                bench.router(&["--error-rate", "1", "--error-code", code])?;
                let got = bench.call(report, Ask::decide(request.clone()))?;
                report.answer(code, &got, gateway_code, status);
                report.equal("the class", &got.outcome.as_str(), &"answered");
                let answer = got.json();
                report.equal(
                    "error.code in the body",
                    &said(&answer, "/error/code"),
                    &code,
                );
                Ok(())
            },
        )?;
    }
    for (number, reply) in contract.replies.iter().enumerate() {
        let id = format!("replies.{}", number + 1);
        bench.check(&id, &reply.name, |bench, report| {
            bench.router(&["--raw-body", &reply.body])?;
            let ignored = bench.metric("ipcgw_pubacks_ignored_total", "")?;
            let got = bench.call(report, Ask::decide(request.clone()).timeout_ms(SHORT_MS))?;
            let status = contract.status(&reply.means).unwrap_or(0);
            report.answer(&reply.body, &got, &reply.means, status);
            if reply.means == "TIMEOUT" {
                let more = bench.metric("ipcgw_pubacks_ignored_total", "")? - ignored;
                report.equal("acknowledgements that were ignored", &more, &1);
            } else {
                report.must(
                    got.payload == reply.body.as_bytes(),
                    "the client has the body unchanged",
                );
            }
            Ok(())
        })?;
    }
    let binary: Vec<u8> = (0..=u8::MAX).cycle().take(4096).collect();
    let json = "{ \"b\" : [1, 2.50e1, null ],\t\"a\":\"\\u00e9 \u{e9} \\n\" }\n".as_bytes();
    for (what, payload) in [
        ("binary", binary.as_slice()),
        ("json", json),
        ("empty", b""),
    ] {
        let id = format!("payload.{what}");
        bench.check(
            &id,
            "crosses unchanged in both directions",
            |bench, report| {
                bench.router(&["--echo"])?;
                let got = bench.call(report, Ask::decide(payload))?;
                report.answer(what, &got, "OK", 200);
                let sent = bench.published(report, &contract.decide.subject)?;
                let bytes = payload.len();
                report.must(
                    sent.payload == payload,
                    format_args!("{bytes} bytes cross to the Router"),
                );
                report.must(
                    got.payload == payload,
                    format_args!("{bytes} bytes come back"),
                );
                Ok(())
            },
        )?;
    }
    Ok(())
}

fn foreign_code(contract: &Contract, code: &str) -> bool {
    !contract.errors.iter().any(|error| error.code == code)
}
