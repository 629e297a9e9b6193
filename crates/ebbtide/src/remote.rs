//! A daemon that is found by its address instead of by its home.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ebbtide_model::Invalid;
use ebbtide_proto::PROTOCOL_VERSION;
use thiserror::Error;
use tokio::time::timeout;
use tonic::codegen::http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::causes::causes;
use crate::connect::{channel, open, tuned};
use crate::{Client, ConnectOptions, Error, network};

const ACCEPTED_URLS: &str = "http://HOST:PORT, https://HOST:PORT or unix:///PATH";

/// Why a daemon could not be reached by its address.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address or the key is malformed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The file with the certificate authority cannot be used.
    #[error("EBBTIDE_CA_FILE: cannot use {}: {detail}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Nobody answers there, or one who is not trusted.
    #[error("cannot reach the daemon at {url}: {detail}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        detail: String,
    },
    /// No answer in time.
    #[error("no answer from the daemon at {url} within {} s", waited.as_secs())]
    TimedOut {
        /// The address.
        url: String,
        /// How long was waited.
        waited: Duration,
    },
    /// It speaks another version of the protocol.
    #[error(
        "the daemon at {url} (version {version}) speaks protocol {theirs}, this program {PROTOCOL_VERSION}; use the same version of both"
    )]
    Incompatible {
        /// The address.
        url: String,
        /// The daemon's version.
        version: String,
        /// Its protocol version.
        theirs: u32,
    },
}

/// The address of a daemon, and the key that opens it.
///
/// ```
/// use ebbtide::Remote;
///
/// let remote: Remote = "https://sandboxes.example:8443".parse()?;
/// let remote = remote.with_key("ebb_a2b3c4d5_secret")?;
/// assert!("ftp://sandboxes.example".parse::<Remote>().is_err());
/// # Ok::<_, ebbtide::RemoteError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    url: String,
    place: Place,
    key: ApiKey,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Network { tls: bool },
    Socket(PathBuf),
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(url: &str) -> Result<Self, RemoteError> {
        let refused =
            |problem: &str| Invalid::new("EBBTIDE_URL", format!("{url:?} {problem}"), ACCEPTED_URLS);
        if let Some(path) = url.strip_prefix("unix://") {
            let place = Place::Socket(PathBuf::from(path));
            if !path.starts_with('/') {
                return Err(refused("does not name a socket by its full path").into());
            }
            return Ok(Self { url: url.to_owned(), place, key: ApiKey(None), ca_file: None });
        }
        let uri: Uri = url.parse().map_err(|_| refused("is not an address"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused("is of no kind that is known").into()),
        };
        let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !bare || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("has more to it than a host and a port").into());
        }
        let place = Place::Network { tls };
        Ok(Self { url: url.trim_end_matches('/').to_owned(), place, key: ApiKey(None), ca_file: None })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// The daemon that `EBBTIDE_URL` names, with `EBBTIDE_API_KEY` and `EBBTIDE_CA_FILE`; `None` if it names none.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn from_env() -> Result<Option<Self>, RemoteError> {
        Self::resolve(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn resolve(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, RemoteError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let Some(url) = set("EBBTIDE_URL") else { return Ok(None) };
        let mut remote: Self = url.parse()?;
        if let Some(key) = set("EBBTIDE_API_KEY") {
            remote = remote.with_key(&key)?;
        }
        if let Some(file) = set("EBBTIDE_CA_FILE") {
            remote = remote.with_ca_file(file);
        }
        Ok(Some(remote))
    }

    /// The same daemon, called with this API key.
    ///
    /// # Errors
    /// When the key cannot travel in a header.
    pub fn with_key(mut self, key: &str) -> Result<Self, RemoteError> {
        let mut value = MetadataValue::try_from(format!("Bearer {key}"))
            .map_err(|_| Invalid::new("EBBTIDE_API_KEY", "cannot be a key", "visible ASCII characters"))?;
        value.set_sensitive(true);
        self.key = ApiKey(Some(value));
        Ok(self)
    }

    /// The same daemon, trusted if the certificate authority in this PEM file vouches for it, and no other does.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Connects to it.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time, is not trusted, or refuses the key.
    pub async fn connect(&self, options: &ConnectOptions) -> Result<Client, Error> {
        let handshake = async {
            let client = Client::new(self.channel(options.timeout).await?, self.key.clone());
            let info = client.info().await.map_err(|error| self.unheard(error))?;
            if info.protocol_version != PROTOCOL_VERSION {
                let (url, theirs) = (self.url.clone(), info.protocol_version);
                return Err(RemoteError::Incompatible { url, version: info.version, theirs }.into());
            }
            Ok(client)
        };
        match timeout(options.timeout, handshake).await {
            Ok(connected) => connected,
            Err(_) => Err(RemoteError::TimedOut { url: self.url.clone(), waited: options.timeout }.into()),
        }
    }

    /// What speaks TLS closes a connection on which something else was said.
    fn unheard(&self, error: Error) -> Error {
        if !error.is_disconnect() || self.place != (Place::Network { tls: false }) {
            return error;
        }
        let detail =
            "it ended the connection without an answer; if it speaks TLS, its address begins with https://";
        RemoteError::Unreachable { url: self.url.clone(), detail: detail.to_owned() }.into()
    }

    async fn channel(&self, limit: Duration) -> Result<Channel, Error> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            Error::from(RemoteError::Unreachable { url: self.url.clone(), detail: causes(error) })
        };
        let tls = match &self.place {
            Place::Socket(path) => {
                let stream = open(path).await?.ok_or_else(|| RemoteError::Unreachable {
                    url: self.url.clone(),
                    detail: "nobody listens there".to_owned(),
                })?;
                return channel(path.clone(), stream).await.map_err(|error| unreachable(&error));
            }
            Place::Network { tls } => *tls,
        };
        let mut endpoint = Endpoint::from_shared(self.url.clone()).map_err(|error| unreachable(&error))?;
        if tls {
            endpoint = endpoint.tls_config(self.trust().await?).map_err(|error| unreachable(&error))?;
        }
        network::channel(tuned(endpoint), limit).await.map_err(|error| unreachable(&error))
    }

    /// Whom to trust: the one authority that was named, else those that the system trusts.
    async fn trust(&self) -> Result<ClientTlsConfig, RemoteError> {
        let Some(file) = &self.ca_file else { return Ok(ClientTlsConfig::new().with_native_roots()) };
        let pem = tokio::fs::read(file).await.map_err(|error| ca_file(file, error.to_string()))?;
        // Without this an empty list of authorities would show only as a daemon that nobody vouches for.
        if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
            return Err(ca_file(file, "it holds no certificate in PEM form".to_owned()));
        }
        Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn ca_file(path: &Path, detail: String) -> RemoteError {
    RemoteError::CaFile { path: path.to_owned(), detail }
}

