//! `[control.quota]` and `[[policy]]`: who may have what.

use toml::Spanned;

use super::super::check::{Section, value_or};
use super::super::error::ConfigError;
use super::super::raw::{RawPolicy, RawQuota};
use super::Layers;
use super::control::MAX_SESSIONS;
use super::routes::places;
use crate::route::Route;
use crate::settings::{Policy, Quota};

/// Longest tenant name, in bytes.
const MAX_TENANT_BYTES: usize = 128;

fn quota(section: &Section<'_>, raw: &RawQuota, preset: &Quota) -> Result<Quota, ConfigError> {
    Ok(Quota {
        sessions: section.integer("sessions", &raw.sessions, 1..=MAX_SESSIONS, preset.sessions)?,
        memory_bytes: section.size(
            "memory",
            &raw.memory,
            1 << 20..=1 << 40,
            preset.memory_bytes,
        )?,
        in_flight: match &raw.in_flight {
            Some(_) => Some(section.integer("in_flight", &raw.in_flight, 1..=1 << 24, 0)?),
            None => preset.in_flight,
        },
        attach_rate: section.integer(
            "attach_rate",
            &raw.attach_rate,
            1..=1_000_000,
            preset.attach_rate,
        )?,
    })
}

pub(super) fn common_quota(layers: &Layers<'_>) -> Result<Quota, ConfigError> {
    let section = Section::new(layers.file, "control.quota");
    quota(&section, &layers.file.raw.control.quota, &Quota::default())
}

pub(super) fn policies(layers: &Layers<'_>, routes: &[Route]) -> Result<Vec<Policy>, ConfigError> {
    let all = layers.file.raw.policy.iter().zip(1..);
    all.map(|(raw, number)| policy(layers, routes, raw.get_ref(), number))
        .collect()
}

fn policy(
    layers: &Layers<'_>,
    all_routes: &[Route],
    raw: &RawPolicy,
    number: usize,
) -> Result<Policy, ConfigError> {
    let section = Section::new(layers.file, format!("policy[{number}]"));
    let allow = value_or(&raw.allow, true);
    let overflow = |id| allow.then_some(id);
    let host = layers.host;
    Ok(Policy {
        uids: ids(
            &section,
            "uids",
            raw.uids.as_ref(),
            overflow(host.overflow_uid),
        )?,
        gids: ids(
            &section,
            "gids",
            raw.gids.as_ref(),
            overflow(host.overflow_gid),
        )?,
        allow,
        tenant: match &raw.tenant {
            Some(field) => Some(section.word("tenant", field, MAX_TENANT_BYTES)?),
            None => None,
        },
        routes: match &raw.routes {
            Some(field) => Some(places(&section, field, all_routes)?),
            None => None,
        },
        quota: match &raw.quota {
            Some(raw) => {
                let section = Section::new(layers.file, section.key("quota"));
                Some(quota(&section, raw, &common_quota(layers)?)?)
            }
            None => None,
        },
    })
}

/// User or group numbers. Where they let somebody in, `overflow` is the number that every user of
/// another namespace appears as: it stands for nobody in particular and may not be in the list.
pub(super) fn ids(
    section: &Section<'_>,
    key: &str,
    field: Option<&Spanned<Vec<Spanned<i64>>>>,
    overflow: Option<u32>,
) -> Result<Vec<u32>, ConfigError> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    if field.get_ref().is_empty() {
        let rule = "must name at least one; leave the key out to name nobody here";
        return Err(section.refuse(key, field, "[]", rule));
    }
    let check = |item: &Spanned<i64>| {
        let refuse = |rule: &str| section.refuse(key, item, item.get_ref(), rule);
        // The highest number means "nobody" to the system calls.
        let id = u32::try_from(*item.get_ref()).ok();
        let id = id.filter(|id| *id != u32::MAX);
        let id = id.ok_or_else(|| refuse("must be from 0 to 4294967294"))?;
        match overflow {
            Some(overflow) if id == overflow || id == 65_534 => Err(refuse(
                "is what all users of other namespaces appear as; it cannot be allowed",
            )),
            _ => Ok(id),
        }
    };
    field.get_ref().iter().map(check).collect()
}
