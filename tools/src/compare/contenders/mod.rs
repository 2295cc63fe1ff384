//! The contenders, each as one client process does it. All keep a window of requests in flight the
//! same way: they take what has come, check it, fill the window again, and send that as one batch.
//!
//! | file | what it is |
//! |---|---|
//! | `direct_request` | its own connection, `request()` of async-nats |
//! | `direct_pipelined` | an own inbox, many requests in flight |
//! | `raw` | a hand-written NATS client |
//! | `gateway` | the library of ipc-gateway |
//! | `iceoryx2` | request-response of iceoryx2, and the process that echoes |
//! | `uds` | frames over a Unix-domain socket |

mod direct_pipelined;
mod direct_request;
mod gateway;
#[cfg(feature = "iceoryx2")]
pub(crate) mod iceoryx2;
mod raw;
mod uds;

use core::future::Future;
use core::time::Duration;

use ipc_ringbuf::monotonic_ns;

use crate::job::{Contender, Job, Kind};
use crate::orders::{self, Interval, Report};
use crate::probe;
use ipc_tools::stage::{Failure, While as _};

/// After this long without an answer the outstanding ones are lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two requests of what is asleep meanwhile, in nanoseconds.
const PAUSE_NS: u64 = 2_000_000;

/// Runs one client process; whether it went well is in the report that it prints.
///
/// # Errors
/// Nobody listens to the report.
pub(crate) fn run(job: &Job) -> Result<(), Failure> {
    if job.kind == Kind::Spinning {
        probe::pin(probe::Side::Client)?;
    }
    let done = match job.contender {
        Contender::DirectRequest => current_thread(direct_request::run(job)),
        Contender::DirectPipelined => current_thread(direct_pipelined::run(job)),
        Contender::Raw => raw::run(job),
        Contender::Gateway | Contender::GatewayUnique => gateway::run(job),
        Contender::Uds => uds::run(job),
        #[cfg(feature = "iceoryx2")]
        Contender::Iceoryx2 => iceoryx2::run(job),
        #[cfg(not(feature = "iceoryx2"))]
        Contender::Iceoryx2 => Err(Failure::new(crate::job::NO_ICEORYX2)),
    };
    let report = done.unwrap_or_else(|failure| Report::Failed(failure.to_string()));
    orders::say(&serde_json::to_string(&report).or_say("cannot write the report")?)
}

/// Runs tasks on this thread.
pub(crate) fn current_thread<T>(
    tasks: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_say("cannot start a runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, tasks)
}

/// Waits for the order to run without holding up the tasks of this thread.
async fn go() -> Result<Interval, Failure> {
    tokio::task::spawn_blocking(orders::wait_for_go)
        .await
        .or_say("cannot wait for orders")?
}

/// Ends a run that goes on for too long after its end.
async fn in_time<T>(
    interval: Interval,
    run: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let now = monotonic_ns();
    let left = Duration::from_nanos(interval.stop.saturating_sub(now));
    tokio::time::timeout(left + PATIENCE, run)
        .await
        .unwrap_or_else(|_| {
            Err(Failure::Failed(format!(
                "answers are missing {PATIENCE:?} after the last request"
            )))
        })
}

/// Lets both sides fall asleep where that is asked for.
fn rest(kind: Kind) {
    if kind == Kind::Asleep {
        let until = monotonic_ns() + PAUSE_NS;
        loop {
            let left = until.saturating_sub(monotonic_ns());
            if left == 0 {
                return;
            }
            std::thread::park_timeout(Duration::from_nanos(left));
        }
    }
}
