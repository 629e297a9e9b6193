//! What it means when a registry answers with something else than what was asked for.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::error::PullProblem;
use super::http;
use super::identity::Identity;

/// As much of the words of an error as is read, and as is shown.
const MOST_BYTES: u64 = 64 << 10;
const SHOWN_CHARACTERS: usize = 200;

/// What was asked for.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The manifest of a tag or a digest.
    Manifest(&'a str),
    /// A blob, by what it is of the image.
    Blob(&'a str),
}

/// What it means.
pub(super) async fn meaning(response: Response, asked: Asked<'_>, we: &Identity) -> PullProblem {
    let status = response.status();
    let wait = retry_after(response.headers());
    let words = Words::read(response).await;
    let repository = || we.repository.clone();
    match (status, asked) {
        (StatusCode::NOT_FOUND, _) if words.code == "NAME_UNKNOWN" => {
            PullProblem::NoSuchRepository { repository: repository() }
        }
        (StatusCode::NOT_FOUND, Asked::Manifest(reference)) => {
            let is_digest = reference.contains(':');
            let reference =
                if is_digest { format!("digest {reference}") } else { format!("tag {reference:?}") };
            PullProblem::NoSuchImage { repository: repository(), reference }
        }
        (StatusCode::NOT_FOUND, Asked::Blob(what)) => PullProblem::NoSuchBlob { what: what.to_owned() },
        (StatusCode::FORBIDDEN, _) => we.forbidden(),
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            PullProblem::RateLimited { retry_after: wait, anonymous: we.is_anonymous() }
        }
        (_, asked) => PullProblem::Server {
            what: match asked {
                Asked::Manifest(reference) => {
                    format!("a request for {}", describe(&we.repository, reference))
                }
                Asked::Blob(what) => format!("a request for {what}"),
            },
            status: status.as_u16(),
            message: words.message,
        },
    }
}

/// A repository with a tag or a digest.
pub(super) fn describe(repository: &str, reference: &str) -> String {
    let sign = if reference.contains(':') { '@' } else { ':' };
    format!("{repository}{sign}{reference}")
}

/// When to come again, where a registry says so in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a registry says about a refusal, fit to be shown.
#[derive(Default)]
struct Words {
    code: String,
    /// After a colon, if there is any.
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
        let Ok(body) = http::read(response, MOST_BYTES).await else { return Self::default() };
        // What is no registry's error is not shown: it may be a page of something that is none of the asker's business.
        let Ok(Envelope { errors }) = serde_json::from_slice(&body) else { return Self::default() };
        let Some(Entry { code, message }) = errors.into_iter().next() else { return Self::default() };
        let shown: String =
            message.chars().filter(|shown| !shown.is_control()).take(SHOWN_CHARACTERS).collect();
        let message = if shown.is_empty() { shown } else { format!(": {shown}") };
        Self { code, message }
    }
}