/// Puts the API key on each call.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey(Option<MetadataValue<Ascii>>);

impl ApiKey {
    /// For a daemon that knows its callers by other means.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ApiKey(...)" } else { "ApiKey(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<Option<Remote>, RemoteError> {
        Remote::resolve(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_address_is_a_host_or_a_socket_and_nothing_more() {
        for url in ["http://127.0.0.1:1", "https://[::1]:443", "https://example", "unix:///run/x.sock"] {
            assert!(url.parse::<Remote>().is_ok(), "{url}");
        }
        assert_eq!("http://a:1/".parse::<Remote>().unwrap().to_string(), "http://a:1");
        for url in
            ["", "127.0.0.1:1", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u:p@a", "unix://x"]
        {
            assert!(matches!(url.parse::<Remote>(), Err(RemoteError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn the_environment_names_a_daemon_only_with_an_address() {
        assert_eq!(resolve(&[("EBBTIDE_API_KEY", "k")]).unwrap(), None);
        assert_eq!(resolve(&[("EBBTIDE_URL", "")]).unwrap(), None);
        let remote = resolve(&[("EBBTIDE_URL", "http://a"), ("EBBTIDE_API_KEY", "secret")]).unwrap().unwrap();
        assert!(!format!("{remote:?}").contains("secret"), "{remote:?}");
        assert!(resolve(&[("EBBTIDE_URL", "http://a"), ("EBBTIDE_API_KEY", "line\nbreak")]).is_err());
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named() {
        let options = ConnectOptions { timeout: Duration::from_secs(5), ..Default::default() };
        for url in ["http://127.0.0.1:1", "unix:///nonexistent/ebb.sock"] {
            let error = url.parse::<Remote>().unwrap().connect(&options).await.unwrap_err();
            assert!(matches!(error, Error::Remote(RemoteError::Unreachable { .. })), "{error:?}");
            assert!(error.to_string().contains(url), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_without_tls_is_told_from_one_with_it() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        // A server of HTTP/2 that has heard something else.
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"\0\0\x06\x04\0\0\0\0\0").await;
            }
        });
        let error = url.parse::<Remote>().unwrap().connect(&ConnectOptions::default()).await.unwrap_err();
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    }

    #[tokio::test]
    async fn an_authority_that_is_none_is_refused_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        for content in [None, Some("not a certificate")] {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let remote = "https://127.0.0.1:1".parse::<Remote>().unwrap().with_ca_file(&file);
            let error = remote.connect(&ConnectOptions::default()).await.unwrap_err();
            assert!(matches!(error, Error::Remote(RemoteError::CaFile { .. })), "{error:?}");
        }
    }
}
