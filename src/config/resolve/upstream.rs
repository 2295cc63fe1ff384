//! `[nats]` and `[backpressure]`: what the room that answers requests is told.
//!
//! Credentials are taken from the most important source that has any: the URLs of `--nats`, then
//! the environment, then the file. One source may show only one kind. Credentials in a URL go only
//! to the servers that they were written for, and are taken out of the URL here, so that nothing
//! later can print them.

use core::time::Duration;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::check::{Section, value_or};
use super::super::error::{ConfigError, Place, nearest};
use super::super::source::Given;
use super::Layers;
use crate::route::{Route, Subject};
use crate::settings::{BackpressureSettings, NatsAuth, NatsSettings, Secret, TlsSettings};

/// Most servers that may be named.
const MAX_URLS: usize = 64;

pub(super) fn resolve(layers: &Layers<'_>, routes: &[Route]) -> Result<NatsSettings, ConfigError> {
    let section = Section::new(layers.file, "nats");
    let raw = &layers.file.raw.nats;
    let preset = NatsSettings::default();
    let (urls, url_auth) = urls(layers, &preset)?;
    let ms = Duration::from_millis;
    let (short, long) = (ms(100), ms(60_000));
    let min = section.duration(
        "reconnect_min",
        &raw.reconnect_min,
        ms(1)..=long,
        preset.reconnect.0,
    )?;
    let max = section.duration(
        "reconnect_max",
        &raw.reconnect_max,
        min..=ms(300_000),
        preset.reconnect.1.max(min),
    )?;
    Ok(NatsSettings {
        urls,
        auth: auth(layers, url_auth)?,
        tls: tls(layers)?,
        name: match &raw.name {
            Some(field) => section.word("name", field, 64)?,
            None => preset.name,
        },
        connections: section.integer(
            "connections",
            &raw.connections,
            1..=16,
            preset.connections,
        )?,
        connect_timeout: section.duration(
            "connect_timeout",
            &raw.connect_timeout,
            short..=long,
            preset.connect_timeout,
        )?,
        ping_interval: section.duration(
            "ping_interval",
            &raw.ping_interval,
            short..=long,
            preset.ping_interval,
        )?,
        fail_fast: section.duration(
            "fail_fast",
            &raw.fail_fast,
            Duration::ZERO..=long,
            preset.fail_fast,
        )?,
        reconnect: (min, max),
        backpressure: backpressure(layers, routes, preset.backpressure)?,
    })
}

/// Which source something was taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Flag,
    Environment,
    File,
}

/// Credentials and where they stand.
type GivenAuth = Given<NatsAuth>;

fn urls(
    layers: &Layers<'_>,
    preset: &NatsSettings,
) -> Result<(Vec<String>, Option<(Source, GivenAuth)>), ConfigError> {
    let Some((source, given)) = given_urls(layers)? else {
        return Ok((preset.urls.clone(), None));
    };
    let mut urls = Vec::new();
    let mut auth: Option<GivenAuth> = None;
    for given in &given {
        let (url, found) = split_url(given)?;
        urls.push(url);
        match (&auth, found) {
            (Some(first), Some(second)) if first.value != second => {
                return Err(ConfigError::Combination {
                    place: given.place.clone(),
                    problem: "the URLs have different credentials".to_owned(),
                });
            }
            (None, Some(found)) => {
                let place = given.place.clone();
                auth = Some(Given {
                    value: found,
                    place,
                });
            }
            _ => {}
        }
    }
    Ok((urls, auth.map(|auth| (source, auth))))
}

fn given_urls(layers: &Layers<'_>) -> Result<Option<(Source, Vec<Given<String>>)>, ConfigError> {
    let at = |place: Place| {
        move |value: &str| Given {
            value: value.to_owned(),
            place: place.clone(),
        }
    };
    if !layers.flags.nats.is_empty() {
        let flags = layers.flags.nats.iter().flat_map(|text| text.split(','));
        let urls = flags.map(at(Place::Flag("--nats"))).collect();
        return Ok(Some((Source::Flag, urls)));
    }
    if let Some(given) = layers.environment.get("IPC_GATEWAY_NATS") {
        let urls = given.value.split(',').map(at(given.place)).collect();
        return Ok(Some((Source::Environment, urls)));
    }
    let Some(field) = &layers.file.raw.nats.urls else {
        return Ok(None);
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
    Ok(Some((Source::File, urls.collect())))
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
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let separator = if scheme.is_empty() { "" } else { "://" };
    rest.rsplit_once('@').map_or_else(
        || text.to_owned(),
        |(_, host)| format!("{scheme}{separator}***@{host}"),
    )
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
    let secret = |field: &super::super::raw::Field<super::super::raw::RawSecret>| {
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

fn tls(layers: &Layers<'_>) -> Result<TlsSettings, ConfigError> {
    let section = Section::new(layers.file, "nats.tls");
    let raw = &layers.file.raw.nats.tls;
    let missing = match (&raw.cert_file, &raw.key_file) {
        (Some(field), None) => Some((field, "cert_file needs key_file")),
        (None, Some(field)) => Some((field, "key_file needs cert_file")),
        _ => None,
    };
    if let Some((field, problem)) = missing {
        return Err(ConfigError::Combination {
            place: section.place(field),
            problem: format!("nats.tls.{problem}"),
        });
    }
    Ok(TlsSettings {
        required: value_or(&raw.required, false),
        ca_file: section.path("ca_file", &raw.ca_file)?,
        cert_file: section.path("cert_file", &raw.cert_file)?,
        key_file: section.path("key_file", &raw.key_file)?,
    })
}

fn backpressure(
    layers: &Layers<'_>,
    routes: &[Route],
    preset: BackpressureSettings,
) -> Result<BackpressureSettings, ConfigError> {
    let section = Section::new(layers.file, "backpressure");
    let raw = &layers.file.raw.backpressure;
    let subject = match &raw.subject {
        None => preset.subject,
        Some(field) => {
            let subject = Subject::try_from(field.get_ref().clone()).map_err(|error| {
                let shown = format!("{:?}", field.get_ref());
                section.refuse("subject", field, shown, error.to_string())
            })?;
            Some(subject.to_string())
        }
    };
    let poll_interval = match &raw.poll_interval {
        None => preset.poll_interval,
        Some(_) => Some(section.duration(
            "poll_interval",
            &raw.poll_interval,
            Duration::from_millis(100)..=Duration::from_secs(300),
            Duration::ZERO,
        )?),
    };
    Ok(BackpressureSettings {
        subject: subject.filter(|_| value_or(&raw.enabled, true)),
        poll_interval,
        routes: backpressure_routes(&section, layers, routes)?,
    })
}

/// Places of the routes that backpressure closes: those named, or the one called `decide`.
fn backpressure_routes(
    section: &Section<'_>,
    layers: &Layers<'_>,
    routes: &[Route],
) -> Result<Vec<u16>, ConfigError> {
    let place_of = |name: &str| {
        let found = routes.iter().position(|route| route.name == name)?;
        u16::try_from(found).ok()
    };
    let Some(field) = &layers.file.raw.backpressure.routes else {
        return Ok(place_of("decide").into_iter().collect());
    };
    let check = |item: &toml::Spanned<String>| {
        let name = item.get_ref();
        place_of(name).ok_or_else(|| {
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
