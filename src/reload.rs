//! The configuration, read again while the gateway runs.
//!
//! It is taken as a whole or not at all: nothing changes if it cannot be used, or if it has another
//! value for a key that only a restart can change. What has changed is told to the NATS room first
//! and to the workers, by the control room, after that: see [`News`].
//!
//! A route keeps its number as long as the gateway runs, and nobody else ever has it, because
//! clients that attached before know routes by number. A route that is taken out stays in its place
//! as [`Standing::Removed`], so that what is on its way to it is completed. It has its number again
//! if it comes back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bridge::{News, Told};
use crate::config::{Config, DEFAULT_FILE, Difference, Host, Overrides};
use crate::control::{Change, Configured, Fresh, NotReloaded};
use crate::log_level::LogLevel;
use crate::route::{MAX_ROUTE_NUMBERS, Route, Standing};

/// Reads the configuration again, and knows the one that holds.
#[derive(Debug)]
pub struct Reloader {
    flags: Overrides,
    /// Whether the file that `flags` name is the default one, which nobody has named.
    is_default: bool,
    host: Host,
    running: Config,
    /// The routes, by number.
    routes: Arc<[Route]>,
    news: News,
    level: LogLevel,
}

impl Reloader {
    /// `running` holds; `flags` are those that it was read with. `news` has its routes.
    #[must_use]
    pub fn new(flags: Overrides, running: Config, news: News, level: LogLevel) -> Self {
        let mut this = Self {
            flags,
            is_default: false,
            // The number of cores counts at the start only.
            host: Host::read(),
            routes: news.told().routes,
            running,
            news,
            level,
        };
        this.has_read();
        this
    }

    /// A file that was read must be there the next time too: in its absence everything would
    /// silently become the default.
    fn has_read(&mut self) {
        if self.flags.file(environment).is_none() && Path::new(DEFAULT_FILE).exists() {
            self.flags.config = Some(DEFAULT_FILE.to_owned());
            self.is_default = true;
        }
    }
}

impl Configured for Reloader {
    fn read(&mut self) -> Result<Fresh, NotReloaded> {
        let invalid = |error: &dyn ToString| NotReloaded::Invalid(vec![error.to_string()]);
        self.flags
            .can_be_read_again(environment)
            .map_err(|error| invalid(&error))?;
        let new = Config::load_from(&self.flags, environment, &self.host).map_err(|refused| {
            let errors = refused.errors().iter();
            NotReloaded::Invalid(errors.map(ToString::to_string).collect())
        })?;
        let (changes, mut fixed) = changes(&self.running, &new);
        fixed.extend(returned_otherwise(&self.routes, &new.routes));
        if !fixed.is_empty() {
            return Err(NotReloaded::Restart(fixed));
        }
        if changes.is_empty() {
            self.has_read();
            return Ok(Fresh {
                settings: self.running.control.clone(),
                routes: Arc::clone(&self.routes),
                changes,
            });
        }
        let numbered = Numbered::new(&self.routes, &new.routes).ok_or_else(|| {
            invalid(&format!(
                "there have been {MAX_ROUTE_NUMBERS} routes since the gateway was started: \
                 restart it"
            ))
        })?;
        if new.log.filter != self.running.log.filter {
            self.level
                .set(&new.log.filter)
                .map_err(|error| invalid(&error))?;
        }
        let mut settings = new.control.clone();
        for policy in &mut settings.policies {
            policy.routes = policy.routes.as_deref().map(|at| numbered.numbers(at));
        }
        let mut backpressure = new.nats.backpressure.clone();
        backpressure.routes = numbered.numbers(&backpressure.routes);
        self.has_read();
        self.routes = numbered.routes.into();
        self.running = new;
        self.news.tell(Told {
            routes: Arc::clone(&self.routes),
            backpressure: Some(backpressure),
        });
        Ok(Fresh {
            settings,
            routes: Arc::clone(&self.routes),
            changes,
        })
    }

    fn unnamed_file(&self) -> Result<Option<PathBuf>, String> {
        let can = self.flags.can_be_read_again(environment);
        can.map_err(|error| error.to_string())?;
        Ok(self.is_default.then(|| PathBuf::from(DEFAULT_FILE)))
    }
}

fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What is different in `new`: what can change while the gateway runs, and what cannot. A route that
/// comes or goes is one change.
fn changes(old: &Config, new: &Config) -> (Vec<Change>, Vec<Change>) {
    let (mut live, mut fixed): (Vec<Change>, Vec<Change>) = (Vec::new(), Vec::new());
    for difference in old.differences(new) {
        if let Some(change) = comes_or_goes(&difference, old, new) {
            if !live.contains(&change) {
                live.push(change);
            }
            continue;
        }
        let list = if difference.can_be_live() {
            &mut live
        } else {
            &mut fixed
        };
        list.push(Change {
            key: difference.key,
            from: difference.from,
            to: difference.to,
        });
    }
    (live, fixed)
}

