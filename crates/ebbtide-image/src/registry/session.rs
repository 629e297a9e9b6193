//! One repository at one registry: two kinds of requests, and proving who we are when we are asked to.
//!
//! Whatever a registry sends is bounded before it is kept: which registry is asked is up to whoever names an image.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{ACCEPT, CONTENT_TYPE, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Mutex;

use super::config::{Mirror, RegistryConfig, RegistrySettings};
use super::credentials::{Credentials, Login, Redacted};
use super::error::PullProblem;
use super::http::{self, Trust, Unread};
use super::identity::Identity;
use super::manifest;
use super::patience::Patience;
use super::refusal::{self, Asked};
use super::token::{self, Challenge, NoToken};

/// How often something is asked for that does not come further.
const ATTEMPTS: u32 = 5;
const MIRROR_ATTEMPTS: u32 = 2;

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

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// The registry that the image's name says.
    Registry(&'a str),
    /// One that is asked before it.
    Mirror(&'a Mirror),
}

/// One repository at one registry.
pub(super) struct Session {
    client: Client,
    /// Where to connect to.
    host: String,
    we: Identity,
    /// The only scheme that is spoken; `None` to find out.
    scheme: OnceLock<Scheme>,
    proof: Mutex<Option<Proof>>,
    is_mirror: bool,
    /// Whether it could not be reached.
    lost: AtomicBool,
}

impl Session {
    /// Prepares to speak to it; connects to nobody yet.
    pub(super) async fn new(
        config: &RegistryConfig,
        trust: &Trust,
        place: Place<'_>,
        repository: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PullProblem> {
        let (registry, plain_http, is_mirror) = match place {
            Place::Registry(name) => (name, false, false),
            Place::Mirror(mirror) => (mirror.host.as_str(), mirror.plain_http, true),
        };
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
        Ok(Self {
            client: http::client(trust, settings.ca.as_deref(), local, config.stall).await?,
            host: host.to_owned(),
            we: Identity::new(config, registry, repository, credentials).await?,
            scheme,
            proof: Mutex::new(None),
            is_mirror,
            lost: AtomicBool::new(false),
        })
    }

    /// What the registry is called.
    pub(super) fn registry(&self) -> &str {
        &self.we.registry
    }

    /// How much patience there is with one request: little where there is another source.
    pub(super) fn patience(&self) -> Patience {
        Patience::of(if self.is_mirror { MIRROR_ATTEMPTS } else { ATTEMPTS })
    }

    /// Whether it could not be reached before.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether what came from here came because of a login.
    pub(super) async fn proved(&self) -> bool {
        !self.we.is_anonymous() && self.proof.lock().await.is_some()
    }

    /// The manifest or index that `reference`, a tag or a digest, stands for.
    pub(super) async fn manifest(&self, reference: &str, limit: u64) -> Result<Document, PullProblem> {
        let mut patience = self.patience();
        loop {
            match self.try_manifest(reference, limit).await {
                Err(problem) => patience.after(problem).await?,
                found => return found,
            }
        }
    }

    async fn try_manifest(&self, reference: &str, limit: u64) -> Result<Document, PullProblem> {
        let what = || format!("the manifest of {}", refusal::describe(&self.we.repository, reference));
        let response = self.get(&format!("manifests/{reference}"), None).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal::meaning(response, Asked::Manifest(reference), &self.we).await);
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
            _ => Err(refusal::meaning(response, Asked::Blob(what), &self.we).await),
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
            let known = matches!(proof, Some(Proof::Token(_)));
            return Err(if known { self.we.forbidden() } else { self.we.refused() });
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
        let mut request =
            self.client.get(format!("{scheme}://{}/v2/{}/{path}", self.host, self.we.repository));
        if path.starts_with("manifests/") {
            request = request.header(ACCEPT, manifest::accepted());
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
                match token::fetch(&self.client, challenge, &self.we, over_tls).await {
                    Ok(token) => Proof::Token(token),
                    Err(NoToken::Problem(problem)) => return Err(problem),
                    Err(NoToken::Refused) => return Err(self.we.refused()),
                }
            }
            _ => match &self.we.login {
                Login::Password(credentials) => {
                    let new = Proof::Password(credentials.clone());
                    if refused.as_ref() == Some(&new) {
                        return Err(self.we.refused());
                    }
                    new
                }
                // A token that could only be exchanged for another is of no use here.
                Login::IdentityToken(_) | Login::Anonymous => return Err(self.we.refused()),
            },
        };
        *proof = Some(new.clone());
        Ok(new)
    }
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
