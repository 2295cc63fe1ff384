//! The limit on open descriptors.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a session takes while it is served.
const EACH: u64 = 8;
/// Descriptors that the gateway takes besides: clients that have not said hello, the admin server,
/// the workers, NATS.
const BESIDES: u64 = 1024;

/// Raises the soft limit to the hard one, and warns when that is not enough for so many sessions:
/// clients beyond it would be refused as OVERLOADED.
pub fn raise_descriptors(sessions: u32) {
    let wanted = u64::from(sessions) * EACH + BESIDES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "too few descriptors for control.max_sessions: raise LimitNOFILE or ulimit -n"
        );
    }
}
