//! The checks: what each is called, whether an external Router can show it, and what does it.

use ipc_tools::stage::{Failure, Report};

use crate::scene::Scene;
use crate::{backpressure, errors, reconnect, slo, subjects, timeouts};

/// What makes a check.
type Make = fn(&mut Scene, &mut Report) -> Result<(), Failure>;

/// What a check needs of the Router.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Needs {
    /// That it answers.
    Any,
    /// That it does this, which only the reference Router can be told to do.
    Reference(&'static str),
}

/// A check.
pub(crate) struct Item {
    pub(crate) category: &'static str,
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) make: Make,
}

impl Item {
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.category, self.number)
    }
}

/// The 33 checks of the contract, in their order. The service levels come after them.
pub(crate) fn all() -> Vec<Item> {
    use Needs::{Any, Reference};
    let subjects: [(&str, Needs, Make); 6] = [
        ("the subject is the decide subject", Any, subjects::subject),
        (
            "request headers reach the Router",
            Any,
            subjects::request_headers,
        ),
        (
            "response headers return to the client",
            Any,
            subjects::response_headers,
        ),
        (
            "reply-to: each answer comes to its own request",
            Any,
            subjects::reply_to,
        ),
        (
            "the trace id is the same end to end",
            Any,
            subjects::trace_id,
        ),
        ("tenants are kept apart", Any, subjects::tenants),
    ];
    let errors: [(&str, Needs, Make); 6] = [
        ("an invalid request is told as 400", Any, errors::invalid),
        (
            "what is not found is told as 404",
            Reference("to answer 404"),
            errors::not_found,
        ),
        (
            "a failed decision is told as 500",
            Reference("to answer 500"),
            errors::failed,
        ),
        (
            "503 and backpressure are recognised",
            Reference("to answer 503 and to push backpressure"),
            errors::unavailable,
        ),
        (
            "unexpected codes and bodies end nothing",
            Reference("to answer what nobody expects"),
            errors::unexpected,
        ),
        (
            "messages are preserved byte for byte",
            Any,
            errors::preserved,
        ),
    ];
    let timeouts: [(&str, Needs, Make); 7] = [
        ("an answer within 5 s is given", Any, timeouts::normal),
        (
            "an answer after 4 to 5 s is given",
            Reference("to be slow"),
            timeouts::slow,
        ),
        (
            "no answer within 5 s: told, and cleaned up",
            Reference("to be slow"),
            timeouts::too_slow,
        ),
        (
            "late replies leak nothing",
            Reference("to be late"),
            timeouts::late_leaks_nothing,
        ),
        (
            "late replies complete nothing twice",
            Reference("to be late and to repeat"),
            timeouts::late_completes_nothing,
        ),
        (
            "nothing hangs",
            Reference("to be silent"),
            timeouts::no_hang,
        ),
        (
            "1000 timeouts leak nothing",
            Reference("to be silent"),
            timeouts::thousand,
        ),
    ];
    let reconnect: [(&str, Needs, Make); 7] = [
        ("one disconnect is survived", Any, reconnect::once),
        (
            "what is in flight is answered or told",
            Any,
            reconnect::in_flight,
        ),
        ("ten cycles are survived", Any, reconnect::storm),
        ("the pool leaks no connection", Any, reconnect::no_leak),
        ("the pool has its size again", Any, reconnect::pool_size),
        (
            "failed attempts end nothing",
            Any,
            reconnect::failed_attempts,
        ),
        ("requests succeed again", Any, reconnect::resume),
    ];
    let push = Reference("to say that it is overloaded");
    let backpressure: [(&str, Needs, Make); 7] = [
        (
            "the v2 status subject is recognised",
            push,
            backpressure::recognised,
        ),
        ("the gateway slows down", push, backpressure::slows_down),
        ("the gateway resumes", push, backpressure::resumes),
        (
            "the circuit breaker trips when nothing is answered",
            Reference("to be silent"),
            backpressure::breaker,
        ),
        ("no request is lost", push, backpressure::nothing_lost),
        (
            "the client is told at once, with 503 for the Router's",
            push,
            backpressure::told,
        ),
        ("the metrics show it", push, backpressure::metrics),
    ];
    [
        numbered("subjects", subjects),
        numbered("errors", errors),
        numbered("timeouts", timeouts),
        numbered("reconnect", reconnect),
        numbered("backpressure", backpressure),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn numbered<const N: usize>(
    category: &'static str,
    checks: [(&'static str, Needs, Make); N],
) -> Vec<Item> {
    let item = |(index, (name, needs, make)): (usize, _)| Item {
        category,
        number: index + 1,
        name,
        needs,
        make,
    };
    checks.into_iter().enumerate().map(item).collect()
}

/// Names of the service levels, in the order of [`slo::measure`].
pub(crate) const LEVELS: [&str; 4] = slo::LEVELS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_33_checks_in_five_categories() {
        let all = all();
        assert_eq!(all.len(), 33);
        let count = |category| all.iter().filter(|item| item.category == category).count();
        let categories = [
            "subjects",
            "errors",
            "timeouts",
            "reconnect",
            "backpressure",
        ];
        assert_eq!(categories.map(count), [6, 6, 7, 7, 7]);
        assert_eq!(all.first().map(Item::id).as_deref(), Some("subjects.1"));
    }
}
