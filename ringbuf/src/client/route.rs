//! [`RouteId`]: a route that was looked up once, and stays the one of that name.
//!
//! A gateway numbers its routes anew when it is started, and a handle attaches again by itself. So a
//! number alone could become another route's between two submissions. What a handle gives out has the
//! name beside the number, as the address of the one copy of it in this process: to compare the two is
//! to compare addresses.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::handshake::RouteInfo;

/// A route that a handle has found by its name, to save the look-up at each submission.
///
/// It stands for the name. After the gateway was restarted with other routes, or with the same in another
/// order, a request goes to the route that has the name then, whatever its number is; and when there is
/// none, the request is refused as [`SubmitError::UnknownRoute`](super::SubmitError::UnknownRoute). So it
/// can be kept for as long as the process lives, and used with every handle.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, Request, RouteId};
///
/// let mut client = ClientBuilder::new().connect()?;
/// let audit: RouteId = client.route("audit").ok_or("the gateway has no route audit")?;
/// println!("{audit} had number {} when it was looked up", audit.number());
/// assert_eq!(audit.name(), "audit");
/// println!("{}", client.call(Request::to(audit).payload(b"17"))?.code());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId {
    name: &'static Name,
    number: u16,
}

impl RouteId {
    pub(super) fn new(route: &RouteInfo) -> Self {
        Self {
            name: interned(&route.name),
            number: route.id,
        }
    }

    /// The name that it was found by.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.name.0
    }

    /// The number that the route had when it was looked up. It is good for the session that it was
    /// looked up in, and no other.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.0)
    }
}

/// What the routes of a session are called.
#[derive(Debug)]
pub(super) struct Routes {
    /// By number.
    names: Box<[Option<&'static Name>]>,
}

impl Routes {
    pub(super) fn new(routes: &[RouteInfo]) -> Self {
        let most = routes.iter().map(|route| usize::from(route.id)).max();
        let mut names = vec![None; most.map_or(0, |most| most + 1)].into_boxed_slice();
        for route in routes {
            if let Some(name) = names.get_mut(usize::from(route.id)) {
                *name = Some(interned(&route.name));
            }
        }
        Self { names }
    }

    /// The number that a route has in this session, if there is one of its name.
    #[inline]
    pub(super) fn number(&self, route: RouteId) -> Option<u16> {
        if let Some(Some(name)) = self.names.get(usize::from(route.number))
            && core::ptr::eq(*name, route.name)
        {
            return Some(route.number);
        }
        self.number_now(route)
    }

    /// The number of a route that has another one than when it was looked up.
    #[cold]
    fn number_now(&self, route: RouteId) -> Option<u16> {
        let has_name = |name: &Option<&'static Name>| *name == Some(route.name);
        let at = self.names.iter().position(has_name)?;
        u16::try_from(at).ok()
    }
}

/// The name of a route: the only one in this process with this text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Name(Box<str>);

/// The one copy of a name. It is kept as long as the process: names are as many as the configuration of
/// a gateway has.
fn interned(name: &str) -> &'static Name {
    static NAMES: Mutex<BTreeMap<&'static str, &'static Name>> = Mutex::new(BTreeMap::new());
    // A panic leaves the map as it was: only an allocation can.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static Name = Box::leak(Box::new(Name(name.into())));
    names.insert(&kept.0, kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(names: &[(u16, &str)]) -> Routes {
        let route = |(id, name): &(u16, &str)| RouteInfo {
            id: *id,
            name: (*name).to_owned(),
            timeout_ms: 0,
        };
        Routes::new(&names.iter().map(route).collect::<Vec<_>>())
    }

    fn found(id: u16, name: &str) -> RouteId {
        RouteId::new(&RouteInfo {
            id,
            name: name.to_owned(),
            timeout_ms: 0,
        })
    }

    #[test]
    fn a_route_has_the_number_of_its_name() {
        let (a, b, c) = (found(0, "a"), found(1, "b"), found(7, "c"));
        let same = routes(&[(0, "a"), (1, "b"), (7, "c")]);
        assert_eq!(
            [a, b, c].map(|it| same.number(it)),
            [Some(0), Some(1), Some(7)]
        );
        let turned = routes(&[(0, "c"), (1, "a"), (2, "b")]);
        assert_eq!(
            [a, b, c].map(|it| turned.number(it)),
            [Some(1), Some(2), Some(0)]
        );
        let fewer = routes(&[(0, "b")]);
        assert_eq!([a, b, c].map(|it| fewer.number(it)), [None, Some(0), None]);
        assert_eq!(routes(&[]).number(a), None);
        assert_eq!(
            (c.name(), c.number(), c.to_string()),
            ("c", 7, "c".to_owned())
        );
    }
}
