//! One repository at one registry: two kinds of requests, and proving who we are when we are asked to.
//!
//! Whatever a registry sends is bounded before it is kept: which registry is asked is up to whoever names an image.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::config::{RegistryConfig, RegistrySettings};
use super::credentials::{Credentials, Login, LoginOrigin, Redacted};
use super::docker_config;
use super::error::PullProblem;
use super::http::{self, Trust, Unread};
use super::manifest;
use super::patience::Patience;
use super::token::{self, Challenge, NoToken};

/// As much of the words of an error as is read, and as is shown.
const MOST_ERROR_BYTES: u64 = 64 << 10;
const SHOWN_CHARACTERS: usize = 200;

/// Whether a registry is spoken to by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
}

/// What a request proves.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Password(Credentials),
    Token(Redacted),
}

/// A document and what its sender calls it.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: Option<String>,
}

/// One repository at one registry.
pub(super) struct Session {
    client: Client,
    /// Where to connect to.
    host: String,
    /// What the registry is called in names and files.
    registry: String,
    repository: String,
    /// The only scheme that is spoken; `None` to find out.
    scheme: OnceLock<Scheme>,
    login: Login,
    origin: Option<LoginOrigin>,
    proof: Mutex<Option<Proof>>,
    /// Whether it could not be reached.
    lost: AtomicBool,
}