/// The route that a difference is about, if only one of the two has it.
fn comes_or_goes(difference: &Difference, old: &Config, new: &Config) -> Option<Change> {
    let name = difference.route.as_ref()?;
    let subject = |config: &Config| {
        let route = config.routes.iter().find(|route| route.name == *name);
        route.map(|route| format!("{:?}", route.subject.as_str()))
    };
    let (from, to) = (subject(old), subject(new));
    (from.is_none() || to.is_none()).then(|| Change {
        key: format!("route.{name}"),
        from,
        to,
    })
}

/// What stands against routes that were removed while the gateway ran and come back: requests that
/// were sent before can still be on their way, so these keys must be as they were.
fn returned_otherwise(old: &[Route], new: &[Route]) -> Vec<Change> {
    let mut changes = Vec::new();
    for was in old.iter().filter(|route| !route.is_live()) {
        let Some(is) = new.iter().find(|route| route.name == was.name) else {
            continue;
        };
        let keys = [
            ("kind", was.kind.name(), is.kind.name()),
            ("contract", was.contract.name(), is.contract.name()),
            (
                "answers_once",
                word(was.answers_once),
                word(is.answers_once),
            ),
        ];
        for (key, from, to) in keys.iter().filter(|(_, from, to)| from != to) {
            changes.push(Change {
                key: format!("route.{}.{key}", is.name),
                from: Some((*from).to_owned()),
                to: Some((*to).to_owned()),
            });
        }
    }
    changes
}

const fn word(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

/// Routes by number.
struct Numbered {
    routes: Vec<Route>,
    /// For each place in the configured list the number of the route there.
    by_place: Vec<u16>,
}

impl Numbered {
    /// Numbers those in `new`: the number that it had in `old`, else the next. `None` when there
    /// are no numbers left.
    fn new(old: &[Route], new: &[Route]) -> Option<Self> {
        let removed = |route: &Route| Route {
            standing: Standing::Removed,
            ..route.clone()
        };
        let mut routes: Vec<Route> = old.iter().map(removed).collect();
        let mut by_place = Vec::new();
        for route in new {
            let known = routes.iter().position(|known| known.name == route.name);
            let at = known.unwrap_or(routes.len());
            match routes.get_mut(at) {
                Some(place) => *place = route.clone(),
                None => routes.push(route.clone()),
            }
            by_place.push(u16::try_from(at).ok()?);
        }
        (routes.len() <= MAX_ROUTE_NUMBERS).then_some(Self { routes, by_place })
    }

    /// The numbers of the routes at these places.
    fn numbers(&self, places: &[u16]) -> Vec<u16> {
        let number = |at: &u16| self.by_place.get(usize::from(*at)).copied();
        places.iter().filter_map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> Route {
        Route {
            name: name.to_owned(),
            ..Route::decide()
        }
    }

    fn shown(routes: &[Route]) -> Vec<(&str, bool)> {
        let routes = routes.iter();
        routes
            .map(|route| (route.name.as_str(), route.is_live()))
            .collect()
    }

    #[test]
    fn a_number_is_never_another_routes() {
        let first = [route("a"), route("b"), route("c")];
        let new = [route("d"), route("c"), route("a")];
        let numbered = Numbered::new(&first, &new).unwrap();
        let expected = [("a", true), ("b", false), ("c", true), ("d", true)];
        assert_eq!(shown(&numbered.routes), expected);
        assert_eq!(numbered.numbers(&[0, 1, 2, 9]), [3, 2, 0]);
        let again = Numbered::new(&numbered.routes, &[route("b")]).unwrap();
        let expected = [("a", false), ("b", true), ("c", false), ("d", false)];
        assert_eq!(shown(&again.routes), expected);
    }

    #[test]
    fn there_is_an_end_to_numbers() {
        let old: Vec<Route> = (0..MAX_ROUTE_NUMBERS)
            .map(|number| route(&number.to_string()))
            .collect();
        assert!(Numbered::new(&old, &[route("7")]).is_some());
        assert!(Numbered::new(&old, &[route("new")]).is_none());
    }

    #[test]
    fn a_route_that_comes_back_has_the_kind_that_it_had() {
        let old = Route {
            standing: Standing::Removed,
            ..route("a")
        };
        assert_eq!(
            returned_otherwise(std::slice::from_ref(&old), &[route("a")]),
            []
        );
        let new = Route {
            kind: crate::route::RouteKind::Stream,
            ..route("a")
        };
        let changes = returned_otherwise(&[old], &[new]);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].key, "route.a.kind");
    }
}
