//! What a handle of many threads or tasks says about a session that has ended.

use std::sync::Arc;

use ipc_ringbuf::{
    AsyncClient, AttachError, CallError, EndReason, Reattach, Request, SharedClient, SubmitError,
};

use super::{LOOPBACK, answers_again, builder, loopback};
use crate::support::eventually;
use crate::support::gateway::{attach, start};

/// A handle's answers.
struct Says {
    is_attached: bool,
    end_reason: Option<EndReason>,
    last_attach_error: Option<Arc<AttachError>>,
}

fn shared_says(client: &SharedClient) -> Says {
    Says {
        is_attached: client.is_attached(),
        end_reason: client.end_reason(),
        last_attach_error: client.last_attach_error(),
    }
}

fn tasks_say(client: &AsyncClient) -> Says {
    Says {
        is_attached: client.is_attached(),
        end_reason: client.end_reason(),
        last_attach_error: client.last_attach_error(),
    }
}

/// Nobody has ended its session yet.
fn assert_whole(says: &Says) {
    assert!(says.is_attached && says.last_attach_error.is_none());
    assert_eq!(says.end_reason, None);
}

/// Its session was ended for `reason`, and nobody listens any more.
fn is_over(says: &Says, reason: EndReason) -> bool {
    let Some(error) = &says.last_attach_error else {
        return false;
    };
    assert!(!says.is_attached);
    assert_eq!(says.end_reason, Some(reason));
    assert!(matches!(**error, AttachError::NotRunning { .. }), "{error}");
    true
}

#[test]
fn a_handle_of_many_threads_says_why_it_is_detached() {
    let mut gateway = start(LOOPBACK);
    drop(attach(&gateway));
    let client = builder(&gateway).connect_shared().unwrap();
    assert_whole(&shared_says(&client));
    gateway.kill();
    eventually("it says why", || {
        // Only a call looks.
        drop(client.call(Request::to("decide")));
        is_over(&shared_says(&client), EndReason::PeerDied)
    });
    gateway.restart(LOOPBACK);
    answers_again(|request| client.call(request));
    let says = shared_says(&client);
    assert!(says.is_attached && says.last_attach_error.is_none());
    assert_eq!(says.end_reason, Some(EndReason::PeerDied));
}

#[test]
fn a_handle_of_many_tasks_says_why_it_is_detached() {
    let mut gateway = start(LOOPBACK);
    drop(attach(&gateway));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(builder(&gateway).connect_async()).unwrap();
    assert_whole(&tasks_say(&client));
    // Its driver takes the farewell off the socket before it sees that the socket is closed.
    gateway.stop();
    eventually("it says why", || {
        is_over(&tasks_say(&client), EndReason::Draining)
    });
    gateway.restart(LOOPBACK);
    eventually("it attaches by itself", || client.is_attached());
    assert!(client.last_attach_error().is_none());
    drop(runtime);
    assert!(!client.is_attached());
}

#[test]
fn one_that_never_attaches_again_does_not_say_that_it_tries() {
    let (mut gateway, mut client) = loopback(|b| b.reattach(Reattach::Never));
    gateway.kill();
    eventually("it has noticed", || {
        client.poll().is_none() && !client.is_attached()
    });
    let Err(error) = client.submit(Request::to("decide").payload("x")) else {
        panic!("nobody is there");
    };
    assert!(matches!(error, SubmitError::Detached(_)));
    let text = "the session with the gateway has ended, and there is no other";
    assert_eq!(error.to_string(), text);
    assert_eq!(CallError::from(error).to_string(), text);
    assert!(client.last_attach_error().is_none());
}
