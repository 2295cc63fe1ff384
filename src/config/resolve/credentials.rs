//! The servers' URLs and the credentials for them.
//!
//! Credentials are taken from the most important source that has any: the URLs of `--nats`, then
//! the environment, then the file. One source may show only one kind. Credentials in a URL go only
//! to the servers that they were written for, and are taken out of the URL here, so that nothing
//! later can print them.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::check::Section;
use super::super::error::{ConfigError, Place};
use super::super::raw::{Field, RawSecret};
use super::super::source::Given;
use super::Layers;
use crate::settings::{NatsAuth, Secret};

/// Most servers that may be named in the file.
const MAX_URLS: usize = 64;

/// Which source something was taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Flag,
    Environment,
    File,
}

/// Credentials and where they stand.
type GivenAuth = Given<NatsAuth>;

/// The URLs without credentials, none if no source names any, and the credentials.
pub(super) fn resolve(layers: &Layers<'_>) -> Result<(Vec<String>, NatsAuth), ConfigError> {
    let (source, given) = given_urls(layers)?;
    let mut urls = Vec::new();
    let mut found: Option<GivenAuth> = None;
    for given in given {
        let (url, value) = split_url(&given)?;
        urls.push(url);
        let Some(value) = value else { continue };
        let place = given.place;
        match &found {
            Some(first) if first.value != value => {
                return Err(ConfigError::Combination {
                    place,
                    problem: "the URLs have different credentials".to_owned(),
                });
            }
            _ => found = Some(Given { value, place }),
        }
    }
    let auth = auth(layers, found.map(|auth| (source, auth)))?;
    Ok((urls, auth))
}

fn given_urls(layers: &Layers<'_>) -> Result<(Source, Vec<Given<String>>), ConfigError> {
    let at = |place: Place| {
        move |value: &str| Given {
            value: value.to_owned(),
            place: place.clone(),
        }
    };
    if !layers.flags.nats.is_empty() {
        let flags = layers.flags.nats.iter().flat_map(|text| text.split(','));
        let urls = flags.map(at(Place::Flag("--nats"))).collect();
        return Ok((Source::Flag, urls));
    }
    if let Some(given) = layers.environment.get("IPC_GATEWAY_NATS") {
        let urls = given.value.split(',').map(at(given.place)).collect();
        return Ok((Source::Environment, urls));
    }
    let Some(field) = &layers.file.raw.nats.urls else {
        return Ok((Source::File, Vec::new()));
    };
    let section = Section::new(layers.file, "nats");
    let count = field.get_ref().len();
    if !(1..=MAX_URLS).contains(&count) {
        let rule = format!("must be a list of 1 to {MAX_URLS} URLs");
        return Err(section.refuse("urls", field, format!("[{count} URLs]"), rule));
    }
    let urls = field.get_ref().iter().map(|item| Given {
        value: item.get_ref().clone(),
        place: section.place(item),
    });
    Ok((Source::File, urls.collect()))
}

/// Takes `scheme://user:password@host:port` apart. The scheme is `nats` if there is none.
fn split_url(given: &Given<String>) -> Result<(String, Option<NatsAuth>), ConfigError> {
    let text = given.value.trim();
    let refuse = || ConfigError::Value {
        place: given.place.clone(),
        key: "nats.urls".to_owned(),
        value: format!("{:?}", mask(text)),
        rule: "must be nats://host:port or tls://host:port".to_owned(),
    };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("nats://{text}")
    };
    let url = Url::parse(&full).map_err(|_| refuse())?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|host| !host.is_empty());
    let (true, "nats" | "tls", Some(host)) = (bare, url.scheme(), host) else {
        return Err(refuse());
    };
    let port = url.port().unwrap_or(4222);
    if port == 0 {
        return Err(refuse());
    }
    let plain = format!("{}://{host}:{port}", url.scheme());
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(String::from).map_err(|_| refuse())
    };
    let auth = match (url.username(), url.password()) {
        ("", None) => None,
        (token, None) => Some(NatsAuth::Token(Secret::new(decode(token)?))),
        (user, Some(password)) => Some(NatsAuth::Password {
            user: decode(user)?,
            password: Secret::new(decode(password)?),
        }),
    };
    Ok((plain, auth))
}

/// The URL with what may be credentials replaced.
fn mask(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    if let Some((_, host)) = rest.rsplit_once('@') {
        return format!("{scheme}***@{host}");
    }
    // Where the host was forgotten, a password stands in the place of the port.
    let (host, port) = split_port(rest);
    match port {
        Some(port) if !is_port(port) => format!("{scheme}{host}:***"),
        _ => text.to_owned(),
    }
}

/// What stands before the first colon that is not an IPv6 address's, and what follows it.
fn split_port(rest: &str) -> (&str, Option<&str>) {
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = match bracketed {
        Some((inside, _)) if inside.parse::<Ipv6Addr>().is_ok() => inside.len() + 2,
        _ => 0,
    };
    let colon = rest.get(name..).and_then(|after| after.find(':'));
    let split = colon.and_then(|colon| rest.split_at_checked(name + colon));
    split.map_or((rest, None), |(host, port)| (host, port.strip_prefix(':')))
}

