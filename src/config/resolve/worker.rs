//! `[workers]`: what the workers are told.

use core::time::Duration;

use super::super::check::Section;
use super::super::error::ConfigError;
use super::super::raw::RawThreads;
use super::super::source::{Given, flag_or_variable};
use super::{Layers, refuse};
use crate::bridge::Token;
use crate::settings::{IdleSettings, Threads, WorkerSettings};

/// Most workers.
const MAX_WORKERS: usize = 64;
/// Most workers that are started without being asked for.
const MAX_DEFAULT_WORKERS: usize = 8;

pub(super) fn resolve(layers: &Layers<'_>) -> Result<WorkerSettings, ConfigError> {
    let section = Section::new(layers.file, "workers");
    let raw = &layers.file.raw.workers;
    let preset = WorkerSettings::default();
    let cores = layers.host.cores;
    let given = flag_or_variable(
        ("--workers", layers.flags.workers.as_ref()),
        layers.environment,
        "IPC_GATEWAY_WORKERS",
    );
    let workers = match given {
        Some(given) => count(&given)?,
        None => {
            // One core for the NATS thread and one for the clients.
            let default = cores.saturating_sub(2).clamp(1, MAX_DEFAULT_WORKERS);
            section.integer("count", &raw.count, 1..=MAX_WORKERS, default)?
        }
    };
    let threads = match &raw.threads {
        None if cores <= 2 && workers == 1 => Threads::Merged,
        None => Threads::Split,
        Some(field) => match field.get_ref() {
            RawThreads::Split => Threads::Split,
            RawThreads::Merged if workers == 1 => Threads::Merged,
            RawThreads::Merged => {
                let rule = format!("needs exactly 1 worker, and there are {workers}");
                return Err(section.refuse("threads", field, "\"merged\"", rule));
            }
        },
    };
    Ok(WorkerSettings {
        workers,
        threads,
        pin: raw.pin.as_ref().map(|field| *field.get_ref()),
        max_in_flight: section.integer(
            "max_in_flight",
            &raw.max_in_flight,
            1..=Token::MAX_PLACES,
            preset.max_in_flight,
        )?,
        outbound: section.integer("outbound", &raw.outbound, 1..=1 << 20, preset.outbound)?,
        burst: section.integer("burst", &raw.burst, 1..=65_536, preset.burst)?,
        max_queue_delay: section.duration(
            "max_queue_delay",
            &raw.max_queue_delay,
            Duration::ZERO..=Duration::from_secs(10),
            preset.max_queue_delay,
        )?,
        idle: IdleSettings {
            spin: section.duration(
                "spin",
                &raw.spin,
                Duration::ZERO..=Duration::from_millis(10),
                preset.idle.spin,
            )?,
            yields: section.integer("yields", &raw.yields, 0..=10_000, preset.idle.yields)?,
        },
    })
}

fn count(given: &Given<String>) -> Result<usize, ConfigError> {
    let number = given.value.parse().ok();
    number
        .filter(|number| (1..=MAX_WORKERS).contains(number))
        .ok_or_else(|| {
            let rule = format!("must be from 1 to {MAX_WORKERS}");
            refuse(given, "workers.count", rule)
        })
}
