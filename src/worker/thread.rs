//! A worker on a thread of its own: step, and wait as the idle strategy says.

use super::cycle::Worker;
use super::idle::{Action, Idle};
use crate::bridge::{Duty, Upstream};
use crate::clock::Clock;

/// Steps the worker until it has finished.
pub fn run<U: Upstream + Send, C: Clock + Send>(worker: &mut Worker<U, C>, idle: &mut Idle) {
    while !worker.finished() {
        if worker.do_work() > 0 {
            idle.worked();
            continue;
        }
        match idle.empty() {
            Action::Spin => core::hint::spin_loop(),
            Action::Yield => std::thread::yield_now(),
            Action::Park => {
                if worker.prepare_to_sleep() {
                    worker.sleep();
                    worker.awake();
                    idle.parked();
                } else {
                    idle.worked();
                }
            }
        }
    }
}