/// Whether this can be nothing but a port, with or without the slash that may end a URL.
fn is_port(text: &str) -> bool {
    let digits = text.strip_suffix('/').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

fn auth(layers: &Layers<'_>, url: Option<(Source, GivenAuth)>) -> Result<NatsAuth, ConfigError> {
    for source in [Source::Flag, Source::Environment, Source::File] {
        let mut found = match source {
            Source::Flag => Vec::new(),
            Source::Environment => environment_auth(layers)?,
            Source::File => file_auth(layers)?,
        };
        if let Some((_, auth)) = url.as_ref().filter(|(from, _)| *from == source) {
            found.push(auth.clone());
        }
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.value.clone()),
            [_, second, ..] => {
                return Err(ConfigError::Combination {
                    place: second.place.clone(),
                    problem: "more than one kind of NATS credentials: choose user and password, \
                              token, credentials file or nkey seed file"
                        .to_owned(),
                });
            }
        }
    }
    Ok(NatsAuth::None)
}

/// What one source says about credentials, before it is known to make sense.
#[derive(Default)]
struct AuthKeys {
    user: Option<Given<String>>,
    password: Option<Given<String>>,
    token: Option<Given<String>>,
    credentials_file: Option<Given<String>>,
    nkey_seed_file: Option<Given<String>>,
}

impl AuthKeys {
    /// Every kind of credentials that is there.
    fn kinds(self) -> Result<Vec<GivenAuth>, ConfigError> {
        let mut kinds = Vec::new();
        match (self.user, self.password) {
            (None, None) => {}
            (Some(user), Some(password)) => kinds.push(Given {
                place: user.place,
                value: NatsAuth::Password {
                    user: user.value,
                    password: Secret::new(password.value),
                },
            }),
            (Some(Given { place, .. }), None) | (None, Some(Given { place, .. })) => {
                return Err(ConfigError::Combination {
                    place,
                    problem: "NATS user and password must be given together".to_owned(),
                });
            }
        }
        let mut push = |given: Option<Given<String>>, kind: fn(String) -> NatsAuth| {
            kinds.extend(given.map(|given| Given {
                value: kind(given.value),
                place: given.place,
            }));
        };
        push(self.token, |text| NatsAuth::Token(Secret::new(text)));
        push(self.credentials_file, |path| {
            NatsAuth::CredentialsFile(PathBuf::from(path))
        });
        push(self.nkey_seed_file, |path| {
            NatsAuth::NkeySeedFile(PathBuf::from(path))
        });
        Ok(kinds)
    }
}

fn environment_auth(layers: &Layers<'_>) -> Result<Vec<GivenAuth>, ConfigError> {
    let get = |name| layers.environment.get(name);
    AuthKeys {
        user: get("IPC_GATEWAY_NATS_USER"),
        password: get("IPC_GATEWAY_NATS_PASSWORD"),
        token: get("IPC_GATEWAY_NATS_TOKEN"),
        credentials_file: get("IPC_GATEWAY_NATS_CREDS"),
        nkey_seed_file: get("IPC_GATEWAY_NATS_NKEY"),
    }
    .kinds()
}

fn file_auth(layers: &Layers<'_>) -> Result<Vec<GivenAuth>, ConfigError> {
    let section = Section::new(layers.file, "nats");
    let raw = &layers.file.raw.nats;
    section.path("credentials_file", &raw.credentials_file)?;
    section.path("nkey_seed_file", &raw.nkey_seed_file)?;
    let secret = |field: &Field<RawSecret>| {
        field.as_ref().map(|field| Given {
            value: field.get_ref().0.clone(),
            place: section.place(field),
        })
    };
    AuthKeys {
        user: section.given(&raw.user),
        password: secret(&raw.password),
        token: secret(&raw.token),
        credentials_file: section.given(&raw.credentials_file),
        nkey_seed_file: section.given(&raw.nkey_seed_file),
    }
    .kinds()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn what_may_be_a_password_is_masked_whether_or_not_a_host_follows() {
        for (given, shown) in [
            ("nats://me:s3cret@h:x", "nats://***@h:x"),
            ("me:s3cret@", "***@"),
            ("nats://me:s3cret", "nats://me:***"),
            ("me:s3cret", "me:***"),
            ("nats:me:s3cret", "nats:***"),
            ("nats://me:s3:cret", "nats://me:***"),
            ("nats://me:s3/cr?e#t", "nats://me:***"),
            ("nats://me:4222/cret", "nats://me:***"),
            ("nats://me:+4222", "nats://me:***"),
            ("nats://me:9876543210", "nats://me:***"),
            ("nats://me/x:s3cret", "nats://me/x:***"),
            ("nats://[::1]:s3cret", "nats://[::1]:***"),
            ("nats://[me:s3cret]", "nats://[me:***"),
            ("nats://[me:s3cret", "nats://[me:***"),
        ] {
            assert_eq!(mask(given), shown);
        }
    }

    #[test]
    fn what_can_be_none_is_shown() {
        for text in [
            "",
            "h",
            "h:0",
            "http://h",
            "http://h:4222",
            "nats://h:4222/",
            "nats://h/path",
            "nats://[::1]",
            "nats://[::1]:0",
            "nats://[fe80::1:2]/path",
        ] {
            assert_eq!(mask(text), text);
        }
    }
}
