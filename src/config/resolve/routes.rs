//! `[[route]]`: what clients may name.

use core::time::Duration;

use toml::Spanned;

use super::super::check::{Section, value_or};
use super::super::error::{ConfigError, nearest};
use super::super::raw::{RawBreaker, RawContract, RawKind, RawRoute};
use super::Layers;
use super::policy::ids;
use crate::route::{
    Access, BreakerPolicy, MAX_ROUTE_NAME_BYTES, MAX_ROUTES, ReplyContract, Route, RouteKind,
    Standing, Subject,
};

/// Shortest and longest time that a request may be given.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// The built-in route first, unless it is switched off, then those of the file in their order. A
/// route of the file with the built-in one's name changes it in its place.
pub(super) fn resolve(layers: &Layers<'_>) -> Result<Vec<Route>, ConfigError> {
    let mut routes = Vec::new();
    let built_in = value_or(&layers.file.raw.defaults.builtin_routes, true);
    if built_in {
        routes.push(Route::decide());
    }
    let mut seen: Vec<&str> = Vec::new();
    for raw in &layers.file.raw.route {
        let raw = raw.get_ref();
        let name = raw.name.get_ref().as_str();
        let section = Section::new(layers.file, format!("route.{name}"));
        check_name(layers, &raw.name)?;
        if seen.contains(&name) {
            return Err(section.refuse("name", &raw.name, name, "is the name of an earlier route"));
        }
        seen.push(name);
        match routes.iter_mut().find(|route| route.name == name) {
            Some(built_in) => *built_in = route(layers, &section, raw, Some(built_in))?,
            None => routes.push(route(layers, &section, raw, None)?),
        }
        if routes.len() > MAX_ROUTES {
            let rule = format!("there may be at most {MAX_ROUTES} routes");
            return Err(section.refuse("name", &raw.name, name, rule));
        }
    }
    Ok(routes)
}

/// The number of the route with this name.
pub(super) fn place(routes: &[Route], name: &str) -> Option<u16> {
    let found = routes.iter().position(|route| route.name == name)?;
    u16::try_from(found).ok()
}

/// The numbers of the routes that the key `routes` of a section names.
pub(super) fn places(
    section: &Section<'_>,
    field: &Spanned<Vec<Spanned<String>>>,
    routes: &[Route],
) -> Result<Vec<u16>, ConfigError> {
    let check = |item: &Spanned<String>| {
        let name = item.get_ref();
        place(routes, name).ok_or_else(|| {
            let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
            let rule = nearest(name, &names).map_or_else(
                || "no route has this name".to_owned(),
                |meant| format!("no route has this name, did you mean {meant:?}?"),
            );
            section.refuse("routes", item, format!("{name:?}"), rule)
        })
    };
    field.get_ref().iter().map(check).collect()
}

fn check_name(layers: &Layers<'_>, name: &Spanned<String>) -> Result<(), ConfigError> {
    let text = name.get_ref();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_ROUTE_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    let rule = format!("must be 1 to {MAX_ROUTE_NAME_BYTES} characters of A-Z a-z 0-9 - _ .");
    Err(Section::new(layers.file, "route").refuse("name", name, format!("{text:?}"), rule))
}

/// One route; what the file does not say is taken from `base`, or else from the defaults.
fn route(
    layers: &Layers<'_>,
    section: &Section<'_>,
    raw: &RawRoute,
    base: Option<&Route>,
) -> Result<Route, ConfigError> {
    let preset = base.cloned().unwrap_or_else(|| Route {
        contract: ReplyContract::Opaque,
        ..Route::decide()
    });
    let kind = match raw.kind.as_ref().map(|kind| kind.get_ref()) {
        Some(RawKind::Request) => RouteKind::Request,
        Some(RawKind::Publish) => RouteKind::Publish,
        Some(RawKind::Stream) => RouteKind::Stream,
        None => preset.kind,
    };
    let range = SHORTEST_TIMEOUT..=LONGEST_TIMEOUT;
    let max_timeout = section.duration(
        "max_timeout",
        &raw.max_timeout,
        range.clone(),
        preset.max_timeout,
    )?;
    let timeout = match &raw.timeout {
        // A lower limit pulls the default down with it.
        None => preset.timeout.min(max_timeout),
        Some(field) => {
            let timeout = section.duration("timeout", &raw.timeout, range, preset.timeout)?;
            if timeout > max_timeout {
                let shown = format!("{:?}", field.get_ref());
                let rule = "is longer than the route's max_timeout";
                return Err(section.refuse("timeout", field, shown, rule));
            }
            timeout
        }
    };
    Ok(Route {
        name: raw.name.get_ref().clone(),
        subject: subject(section, raw, base)?,
        kind,
        contract: contract(section, raw, kind, preset.contract)?,
        timeout,
        max_timeout,
        idempotent: value_or(&raw.idempotent, preset.idempotent),
        answers_once: answers_once(section, raw, kind, preset.answers_once)?,
        max_reply: section.size("max_reply", &raw.max_reply, 1..=u32::MAX, preset.max_reply)?,
        access: access(layers, section, raw)?,
        breaker: breaker(layers, raw, preset.breaker)?,
        standing: Standing::Live,
    })
}

