//! Rules of the fields, and limits at one less, exactly and one more.

use ipc_ringbuf::decide::{Decide, DecideError, DecideRequest, Task};
use ipc_tools::stage::{Ask, Failure, Report, said};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::document::{Contract, Limit};

pub(crate) fn check(bench: &mut Bench, contract: &Contract) -> Result<(), Failure> {
    for field in &contract.fields {
        let id = format!("fields{}", field.pointer.replace('/', "."));
        bench.check(
            &id,
            "what is valid is taken, what is not is refused",
            |bench, report| {
                bench.router(&[])?;
                let ask = Ask::decide(contract.decide.minimal_request.to_string());
                let got = bench.call(report, ask)?;
                report.answer("the minimal request", &got, "OK", 200);
                for value in &field.valid {
                    let body = changed(contract, &field.pointer, Some(value));
                    let got = bench.call(report, Ask::decide(body.to_string()))?;
                    report.answer(&format!("{} = {value}", field.pointer), &got, "OK", 200);
                }
                for invalid in &field.invalid {
                    let body = changed(contract, &field.pointer, invalid.value.as_ref());
                    refused(bench, report, &body, &invalid.reason)?;
                }
                if let Some(other) = &field.unless {
                    let mut body = changed(contract, &field.pointer, None);
                    let value = contract.field(other).and_then(|other| other.valid.first());
                    put(&mut body, other, value);
                    let got = bench.call(report, Ask::decide(body.to_string()))?;
                    report.answer(&format!("{other} in its stead"), &got, "OK", 200);
                }
                for value in field.header_wins.iter().flat_map(|wins| &wins.values) {
                    let body = changed(contract, &field.pointer, Some(value));
                    let got = bench.call(report, Ask::decide(body.to_string()))?;
                    let what = format!("{} = {value}, over which the header wins", field.pointer);
                    report.answer(&what, &got, "OK", 200);
                }
                Ok(())
            },
        )?;
    }
    for limit in &contract.limits {
        let id = format!("limits{}", limit.pointer.replace('/', "."));
        bench.check(&id, "at limit-1, limit and limit+1", |bench, report| {
            bench.router(&[])?;
            at_limit(bench, report, contract, limit)
        })?;
    }
    Ok(())
}

/// The minimal request with another value at a pointer, or with none.
fn changed(contract: &Contract, pointer: &str, value: Option<&Value>) -> Value {
    let mut body = contract.decide.minimal_request.clone();
    put(&mut body, pointer, value);
    body
}

/// Puts a value at a pointer, or takes away what is there.
fn put(body: &mut Value, pointer: &str, value: Option<&Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = body.pointer_mut(parent).and_then(Value::as_object_mut) {
        match value {
            Some(value) => parent.insert(name.to_owned(), value.clone()),
            None => parent.remove(name),
        };
    }
}

/// Sends what the Router must refuse for this reason.
fn refused(
    bench: &mut Bench,
    report: &mut Report,
    body: &Value,
    reason: &str,
) -> Result<(), Failure> {
    let got = bench.call(report, Ask::decide(body.to_string()))?;
    report.answer(reason, &got, "ROUTER_INVALID_REQUEST", 400);
    let answer = got.json();
    let message = said(&answer, "/error/message").to_owned();
    report.must(
        message.ends_with(&format!(": {reason}")),
        format_args!("the Router says {message:?}"),
    );
    Ok(())
}

/// A request with a value of this size for the field of a limit, the value, and the same request by the
/// library's builder.
fn sized(
    contract: &Contract,
    limit: &Limit,
    size: usize,
) -> (Value, Value, Result<Decide, DecideError>) {
    const RUN: [&str; 3] = ["/run_id", "/flow_id", "/step_id"];
    let pointer = limit.pointer.as_str();
    if RUN.contains(&pointer) {
        // All three or none: the other two are as long as they must be.
        let zeros = |other| id_of("0", if other == pointer { size } else { 26 });
        let ids = RUN.map(zeros);
        let mut body = contract.decide.minimal_request.clone();
        for (pointer, id) in RUN.iter().zip(&ids) {
            put(&mut body, pointer, Some(&json!(id)));
        }
        let task = Task::new("chat").payload(json!({"text": "hello"}));
        let [run, flow, step] = &ids;
        let request = DecideRequest::new("acme", "r-1", task).run(run, flow, step);
        return (body, json!(id_of("0", size)), request.build());
    }
    let (value, built) = value_of(limit, size);
    let body = changed(contract, pointer, Some(&value));
    (body, value, built)
}

