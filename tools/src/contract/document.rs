//! The contract as a document: its form, and the rules that it must keep by itself.

use std::collections::BTreeSet;
use std::path::Path;

use ipc_ringbuf::Code;
use ipc_tools::stage::Failure;
use serde::Deserialize;
use serde_json::Value;

/// `contracts/router.v1.json`. A member that is not known is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contract {
    pub(crate) schema: u32,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) decide: Decide,
    pub(crate) request_headers: Vec<Header>,
    pub(crate) reserved_headers: Reserved,
    pub(crate) header_limits: HeaderLimits,
    pub(crate) fields: Vec<Field>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) errors: Vec<RouterError>,
    pub(crate) unknown_error: UnknownError,
    pub(crate) gateway_codes: Vec<GatewayCode>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) backpressure: Backpressure,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    pub(crate) route: String,
    pub(crate) subject: String,
    pub(crate) fallback_reply_subject: String,
    pub(crate) timeout_ms: u64,
    pub(crate) max_payload_bytes: usize,
    pub(crate) minimal_request: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) presence: Presence,
    pub(crate) encoding: Encoding,
    #[serde(default)]
    pub(crate) value: Option<String>,
    pub(crate) from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    Always,
    WhenKnown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    TraceId,
    Traceparent,
    Text,
    Constant,
    DecimalMs,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reserved {
    pub(crate) prefixes: Vec<String>,
    pub(crate) exceptions: Vec<String>,
    pub(crate) code: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the document")]
pub(crate) struct HeaderLimits {
    pub(crate) max_headers: usize,
    pub(crate) max_name_bytes: usize,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_block_bytes: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) pointer: String,
    pub(crate) required: bool,
    /// Pointer of another field: where that one is there, this need not be.
    #[serde(default)]
    pub(crate) unless: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) valid: Vec<Value>,
    #[serde(default)]
    pub(crate) invalid: Vec<Invalid>,
    #[serde(default)]
    pub(crate) header_wins: Option<HeaderWins>,
}

/// A header that the gateway always sends, and that the Router looks at before it looks at the field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderWins {
    pub(crate) header: String,
    /// What the Router would refuse in the field, if there were no such header.
    pub(crate) values: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    String,
    Object,
    /// True, as a boolean, as text or as 1.
    Flag,
}

/// What the Router refuses; without a value, that the field is missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invalid {
    #[serde(default)]
    pub(crate) value: Option<Value>,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) pointer: String,
    pub(crate) unit: Unit,
    #[serde(default)]
    pub(crate) max: Option<usize>,
    #[serde(default)]
    pub(crate) min: Option<usize>,
    /// Sizes of which it must have one.
    #[serde(default)]
    pub(crate) any_of: Vec<usize>,
    pub(crate) enforced: bool,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Bytes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouterError {
    pub(crate) code: String,
    pub(crate) gateway_code: String,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) grpc: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnknownError {
    pub(crate) gateway_code: String,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayCode {
    pub(crate) code: String,
    pub(crate) outcome: String,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) means: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backpressure {
    pub(crate) subject: String,
    pub(crate) poll_headers: Vec<String>,
    pub(crate) poll_version: String,
    pub(crate) default_retry_after_ms: u64,
    pub(crate) code: String,
    pub(crate) forms: Vec<Form>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) message: Value,
    pub(crate) admits: Admits,
    pub(crate) retry_after_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Admits {
    None,
    Half,
    All,
}

impl Contract {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let missing = |error| {
            Failure::Missing(format!(
                "{}: {error}; run this in the repository, or name the file with --contract",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(missing)?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
    }

    /// What is wrong with the document itself; empty when nothing is.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |is_so: bool, what: String| {
            if !is_so {
                faults.push(what);
            }
        };
        must(self.schema == 1, format!("schema {}", self.schema));
        must(
            self.name == "router"
                && self
                    .decide
                    .subject
                    .contains(&format!(".v{}.", self.version)),
            "the version is not that of the subject".to_owned(),
        );
        must(
            self.decide.fallback_reply_subject == format!("{}.reply", self.decide.subject),
            "the fallback reply subject is not the subject and `.reply`".to_owned(),
        );
        let unique = |what: &str, names: Vec<&str>| {
            let different: BTreeSet<&str> = names.iter().copied().collect();
            (
                different.len() == names.len() && !names.is_empty(),
                format!("{what} are there more than once, or not at all"),
            )
        };
        let headers = self.request_headers.iter();
        for (is_so, what) in [
            unique(
                "headers",
                headers.clone().map(|h| h.name.as_str()).collect(),
            ),
            unique(
                "fields",
                self.fields.iter().map(|f| f.pointer.as_str()).collect(),
            ),
            unique(
                "error codes",
                self.errors.iter().map(|e| e.code.as_str()).collect(),
            ),
            unique(
                "gateway codes",
                self.gateway_codes.iter().map(|c| c.code.as_str()).collect(),
            ),
            unique(
                "limits",
                self.limits.iter().map(|l| l.pointer.as_str()).collect(),
            ),
        ] {
            must(is_so, what);
        }
        for header in headers {
            must(
                (header.encoding == Encoding::Constant) == header.value.is_some()
                    && !header.from.is_empty(),
                format!(
                    "header {}: a constant, and nothing else, has a value",
                    header.name
                ),
            );
        }
        for field in &self.fields {
            let found = self.decide.minimal_request.pointer(&field.pointer);
            must(
                found.is_some() == field.required,
                format!(
                    "{}: the minimal request has what is required",
                    field.pointer
                ),
            );
            let values = found.into_iter().chain(&field.valid);
            for value in values {
                must(
                    field.kind.fits(value),
                    format!("{}: {value}", field.pointer),
                );
            }
        }
        for field in &self.fields {
            let stands_in = |other: &&Field| !other.required && !other.valid.is_empty();
            let other = field.unless.as_ref().map(|pointer| self.field(pointer));
            must(
                other.is_none_or(|other| field.required && other.as_ref().is_some_and(stands_in)),
                format!("{}: what stands in for it is no field", field.pointer),
            );
            let wins = field.header_wins.as_ref().map(|wins| {
                let mut headers = self.request_headers.iter();
                let header = headers.find(|header| header.name == wins.header);
                header.is_some_and(|header| header.presence == Presence::Always)
                    && !wins.values.is_empty()
            });
            must(
                wins.unwrap_or(true),
                format!("{}: no header that is always sent wins", field.pointer),
            );
        }
        for limit in &self.limits {
            must(
                !limit.bounds().is_empty()
                    && limit.enforced == limit.reason.is_some()
                    && limit.unit == Unit::Bytes
                    && self
                        .fields
                        .iter()
                        .any(|field| field.pointer == limit.pointer),
                format!(
                    "limit of {}: one bound, a reason if enforced",
                    limit.pointer
                ),
            );
        }
        for error in &self.errors {
            must(
                (400..600).contains(&error.status) && error.grpc.is_none_or(|grpc| grpc <= 16),
                format!("{}: status {}", error.code, error.status),
            );
        }
        faults
    }

    /// Where the document and the list of codes in the library differ; empty when they are the same.
    pub(crate) fn code_faults(&self) -> Vec<String> {
        let mut said: Vec<(String, String, u16)> = Vec::new();
        for code in &self.gateway_codes {
            said.push((code.code.clone(), code.outcome.clone(), code.status));
        }
        let answered = || "answered".to_owned();
        for error in &self.errors {
            said.push((error.gateway_code.clone(), answered(), error.status));
        }
        let unknown = &self.unknown_error;
        said.push((unknown.gateway_code.clone(), answered(), unknown.status));
        let known: Vec<(String, String, u16)> = Code::ALL
            .iter()
            .map(|code| {
                (
                    code.name().to_owned(),
                    code.outcome().name().to_owned(),
                    code.status(),
                )
            })
            .collect();
        let only = |these: &[(String, String, u16)], those: &[(String, String, u16)], who: &str| {
            these
                .iter()
                .filter(|code| !those.contains(code))
                .map(|code| format!("only {who} has {code:?}"))
                .collect::<Vec<_>>()
        };
        let mut faults = only(&said, &known, "the document");
        faults.extend(only(&known, &said, "the library"));
        faults
    }

    /// The field at a pointer.
    pub(crate) fn field(&self, pointer: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.pointer == pointer)
    }

    /// The status of a code.
    pub(crate) fn status(&self, code: &str) -> Option<u16> {
        let own = self
            .gateway_codes
            .iter()
            .map(|c| (c.code.as_str(), c.status));
        let errors = self
            .errors
            .iter()
            .map(|e| (e.gateway_code.as_str(), e.status));
        let unknown = (
            self.unknown_error.gateway_code.as_str(),
            self.unknown_error.status,
        );
        own.chain(errors)
            .chain([unknown])
            .find(|(known, _)| *known == code)
            .map(|(_, status)| status)
    }
}