fn breaker(
    layers: &Layers<'_>,
    route: &RawRoute,
    preset: BreakerPolicy,
) -> Result<BreakerPolicy, ConfigError> {
    let name = route.name.get_ref();
    let section = Section::new(layers.file, format!("route.{name}.breaker"));
    let raw: &RawBreaker = &route.breaker;
    let (shortest, longest) = (Duration::from_millis(10), LONGEST_TIMEOUT);
    let time = |key, field, preset| section.duration(key, field, shortest..=longest, preset);
    let open_time = time("open_time", &raw.open_time, preset.open_time)?;
    let max_open_time = time(
        "max_open_time",
        &raw.max_open_time,
        preset.max_open_time.max(open_time),
    )?;
    if let Some(field) = raw
        .max_open_time
        .as_ref()
        .filter(|_| max_open_time < open_time)
    {
        let shown = format!("{:?}", field.get_ref());
        return Err(section.refuse("max_open_time", field, shown, "is shorter than open_time"));
    }
    Ok(BreakerPolicy {
        enabled: value_or(&raw.enabled, preset.enabled),
        failures_percent: section.integer(
            "failures_percent",
            &raw.failures_percent,
            1..=100,
            preset.failures_percent,
        )?,
        min_failures: section.integer(
            "min_failures",
            &raw.min_failures,
            1..=1_000_000,
            preset.min_failures,
        )?,
        window: time("window", &raw.window, preset.window)?,
        open_time,
        max_open_time,
        probes: section.integer("probes", &raw.probes, 1..=1000, preset.probes)?,
        min_timeout: section.duration(
            "min_timeout",
            &raw.min_timeout,
            Duration::ZERO..=longest,
            preset.min_timeout,
        )?,
    })
}

fn subject(
    section: &Section<'_>,
    raw: &RawRoute,
    base: Option<&Route>,
) -> Result<Subject, ConfigError> {
    match (&raw.subject, base) {
        (Some(field), _) => Subject::try_from(field.get_ref().clone()).map_err(|error| {
            let shown = format!("{:?}", field.get_ref());
            section.refuse("subject", field, shown, error.to_string())
        }),
        (None, Some(base)) => Ok(base.subject.clone()),
        (None, None) => Err(ConfigError::Combination {
            place: section.place(&raw.name),
            problem: format!("route `{}` has no subject", raw.name.get_ref()),
        }),
    }
}

fn contract(
    section: &Section<'_>,
    raw: &RawRoute,
    kind: RouteKind,
    preset: ReplyContract,
) -> Result<ReplyContract, ConfigError> {
    match (&raw.contract, kind) {
        (None, RouteKind::Request) => Ok(preset),
        (None, _) => Ok(ReplyContract::Opaque),
        (Some(field), kind) => match (field.get_ref(), kind) {
            (RawContract::Opaque, _) => Ok(ReplyContract::Opaque),
            (RawContract::Router, RouteKind::Request) => Ok(ReplyContract::Router),
            (RawContract::Router, _) => {
                let rule = "only a route of kind \"request\" has replies of the Router";
                Err(section.refuse("contract", field, "\"router\"", rule))
            }
        },
    }
}

fn answers_once(
    section: &Section<'_>,
    raw: &RawRoute,
    kind: RouteKind,
    preset: bool,
) -> Result<bool, ConfigError> {
    match &raw.answers_once {
        Some(field) if *field.get_ref() && kind != RouteKind::Request => {
            let rule = "only a route of kind \"request\" is answered by its responder alone";
            Err(section.refuse("answers_once", field, "true", rule))
        }
        Some(field) => Ok(*field.get_ref()),
        None => Ok(preset && kind == RouteKind::Request),
    }
}

fn access(
    layers: &Layers<'_>,
    section: &Section<'_>,
    raw: &RawRoute,
) -> Result<Access, ConfigError> {
    if raw.allow_uids.is_none() && raw.allow_gids.is_none() {
        return Ok(Access::Everyone);
    }
    let host = layers.host;
    let overflow = (Some(host.overflow_uid), Some(host.overflow_gid));
    Ok(Access::Only {
        uids: ids(section, "allow_uids", raw.allow_uids.as_ref(), overflow.0)?,
        gids: ids(section, "allow_gids", raw.allow_gids.as_ref(), overflow.1)?,
    })
}