/// An id of this size: this digit, or about as long as a UUID, as much of one.
fn id_of(digit: &str, size: usize) -> String {
    const UUID: &str = "9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5f";
    if size.abs_diff(UUID.len()) > 1 {
        return digit.repeat(size);
    }
    UUID.chars().chain(['0']).take(size).collect()
}

/// The same for a field that stands for itself.
fn value_of(limit: &Limit, size: usize) -> (Value, Result<Decide, DecideError>) {
    let text = "k".repeat(size);
    let task = || Task::new("chat").payload(json!({"text": "hello"}));
    let request = |id: &str| DecideRequest::new("acme", id, task());
    match limit.pointer.as_str() {
        "/idempotency_key" => {
            let request = request("r-1").idempotency_key(&text);
            (json!(text), request.build())
        }
        "/tenant_id" => (
            json!(text),
            DecideRequest::new(&text, "r-1", task()).build(),
        ),
        "/trace_id" => {
            let text = id_of("a", size);
            let request = request("r-1").trace_id(&text);
            (json!(text), request.build())
        }
        "/task/payload" => {
            // `{"a":"..."}` is 8 bytes and the text.
            let payload = json!({"a": "k".repeat(size.saturating_sub(8))});
            let task = Task::new("chat").payload(payload.clone());
            (payload, DecideRequest::new("acme", "r-1", task).build())
        }
        _ => (json!(text), request(&text).build()),
    }
}

fn at_limit(
    bench: &mut Bench,
    report: &mut Report,
    contract: &Contract,
    limit: &Limit,
) -> Result<(), Failure> {
    let bounds = limit.bounds();
    let around = |bound: &usize| [bound.saturating_sub(1), *bound, bound + 1];
    for size in bounds.iter().flat_map(around) {
        let fits = limit.fits(size);
        let (body, value, built) = sized(contract, limit, size);
        let what = format!("{} of {size} bytes", limit.pointer);
        // What no one enforces is handed on whatever its size.
        if fits || !limit.enforced {
            let got = bench.call(report, Ask::decide(body.to_string()))?;
            report.answer(&what, &got, "OK", 200);
            let sent = bench.published(report, &contract.decide.subject)?;
            let crossed: Value = serde_json::from_slice(&sent.payload).unwrap_or_default();
            report.must(
                crossed.pointer(&limit.pointer) == Some(&value),
                format_args!("{what} crosses unchanged"),
            );
            // The typed builder agrees, and what it builds is taken.
            match built {
                Ok(decide) => {
                    let mut ask = Ask::decide(decide.payload());
                    for (name, value) in decide.headers() {
                        ask = ask.header(name, value);
                    }
                    let got = bench.call(report, ask)?;
                    report.answer(&format!("{what}, as the builder makes it"), &got, "OK", 200);
                }
                Err(error) => {
                    report.must(false, format_args!("the builder refuses {what}: {error}"));
                }
            }
        } else {
            refused(
                bench,
                report,
                &body,
                limit.reason.as_deref().unwrap_or_default(),
            )?;
            let shown = match &built {
                Ok(_) => "takes it".to_owned(),
                Err(error) => format!("says {error}"),
            };
            let same = built
                .as_ref()
                .is_err_and(|e| e.code().name() == "ROUTER_INVALID_REQUEST");
            report.must(same, format_args!("{what}: the builder {shown}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_where_it_is_as_long_as_one() {
        assert_eq!(id_of("0", 26), "0".repeat(26));
        let uuid = id_of("0", 36);
        assert_eq!(uuid, "9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5f");
        assert_eq!(id_of("0", 37), format!("{uuid}0"));
        assert_eq!(id_of("0", 35), uuid[..35]);
    }
}
