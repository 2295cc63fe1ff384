//! The first word to a server (`CONNECT`): what we can do, and who we are.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::Serialize;

use crate::nats::failure::{Cause, Failure};
use crate::nats::files;
use crate::settings::{NatsAuth, NatsSettings};

#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    /// Markers come back to the connection that sent them.
    echo: bool,
    headers: bool,
    no_responders: bool,
    #[serde(flatten)]
    who: Who,
}

/// What the server knows us by.
#[derive(Default, Serialize)]
struct Who {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// What follows `CONNECT`. Files with secrets are read anew, so that they can be replaced.
pub(super) async fn connect(
    settings: &NatsSettings,
    nonce: &str,
    is_encrypted: bool,
) -> Result<String, Failure> {
    let connect = Connect {
        verbose: false,
        pedantic: false,
        tls_required: is_encrypted,
        name: &settings.name,
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        echo: true,
        headers: true,
        no_responders: true,
        who: who(&settings.auth, nonce).await?,
    };
    serde_json::to_string(&connect).map_err(Failure::from)
}

async fn who(auth: &NatsAuth, nonce: &str) -> Result<Who, Failure> {
    Ok(match auth {
        NatsAuth::None => Who::default(),
        NatsAuth::Password { user, password } => Who {
            user: Some(user.clone()),
            pass: Some(password.reveal().to_owned()),
            ..Who::default()
        },
        NatsAuth::Token(token) => Who {
            auth_token: Some(token.reveal().to_owned()),
            ..Who::default()
        },
        NatsAuth::CredentialsFile(path) => {
            let file = files::read(path).await?;
            let found = credentials(file.reveal());
            let (jwt, key) = found
                .ok_or_else(|| Failure::from(format!("no credentials in {}", path.display())))?;
            Who {
                jwt: Some(jwt.to_owned()),
                sig: Some(sign(&key, nonce)?),
                ..Who::default()
            }
        }
        NatsAuth::NkeySeedFile(path) => {
            let file = files::read(path).await?;
            let key = KeyPair::from_seed(file.reveal().trim()).map_err(|_| Failure {
                text: format!("{} holds no nkey seed", path.display()),
                cause: Cause::Authorization,
            })?;
            Who {
                nkey: Some(key.public_key()),
                sig: Some(sign(&key, nonce)?),
                ..Who::default()
            }
        }
    })
}

fn sign(key: &KeyPair, nonce: &str) -> Result<String, Failure> {
    let signature = key.sign(nonce.as_bytes()).map_err(Failure::from)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The JWT and the key of a credentials file: what stands alone between two lines of dashes, first
/// the one and then the other.
fn credentials(text: &str) -> Option<(&str, KeyPair)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_rule = |line: &str| line.len() > 6 && line.starts_with("---") && line.ends_with("---");
    let mut framed = lines.windows(3).filter_map(|lines| match lines {
        [before, line, after] if is_rule(before) && is_rule(after) && !line.is_empty() => {
            Some(*line)
        }
        _ => None,
    });
    let (jwt, seed) = (framed.next()?, framed.next()?);
    Some((jwt, KeyPair::from_seed(seed).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    #[test]
    fn credentials_are_a_jwt_and_a_seed() {
        let seed = KeyPair::new_user().seed().unwrap();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ.a-b_c.d=\r\n------END NATS USER JWT------\r\n\n\
             ***** IMPORTANT *****\nkeep it\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n\
             ------END USER NKEY SEED------\n"
        );
        let (jwt, key) = credentials(&file).unwrap();
        assert_eq!(jwt, "eyJ.a-b_c.d=");
        assert_eq!(key.seed().unwrap(), seed);
        assert!(credentials(&seed).is_none() && credentials("").is_none());
        assert!(credentials(&file.replace(&seed, "SUA")).is_none());
    }

    #[tokio::test]
    async fn only_what_is_known_is_said() {
        let settings = |auth| NatsSettings {
            auth,
            ..NatsSettings::default()
        };
        let said = |auth| async move {
            let text = connect(&settings(auth), "", false).await.unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let nobody = said(NatsAuth::None).await;
        for key in ["user", "pass", "auth_token", "jwt", "nkey", "sig"] {
            assert_eq!(nobody.get(key), None);
        }
        assert_eq!(nobody["echo"], true);
        let token = said(NatsAuth::Token(Secret::new("t".to_owned()))).await;
        assert_eq!(
            (&token["auth_token"], token.get("pass")),
            (&"t".into(), None)
        );
    }
}