impl Limit {
    /// The sizes at which something changes; empty when it has no bound, or bounds of more than one kind.
    pub(crate) fn bounds(&self) -> Vec<usize> {
        match (self.min, self.max, self.any_of.as_slice()) {
            (Some(bound), None, []) | (None, Some(bound), []) => vec![bound],
            (None, None, sizes) => sizes.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether a value of this size keeps it.
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.max.is_none_or(|max| size <= max)
            && self.min.is_none_or(|min| size >= min)
            && (self.any_of.is_empty() || self.any_of.contains(&size))
    }
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Object => value.is_object(),
            Self::Flag => value.is_boolean() || value == "true" || value == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../contracts/router.v1.json");

    fn contract(text: &str) -> Result<Contract, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn the_document_keeps_its_own_rules_and_has_every_code() {
        let contract = contract(TEXT).unwrap();
        assert_eq!(contract.faults(), Vec::<String>::new());
        assert_eq!(contract.code_faults(), Vec::<String>::new());
        assert_eq!(contract.status("ROUTER_UNAVAILABLE"), Some(503));
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_found_out() {
        for (from, to) in [
            ("\"schema\": 1", "\"schema\": 2"),
            ("\"extension_error\"", "\"internal\""),
            ("\"status\": 404, \"grpc\": 5", "\"status\": 200"),
            (
                "\"pointer\": \"/policy_id\", \"required\": false",
                "\"pointer\": \"/policy_id\", \"required\": true",
            ),
            ("v1.decide.reply", "v1.reply"),
            ("\"max\": 256", "\"max\": 256, \"min\": 256"),
            ("\"any_of\": [32, 36], ", ""),
            ("\"unless\": \"/task/payload_ref\"", "\"unless\": \"/task\""),
            ("\"header\": \"version\"", "\"header\": \"tenant_id\""),
            ("[true, \"true\", 1]", "[true, \"yes\"]"),
        ] {
            let changed = contract(&TEXT.replacen(from, to, 1)).unwrap();
            assert!(!changed.faults().is_empty(), "{from}");
        }
        let changed = TEXT.replacen("\"outcome\": \"unknown\"", "\"outcome\": \"rejected\"", 1);
        assert_eq!(contract(&changed).unwrap().code_faults().len(), 2);
        contract(&TEXT.replacen("\"schema\"", "\"shema\"", 1)).unwrap_err();
    }
}
