//! The forms of backpressure, pushed and polled.

use ipc_tools::stage::{Ask, Failure};

use crate::bench::{Bench, SOON};
use crate::document::{Admits, Contract};

/// Requests that show how many are let in.
const ASKED: u64 = 20;

pub(crate) fn check(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    let request = contract.decide.minimal_request.to_string();
    let rules = &contract.backpressure;
    let status = contract.status(&rules.code).unwrap_or(0);
    for (number, form) in rules.forms.iter().enumerate() {
        let id = format!("backpressure.{}", number + 1);
        bench.check(&id, &form.name, |bench, report| {
            bench.router(&[])?;
            bench.push(&rules.subject, br#"{"status":"inactive"}"#)?;
            bench.push(&rules.subject, form.message.to_string().as_bytes())?;
            let (mut taken, mut told) = (0, Vec::new());
            for _ in 0..ASKED {
                let got = bench.call(report, Ask::decide(request.clone()))?;
                if got.code == "OK" {
                    taken += 1;
                } else {
                    report.answer("a request that is turned away", &got, &rules.code, status);
                    told.push(got.retry_after_ms);
                }
            }
            let expected = match form.admits {
                Admits::None => 0,
                Admits::Half => ASKED / 2,
                Admits::All => ASKED,
            };
            report.equal(format_args!("let in, of {ASKED},"), &taken, &expected);
            // The time runs down from what the Router has said.
            let most = form.retry_after_ms;
            let is_right = told.iter().all(|ms| *ms <= most && ms + 3000 >= most);
            report.must(
                is_right,
                format_args!("times to wait, of {most} ms: {told:?}"),
            );
            bench.push(&rules.subject, br#"{"status":"inactive"}"#)
        })?;
    }
    bench.check(
        "backpressure.poll",
        "the question, and what is done about the answer",
        |bench, report| {
            bench.router(&[])?;
            report.must(
                rules.default_retry_after_ms > 0,
                "there is a default time to wait",
            );
            let polls = "[backpressure]\npoll_interval = \"500ms\"\n";
            let gateway = bench.another_gateway(polls)?;
            let subject = &rules.subject;
            let poll = bench.wire.first(SOON, "a poll", |m| {
                m.subject == *subject && m.reply.is_some()
            })?;
            report.captured(&poll);
            for name in &rules.poll_headers {
                let found = poll.header(name).unwrap_or_default();
                report.must(!found.is_empty(), format_args!("{name} is {found:?}"));
            }
            let version = poll.header("x_contract_version").unwrap_or("absent");
            report.equal("x_contract_version", &version, &rules.poll_version.as_str());
            let inbox = poll.reply.unwrap_or_default();
            let answer = bench
                .wire
                .first(SOON, "the answer", |m| m.subject == inbox)?;
            report.captured(&answer);
            report.must(
                answer.contains("\"status\""),
                "the Router answers with its status",
            );
            ipc_tools::stage::eventually(SOON, "the answer is understood", || {
                Ok(gateway.metric("ipcgw_backpressure_statuses_total", r#"understood="yes""#)? > 0)
            })?;
            gateway.end()
        },
    )
}
