//! Connections: TLS by rustls with ring, redirects, proxies, and what a failure means.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::error::PullProblem;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// As many as other clients follow.
const MOST_REDIRECTS: usize = 10;
const AGENT: &str = concat!("ebbtide/", env!("CARGO_PKG_VERSION"));

/// The authorities that this machine trusts, read once.
#[derive(Default)]
pub(super) struct Trust(OnceCell<Arc<RootCertStore>>);

impl Trust {
    /// Those, and the ones in the file `ca`.
    async fn with(&self, ca: Option<&Path>) -> Result<Arc<RootCertStore>, PullProblem> {
        let native = self.0.get_or_try_init(|| async {
            tokio::task::spawn_blocking(|| {
                let mut store = RootCertStore::empty();
                // A machine without any can still use registries with a `ca` of their own.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Arc::new(store)
            })
            .await
            .map_err(|_| PullProblem::GivenUp)
        });
        let native = Arc::clone(native.await?);
        let Some(path) = ca.map(Path::to_owned) else { return Ok(native) };
        tokio::task::spawn_blocking(move || add(&native, path)).await.map_err(|_| PullProblem::GivenUp)?
    }
}

fn add(native: &RootCertStore, path: PathBuf) -> Result<Arc<RootCertStore>, PullProblem> {
    let mut store = native.clone();
    let mut added = || -> Result<usize, String> {
        let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| error.to_string())?;
        let mut count = 0;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| error.to_string())?;
            store.add(certificate).map_err(|error| error.to_string())?;
            count += 1;
        }
        Ok(count)
    };
    match added() {
        Ok(0) => {
            Err(PullProblem::Configuration { path, cause: "there is no certificate in PEM in it".to_owned() })
        }
        Ok(_) => Ok(Arc::new(store)),
        Err(cause) => Err(PullProblem::Configuration { path, cause }),
    }
}

/// A client that trusts the machine's authorities and those in `ca`. `direct` keeps it from any proxy.
pub(super) async fn client(
    trust: &Trust,
    ca: Option<&Path>,
    direct: bool,
    stall: Duration,
) -> Result<Client, PullProblem> {
    let unusable = |cause: String| PullProblem::Configuration {
        path: ca.map_or_else(|| PathBuf::from("TLS"), Path::to_owned),
        cause,
    };
    let roots = trust.with(ca).await?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(AGENT)
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(stall)
        .redirect(redirect::Policy::custom(follow));
    if direct {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| unusable(error.to_string()))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LeavesTls(String);

/// Follows a redirect, but not out of TLS. Credentials do not go along to another host: the client sees to that.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error(io::Error::other("too many redirects"));
    }
    let left = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
        && attempt.url().scheme() != "https";
    if left {
        let target = attempt.url().host_str().unwrap_or_default().to_owned();
        return attempt.error(LeavesTls(target));
    }
    attempt.follow()
}

/// What a request to `host` that got no answer means.
pub(super) fn meaning(error: &reqwest::Error, host: &str) -> PullProblem {
    // It may have been sent on.
    let asked = error.url().and_then(|url| {
        let name = url.host_str()?;
        Some(url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
    });
    let host = asked.filter(|asked| !host.starts_with(asked)).unwrap_or_else(|| host.to_owned());
    if let Some(LeavesTls(target)) = find(error) {
        return PullProblem::Downgrade { target: target.clone() };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let cause = tls.to_string();
        return match tls {
            rustls::Error::InvalidMessage(_) => PullProblem::PlainHttp { host },
            rustls::Error::InvalidCertificate(_) => PullProblem::Certificate { host, cause },
            _ => PullProblem::Unreachable { host, cause },
        };
    }
    PullProblem::Unreachable { host, cause: root_cause(error) }
}

/// The words of the innermost error: those around it only say that there was one.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Whether the connection ended inside the TLS handshake, as a server that speaks no TLS may end it.
pub(super) fn broke_at_handshake(error: &reqwest::Error) -> bool {
    error.is_connect()
        && find::<io::Error>(error).is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
        })
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // Its `source` passes over the error that it wraps.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Why a body was not read.
pub(super) enum Unread {
    /// It is larger than what is taken.
    TooLarge,
    /// The connection broke.
    Broken(String),
}

/// A body of at most `limit` bytes.
pub(super) async fn read(mut response: Response, limit: u64) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Unread::Broken(root_cause(&error)))? {
        if body.len() as u64 + chunk.len() as u64 > limit {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
