//! Encrypting a connection.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::nats::files;
use crate::settings::TlsSettings;

/// What most probably is wrong when something else comes.
const NOT_TLS: &str = "TLS: the server answers with something else; nats.tls.handshake_first = true is \
                       only for servers that always wait for it";

/// Reads what is needed to encrypt a connection.
pub(super) async fn connector(settings: &TlsSettings) -> Result<TlsConnector, String> {
    Ok(TlsConnector::from(Arc::new(config(settings).await?)))
}

/// Speaks TLS on a connection to this host.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    connector: &TlsConnector,
) -> Result<Box<TlsStream<TcpStream>>, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is no name that a certificate can have"))?;
    let stream = connector.connect(name, stream).await;
    stream.map(Box::new).map_err(|error| {
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref());
        match reason {
            Some(rustls::Error::InvalidMessage(_)) => NOT_TLS.to_owned(),
            _ => format!("TLS: {error}"),
        }
    })
}

/// Reads the files anew, so that they can be replaced.
async fn config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let roots = match &settings.ca_file {
        Some(path) => authorities(path).await?,
        None => system().await?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert).await?;
    let secret = files::read(key).await?;
    // What the parser says of a file may have the file in it.
    let secret = PrivateKeyDer::from_pem_slice(secret.reveal().as_bytes())
        .map_err(|_| format!("no private key in PEM form in {}", key.display()))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|error| {
            let (cert, key) = (cert.display(), key.display());
            format!("the certificate in {cert} and the key in {key} are of no use: {error}")
        })
}

/// The certificate authorities of a file.
async fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).await? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// Those of the system.
async fn system() -> Result<RootCertStore, String> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let (known, _) = roots.add_parsable_certificates(found.certs);
    if known > 0 {
        return Ok(roots);
    }
    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let why = if errors.is_empty() {
        "none is installed".to_owned()
    } else {
        errors.join("; ")
    };
    Err(format!(
        "no certificate authority of the system can be used ({why}); name one with nats.tls.ca_file"
    ))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = files::read_bytes(path).await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    // What the parser says may have a key in it that stands in the same file.
    let certificates =
        certificates.map_err(|_| format!("{} is not in PEM form", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("no certificate in {}", path.display()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_error_has_a_key_in_it() {
        let write = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = write(&made.cert.pem());
        // As keys become that are passed through a variable of the environment.
        let key = "-----BEGIN PRIVATE KEY-----\\nTUMsecret\\n-----END PRIVATE KEY-----";
        for broken in [key.to_owned(), format!("{key}\\n"), format!("{key}\n")] {
            let broken = write(&broken);
            let path = Some(broken.path().to_owned());
            let as_key = TlsSettings {
                ca_file: Some(certificate.path().to_owned()),
                cert_file: Some(certificate.path().to_owned()),
                key_file: path.clone(),
                ..TlsSettings::default()
            };
            let as_authority = TlsSettings {
                ca_file: path,
                ..TlsSettings::default()
            };
            for settings in [as_key, as_authority] {
                let error = config(&settings).await.unwrap_err();
                let numbers = format!("{:?}", b"TUMsecret");
                let numbers = numbers.trim_matches(['[', ']']);
                assert!(
                    !error.contains("TUM") && !error.contains(numbers),
                    "{error}"
                );
            }
        }
    }
}