impl Session {
    /// Prepares to speak to `registry`; connects to nobody yet.
    pub(super) async fn new(
        config: &RegistryConfig,
        trust: &Trust,
        registry: &str,
        plain_http: bool,
        repository: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PullProblem> {
        let unset = RegistrySettings::default();
        let settings = config.registries.get(registry).unwrap_or(&unset);
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let local = is_loopback(host);
        let scheme = OnceLock::new();
        if plain_http || settings.plain_http {
            let _ = scheme.set(Scheme::Http);
        } else if !local {
            let _ = scheme.set(Scheme::Https);
        }
        let (login, origin) = match (credentials, &config.docker_config) {
            (Some(credentials), _) => (Login::Password(credentials.clone()), Some(LoginOrigin::Request)),
            (None, Some(path)) => {
                (docker_config::login(path, registry).await?, Some(LoginOrigin::DockerConfig(path.clone())))
            }
            (None, None) => (Login::Anonymous, None),
        };
        Ok(Self {
            client: http::client(trust, settings.ca.as_deref(), local, config.stall).await?,
            host: host.to_owned(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            scheme,
            login,
            origin,
            proof: Mutex::new(None),
            lost: AtomicBool::new(false),
        })
    }

    /// What the registry is called.
    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// Whether it could not be reached before.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether what came from here came because of a login.
    pub(super) async fn proved(&self) -> bool {
        !matches!(self.login, Login::Anonymous) && self.proof.lock().await.is_some()
    }

    /// The manifest or index that `reference`, a tag or a digest, stands for.
    pub(super) async fn manifest(&self, reference: &str, limit: u64) -> Result<Document, PullProblem> {
        let mut patience = Patience::default();
        loop {
            match self.try_manifest(reference, limit).await {
                Err(problem) => patience.after(problem).await?,
                found => return found,
            }
        }
    }

    async fn try_manifest(&self, reference: &str, limit: u64) -> Result<Document, PullProblem> {
        let what = || format!("the manifest of {}", self.describe(reference));
        let response = self.get(&format!("manifests/{reference}"), None).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, Asked::Manifest(reference)).await);
        }
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            media_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
        match http::read(response, limit).await {
            Ok(bytes) => Ok(Document { bytes, media_type }),
            Err(Unread::TooLarge) => Err(PullProblem::TooLarge { what: what(), limit }),
            Err(Unread::Broken(cause)) => Err(PullProblem::Broken { what: what(), attempts: 1, cause }),
        }
    }

    /// A blob from byte `offset` on, as far as the registry can begin there: the status says.
    pub(super) async fn blob(&self, digest: &str, what: &str, offset: u64) -> Result<Response, PullProblem> {
        let response = self.get(&format!("blobs/{digest}"), (offset > 0).then_some(offset)).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if offset > 0 => Ok(response),
            // Nothing there: the blob ends before.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(response),
            _ => Err(self.refusal(response, Asked::Blob(what)).await),
        }
    }

    /// Asks, and proves who we are if need be.
    async fn get(&self, path: &str, offset: Option<u64>) -> Result<Response, PullProblem> {
        let mut proof = self.proof.lock().await.clone();
        let response = self.send(path, offset, proof.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        proof = Some(self.prove(Challenge::of(response.headers()), proof).await?);
        let response = self.send(path, offset, proof.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // Whoever issues tokens knows us, so it is not who we are that is wrong.
            return Err(match (&self.login, proof) {
                (Login::Anonymous, _) => self.no_credentials(),
                (_, Some(Proof::Token(_))) => self.forbidden(),
                _ => self.wrong_credentials(),
            });
        }
        Ok(response)
    }

    async fn send(
        &self,
        path: &str,
        offset: Option<u64>,
        proof: Option<&Proof>,
    ) -> Result<Response, PullProblem> {
        let known = self.scheme.get().copied();
        let first = self.send_by(known.unwrap_or(Scheme::Https), path, offset, proof).await;
        let problem = match first {
            Ok(response) => {
                let _ = self.scheme.set(Scheme::Https);
                return Ok(response);
            }
            Err(error) => {
                let problem = http::meaning(&error, &self.host);
                let no_tls = matches!(problem, PullProblem::PlainHttp { .. });
                if known.is_none() && (no_tls || http::broke_at_handshake(&error)) {
                    let plain = self.send_by(Scheme::Http, path, offset, proof).await;
                    let plain = plain.map_err(|error| http::meaning(&error, &self.host))?;
                    let _ = self.scheme.set(Scheme::Http);
                    return Ok(plain);
                }
                problem
            }
        };
        self.lost.store(true, Ordering::Relaxed);
        Err(problem)
    }

    async fn send_by(
        &self,
        scheme: Scheme,
        path: &str,
        offset: Option<u64>,
        proof: Option<&Proof>,
    ) -> Result<Response, reqwest::Error> {
        let scheme = match scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let mut request = self.client.get(format!("{scheme}://{}/v2/{}/{path}", self.host, self.repository));
        if path.starts_with("manifests/") {
            request = request.header(ACCEPT, manifest::ACCEPTED);
        }
        if let Some(offset) = offset {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        match proof {
            Some(Proof::Password(known)) => {
                request = request.basic_auth(&known.username, Some(known.password.reveal()));
            }
            Some(Proof::Token(token)) => request = request.bearer_auth(token.reveal()),
            None => {}
        }
        request.send().await
    }

    /// A proof other than `refused`.
    async fn prove(
        &self,
        challenge: Option<Challenge>,
        refused: Option<Proof>,
    ) -> Result<Proof, PullProblem> {
        let mut proof = self.proof.lock().await;
        // Another request may have got a new token meanwhile.
        if let Some(known) = &*proof
            && *proof != refused
        {
            return Ok(known.clone());
        }
        let new = match challenge {
            Some(Challenge::Bearer { realm, service }) => {
                let over_tls = self.scheme.get() != Some(&Scheme::Http);
                let challenge = (realm.as_str(), service.as_deref());
                match token::fetch(&self.client, challenge, &self.repository, &self.login, over_tls).await {
                    Ok(token) => Proof::Token(token),
                    Err(NoToken::Problem(problem)) => return Err(problem),
                    Err(NoToken::Refused) => {
                        return Err(match self.login {
                            Login::Anonymous => self.no_credentials(),
                            _ => self.wrong_credentials(),
                        });
                    }
                }
            }
            _ => match &self.login {
                Login::Password(credentials) => {
                    let new = Proof::Password(credentials.clone());
                    if refused.as_ref() == Some(&new) {
                        return Err(self.wrong_credentials());
                    }
                    new
                }
                // A token that could only be exchanged for another is of no use here.
                Login::IdentityToken(_) | Login::Anonymous => return Err(self.no_credentials()),
            },
        };
        *proof = Some(new.clone());
        Ok(new)
    }

    /// What an answer other than the one that was asked for means.
    async fn refusal(&self, response: Response, asked: Asked<'_>) -> PullProblem {
        let status = response.status();
        let wait = retry_after(response.headers());
        let words = Words::read(response).await;
        match (status, asked) {
            (StatusCode::NOT_FOUND, _) if words.code == "NAME_UNKNOWN" => {
                PullProblem::NoSuchRepository { repository: self.repository.clone() }
            }
            (StatusCode::NOT_FOUND, Asked::Manifest(reference)) => PullProblem::NoSuchImage {
                repository: self.repository.clone(),
                reference: kind_of(reference),
            },
            (StatusCode::NOT_FOUND, Asked::Blob(what)) => PullProblem::NoSuchBlob { what: what.to_owned() },
            (StatusCode::FORBIDDEN, _) if matches!(self.login, Login::Anonymous) => self.no_credentials(),
            (StatusCode::FORBIDDEN, _) => self.forbidden(),
            (StatusCode::TOO_MANY_REQUESTS, _) => PullProblem::RateLimited {
                retry_after: wait,
                anonymous: matches!(self.login, Login::Anonymous),
            },
            (_, asked) => PullProblem::Server {
                what: match asked {
                    Asked::Manifest(reference) => format!("a request for {}", self.describe(reference)),
                    Asked::Blob(what) => format!("a request for {what}"),
                },
                status: status.as_u16(),
                message: if words.message.is_empty() {
                    String::new()
                } else {
                    format!(": {}", words.message)
                },
            },
        }
    }

    fn describe(&self, reference: &str) -> String {
        let sign = if reference.contains(':') { '@' } else { ':' };
        format!("{}{sign}{reference}", self.repository)
    }

    fn no_credentials(&self) -> PullProblem {
        let login = if self.registry == "docker.io" { "" } else { &self.registry };
        PullProblem::NoCredentials { repository: self.repository.clone(), login: login.to_owned() }
    }

    fn wrong_credentials(&self) -> PullProblem {
        PullProblem::WrongCredentials {
            username: self.username(),
            origin: self.origin.clone().unwrap_or(LoginOrigin::DockerConfig(PathBuf::new())),
        }
    }

    fn forbidden(&self) -> PullProblem {
        let (who, repository) = (format!("{:?}", self.username()), self.repository.clone());
        PullProblem::Forbidden { who, repository }
    }

    fn username(&self) -> String {
        match &self.login {
            Login::Password(credentials) => credentials.username.clone(),
            Login::IdentityToken(_) | Login::Anonymous => "token".to_owned(),
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Manifest(&'a str),
    Blob(&'a str),
}

fn kind_of(reference: &str) -> String {
    if reference.contains(':') { format!("digest {reference}") } else { format!("tag {reference:?}") }
}

/// What a registry says about a refusal, fit to be shown.
#[derive(Default)]
struct Words {
    code: String,
    message: String,
}

impl Words {
    async fn read(response: Response) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let Ok(body) = http::read(response, MOST_ERROR_BYTES).await else { return Self::default() };
        // What is no registry's error is not shown: it may be a page of something that is none of the asker's business.
        let Ok(Envelope { errors }) = serde_json::from_slice(&body) else { return Self::default() };
        let Some(Entry { code, message }) = errors.into_iter().next() else { return Self::default() };
        let shown = message.chars().filter(|shown| !shown.is_control()).take(SHOWN_CHARACTERS).collect();
        Self { code, message: shown }
    }
}

/// When to come again, where a registry says so in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Whether `host`, maybe with a port, can only be this machine.
fn is_loopback(host: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(&format!("https://{host}/")) else { return false };
    let name = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_this_machine_for_sure_may_do_without_tls() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["localhost.example", "registry", "10.0.0.1:5000", "127.0.0.1.example", "docker.io"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
