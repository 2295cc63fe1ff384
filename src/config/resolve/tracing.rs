//! `[tracing]`.

use toml::Spanned;
use url::Url;

use super::super::check::{Section, value_or};
use super::super::error::ConfigError;
use super::Layers;
use crate::settings::{Ratio, TracingSettings};

/// Where collectors take traces, unless the URL says otherwise.
const PATH: &str = "/v1/traces";
/// Longest name of the service.
const LONGEST_NAME: usize = 255;

pub(super) fn resolve(layers: &Layers<'_>) -> Result<TracingSettings, ConfigError> {
    let section = Section::new(layers.file, "tracing");
    let raw = &layers.file.raw.tracing;
    let default = TracingSettings::default();
    let endpoint = raw.endpoint.as_ref();
    Ok(TracingSettings {
        endpoint: endpoint.map(|field| url(&section, field)).transpose()?,
        sample_ratio: match &raw.sample_ratio {
            None => default.sample_ratio,
            Some(field) => Ratio::new(*field.get_ref()).ok_or_else(|| {
                let rule = "must be from 0.0 to 1.0";
                section.refuse("sample_ratio", field, field.get_ref(), rule)
            })?,
        },
        follow_parent: value_or(&raw.follow_parent, default.follow_parent),
        service_name: match &raw.service_name {
            None => default.service_name,
            Some(field) => section.word("service_name", field, LONGEST_NAME)?,
        },
    })
}

fn url(section: &Section<'_>, field: &Spanned<String>) -> Result<Url, ConfigError> {
    let text = field.get_ref();
    // What stands before an @ may be a password.
    let shown = if text.contains('@') {
        "***".to_owned()
    } else {
        format!("{text:?}")
    };
    let refuse = |rule: &str| section.refuse("endpoint", field, &shown, rule);
    if !cfg!(feature = "otel") {
        return Err(refuse(
            "this ipc-gateway was built without traces: build it with `--features otel`, or leave \
             the key out",
        ));
    }
    let rule = "must be http://HOST:PORT, with or without a path";
    let mut url = Url::parse(text).map_err(|_| refuse(rule))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(refuse(
                "must be http: there is no TLS here, let a collector on this machine send traces on",
            ));
        }
        _ => return Err(refuse(rule)),
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(
            "must be http://HOST:PORT or with a path: no user, query or fragment",
        ));
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Ok(url)
}
