//! Tokens: how a registry says whom to ask for one, and how they are asked.

use http_auth::ChallengeRef;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::credentials::{Login, Redacted};
use super::error::PullProblem;
use super::http;
use super::identity::Identity;
use super::refusal;

/// More than any token has.
const MOST_BYTES: u64 = 256 << 10;

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a name and a password.
    Basic,
    /// With a token from elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// What for.
        service: Option<String>,
    },
}

impl Challenge {
    /// What the headers of a refusal ask for; a token rather than a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let challenges = header.to_str().ok().and_then(|text| http_auth::parse_challenges(text).ok());
            for challenge in challenges.unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter(&challenge, "realm")
                {
                    return Some(Self::Bearer { realm, service: parameter(&challenge, "service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found = Some(Self::Basic);
                }
            }
        }
        found
    }
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut parameters = challenge.params.iter();
    let (_, value) = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value.to_unescaped())
}

/// Why there is no token.
pub(super) enum NoToken {
    /// Whoever issues them does not accept the login.
    Refused,
    /// Something else.
    Problem(PullProblem),
}

impl From<PullProblem> for NoToken {
    fn from(problem: PullProblem) -> Self {
        Self::Problem(problem)
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Asks for a token that is good for reading our repository.
pub(super) async fn fetch(
    client: &Client,
    challenge: (&str, Option<&str>),
    we: &Identity,
    over_tls: bool,
) -> Result<Redacted, NoToken> {
    let (realm, service) = challenge;
    let malformed = |cause: String| PullProblem::Document {
        what: "where to get a token".to_owned(),
        host: realm.chars().take(200).collect(),
        cause,
    };
    let mut url = Url::parse(realm).map_err(|error| malformed(error.to_string()))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    match url.scheme() {
        "https" => {}
        // A password that came over TLS, or would have, does not leave without it.
        "http" if !over_tls => {}
        "http" => return Err(PullProblem::Downgrade { target: host }.into()),
        other => return Err(malformed(format!("{other:?} is no scheme for it")).into()),
    }
    let scope = format!("repository:{}:pull", we.repository);
    let request = match &we.login {
        Login::IdentityToken(refresh) => {
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", "ebbtide"),
                ("service", service.unwrap_or_default()),
                ("scope", &scope),
                ("refresh_token", refresh.reveal()),
            ];
            let form = Url::parse_with_params("http://form/", fields);
            let form = form.map_err(|error| malformed(error.to_string()))?;
            let body = form.query().unwrap_or_default().to_owned();
            client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
        }
        Login::Anonymous | Login::Password(_) => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &scope);
            drop(query);
            match &we.login {
                Login::Password(known) => {
                    client.get(url).basic_auth(&known.username, Some(known.password.reveal()))
                }
                _ => client.get(url),
            }
        }
    };
    let response = request.send().await.map_err(|error| http::meaning(&error, &host))?;
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(NoToken::Refused),
        StatusCode::TOO_MANY_REQUESTS => {
            let retry_after = refusal::retry_after(response.headers());
            return Err(PullProblem::RateLimited { retry_after, anonymous: we.is_anonymous() }.into());
        }
        // How the refresh of a token that has been revoked is refused.
        StatusCode::BAD_REQUEST if matches!(we.login, Login::IdentityToken(_)) => {
            return Err(NoToken::Refused);
        }
        _ => {
            let what = format!("a request for a token at {host}");
            return Err(PullProblem::Server { what, status: status.as_u16(), message: String::new() }.into());
        }
    }
    let what = || "the token".to_owned();
    let body = http::read(response, MOST_BYTES).await.map_err(|unread| match unread {
        http::Unread::TooLarge => PullProblem::TooLarge { what: what(), limit: MOST_BYTES },
        http::Unread::Broken(cause) => PullProblem::Broken { what: what(), attempts: 1, cause },
    })?;
    // What does not parse is not shown: it may be a token nevertheless.
    let answer: Option<Answer> = serde_json::from_slice(&body).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token));
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    let none =
        || PullProblem::Document { what: what(), host, cause: "there is none in the answer".to_owned() };
    Ok(Redacted::new(token.ok_or_else(none)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer =
            r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("r.example".to_owned()),
        };
        assert_eq!(challenge(&[bearer]).as_ref(), Some(&expected));
        assert_eq!(challenge(&[r#"Basic realm="r""#, bearer]), Some(expected));
        assert_eq!(challenge(&[r#"basic realm="r""#]), Some(Challenge::Basic));
        assert_eq!(challenge(&["Negotiate"]), None);
        assert_eq!(challenge(&[]), None);
    }
}
