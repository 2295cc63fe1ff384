//! What a NATS server with authentication needs, made anew for each test: certificates and JWTs.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair as Nkey;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key in PEM files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Writes its certificate.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).unwrap();
    }

    /// Makes a certificate for a name or an address, in files that begin with `stem`.
    pub(crate) fn issue(&self, dir: &Path, stem: &str, subject: &str) -> Identity {
        let params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key")),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

/// A JWT with these claims, signed with this key.
fn jwt(issuer: &Nkey, subject: &str, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": "test",
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "name": "test",
        "sub": subject,
        "nats": claims,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&body));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An operator with one account: what the server's configuration says of it, and credentials.
pub(crate) struct Operator {
    pub(crate) config: String,
    account: Nkey,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (operator, account) = (Nkey::new_operator(), Nkey::new_account());
        let own = json!({ "type": "operator", "version": 2 });
        let operator_jwt = jwt(&operator, &operator.public_key(), &own);
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
        });
        let claims = json!({ "limits": limits, "type": "account", "version": 2 });
        let account_jwt = jwt(&operator, &account.public_key(), &claims);
        let config = format!(
            "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt} }}\n",
            account.public_key()
        );
        Self { config, account }
    }

    /// A new user's JWT and seed.
    pub(crate) fn user(&self) -> (String, String) {
        let user = Nkey::new_user();
        let claims = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
            "type": "user", "version": 2,
        });
        let jwt = jwt(&self.account, &user.public_key(), &claims);
        (jwt, user.seed().unwrap())
    }
}

/// The text of a credentials file.
pub(crate) fn credentials_file((jwt, seed): &(String, String)) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// A new user's public key and seed.
pub(crate) fn nkey() -> (String, String) {
    let user = Nkey::new_user();
    (user.public_key(), user.seed().unwrap())
}
