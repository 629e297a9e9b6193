//! Why an image was not pulled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::credentials::LoginOrigin;
use crate::ImageError;
use crate::Platform;

/// Why an image was not pulled: which, from where, and what was the matter.
#[derive(Debug, Clone, Error)]
#[error("cannot pull {image} from {registry}: {problem}")]
pub struct PullError {
    /// The image, as people write it.
    pub image: String,
    /// The registry that was asked, or would have been.
    pub registry: String,
    /// What was the matter.
    #[source]
    pub problem: Box<PullProblem>,
}

/// What was the matter with a pull.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum PullProblem {
    /// The repository has no such tag or digest.
    #[error(
        "the repository {repository} has no {reference}; check the part of the name after the last `:` or `@`"
    )]
    NoSuchImage {
        /// The repository.
        repository: String,
        /// The tag or digest.
        reference: String,
    },
    /// The registry has no such repository.
    #[error("it has no repository {repository}; check the name")]
    NoSuchRepository {
        /// The repository.
        repository: String,
    },
    /// A blob that the manifest names is not there.
    #[error("the image is damaged there: {what} is missing; push it again")]
    NoSuchBlob {
        /// Which.
        what: String,
    },
    /// Nobody has told us who we are there.
    #[error(
        "it wants credentials for {repository}, or has no such repository; log in with `docker login {login}` as root \
         on the daemon's machine, or give credentials with the request"
    )]
    NoCredentials {
        /// The repository.
        repository: String,
        /// What to log in to.
        login: String,
    },
    /// The credentials are wrong.
    #[error("it refuses the credentials of {username:?} that {origin} gave; correct them there")]
    WrongCredentials {
        /// Whose they are.
        username: String,
        /// Where they are from.
        origin: LoginOrigin,
    },
    /// The credentials are right, and not enough.
    #[error("{who} may not read {repository} there; ask whoever owns it for the right to pull")]
    Forbidden {
        /// Who asked.
        who: String,
        /// The repository.
        repository: String,
    },
    /// Too many requests.
    #[error("it allows no more requests for now; try again {}{}", again(*.retry_after), if *.anonymous { ", or log in: registries allow more then" } else { "" })]
    RateLimited {
        /// When it will allow more, if it said so.
        retry_after: Option<Duration>,
        /// Whether nobody was logged in.
        anonymous: bool,
    },
    /// No connection.
    #[error(
        "{host} cannot be reached: {cause}; check the name of the registry, and the network and its proxies"
    )]
    Unreachable {
        /// Where it was tried to connect to.
        host: String,
        /// The network's answer.
        cause: String,
    },
    /// The certificate is not one that this machine trusts.
    #[error(
        "the certificate of {host} is not trusted: {cause}; name the authority that signed it in ebbtide.toml: \
         [images.registry.{host:?}] ca = FILE"
    )]
    Certificate {
        /// Whose certificate.
        host: String,
        /// What is the matter with it.
        cause: String,
    },
    /// It speaks no TLS.
    #[error(
        "{host} does not speak TLS; if that is meant to be so, say in ebbtide.toml: [images.registry.{host:?}] \
         plain_http = true"
    )]
    PlainHttp {
        /// Who.
        host: String,
    },
    /// The registry leads us somewhere where credentials or contents would not be safe.
    #[error(
        "it leads from https to {target}, which is not safe; if the registry is yours, correct its configuration"
    )]
    Downgrade {
        /// Where to.
        target: String,
    },
    /// The registry failed.
    #[error("it failed to answer {what}: {status}{message}; try again later, or look at the registry's log")]
    Server {
        /// What was asked for.
        what: String,
        /// The status of its answer.
        status: u16,
        /// What it said, after a colon, if anything.
        message: String,
    },
    /// The connection broke, again and again.
    #[error("at {what} the connection broke {attempts} times in a row: {cause}; try again")]
    Broken {
        /// What was being read.
        what: String,
        /// How often it was tried without coming further.
        attempts: u32,
        /// The last cause.
        cause: String,
    },
    /// Less came than the manifest says.
    #[error("{what} is truncated there: {have} of {expected} bytes; push the image again")]
    Truncated {
        /// What.
        what: String,
        /// How much came.
        have: u64,
        /// How much should have come.
        expected: u64,
    },
    /// Something else came than was asked for.
    #[error(
        "the content of {what} is not what its digest says; the image is damaged there, or altered on the way: push it again"
    )]
    WrongDigest {
        /// What.
        what: String,
    },
    /// More than is taken.
    #[error("{what} is larger than the {limit} bytes that are taken; see [images.limits] in ebbtide.toml")]
    TooLarge {
        /// What.
        what: String,
        /// How much is taken.
        limit: u64,
    },
    /// More layers than are taken.
    #[error("it has {layers} layers, more than the {limit} that are taken; build it with fewer")]
    TooManyLayers {
        /// How many.
        layers: usize,
        /// How many are taken.
        limit: usize,
    },
    /// Something that we cannot read.
    #[error("{what} is of the type {media_type:?}, which Ebbtide does not unpack; {advice}")]
    MediaType {
        /// What.
        what: String,
        /// Its type.
        media_type: String,
        /// What to do.
        advice: &'static str,
    },
    /// Not for this machine.
    #[error(
        "it is not there for {wanted}, only for {}; build it for {wanted}, or choose with `ebb image pull --platform`",
        if .offered.is_empty() { "nothing that says for what".to_owned() } else { .offered.join(", ") }
    )]
    NoPlatform {
        /// What was looked for.
        wanted: Platform,
        /// What is there.
        offered: Vec<String>,
    },
    /// A document that cannot be understood.
    #[error(
        "{what} cannot be understood: {cause}; check that {host} is a registry, and push the image again"
    )]
    Document {
        /// Which.
        what: String,
        /// Who sent it.
        host: String,
        /// Why.
        cause: String,
    },
    /// It took too long in all.
    #[error("it took longer than {} s; try again: what is already here is not fetched again", .limit.as_secs())]
    TooSlow {
        /// How long it may take.
        limit: Duration,
    },
    /// The program that keeps credentials did not give them.
    #[error("the credential helper {helper} {cause}; see {}", config.display())]
    Helper {
        /// The program.
        helper: String,
        /// What was the matter.
        cause: String,
        /// The file that names it.
        config: PathBuf,
    },
    /// A file of the configuration cannot be used.
    #[error("{} cannot be used: {cause}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The store of images failed.
    #[error(transparent)]
    Store(Arc<ImageError>),
    /// The pull was given up.
    #[error("it was given up; try again")]
    GivenUp,
}

impl From<ImageError> for PullProblem {
    fn from(error: ImageError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl PullProblem {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Server { status, .. } => matches!(status, 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

fn again(after: Option<Duration>) -> String {
    after.map_or_else(|| "later".to_owned(), |after| format!("in {} s", after.as_secs()))
}
