//! The credentials that `docker login` keeps: in its file, or with a program that the file names.
//!
//! Reading the file is the business of `docker_credential`. The programs are called here, because one of them may ask
//! somebody who is not there: each is bounded in time and in what it says, and is killed past that.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::credentials::{Credentials, Login, Redacted};
use super::error::PullProblem;

/// More than any file of credentials holds, and any program answers.
const MOST_BYTES: u64 = 1 << 20;
/// How long a program may take.
const HELPER_LIMIT: Duration = Duration::from_secs(20);
/// What Docker's own registry is called where credentials are kept, in the order in which it is looked for.
const DOCKER_HUB: [&str; 3] = ["https://index.docker.io/v1/", "index.docker.io", "docker.io"];

/// Where `docker login` keeps credentials, unless something else is configured.
pub(super) fn default_path() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(directory.join("config.json"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Helpers {
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

/// What the file at `path` has for `registry`; anonymous where it has nothing, or is not there.
pub(super) async fn login(path: &Path, registry: &str) -> Result<Login, PullProblem> {
    let unusable = |cause: String| PullProblem::Configuration { path: path.to_owned(), cause };
    let file = path.to_owned();
    let text = match tokio::task::spawn_blocking(move || read_bounded(&file)).await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Login::Anonymous);
        }
        Ok(Err(error)) => return Err(unusable(error.to_string())),
        Err(_) => return Err(PullProblem::GivenUp),
    };
    let (helpers, plain) = take_apart(&text).map_err(unusable)?;
    let names = &*names_of(registry);
    if let Some((name, helper)) =
        names.iter().find_map(|name| Some((name, helpers.cred_helpers.get(*name).filter(|h| !h.is_empty())?)))
    {
        return ask(helper, name, path).await;
    }
    // Its words are of no secret: the programs, whose output it would repeat, have been taken out.
    let kept = kept(&plain, names).map_err(|error| unusable(format!("{error} (of {registry})")))?;
    if let Some(login) = kept {
        return Ok(login);
    }
    match (helpers.creds_store, names) {
        (Some(store), [name, ..]) if !store.is_empty() => ask(&store, name, path).await,
        _ => Ok(Login::Anonymous),
    }
}

/// What a registry is called where credentials are kept.
fn names_of(registry: &str) -> Vec<&str> {
    if registry == "docker.io" { DOCKER_HUB.to_vec() } else { vec![registry] }
}

/// What is kept under one of these names.
fn kept(file: &[u8], names: &[&str]) -> Result<Option<Login>, CredentialRetrievalError> {
    for name in names {
        match docker_credential::get_credential_from_reader(file, name) {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                return Ok(Some(Login::Password(Credentials {
                    username,
                    password: Redacted::new(password),
                })));
            }
            Ok(DockerCredential::IdentityToken(token)) => {
                return Ok(Some(Login::IdentityToken(Redacted::new(token))));
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The name and password that a file of this form has for `registry`; without asking any program.
pub(crate) fn password_in(text: &[u8], registry: &str) -> Result<Option<Credentials>, String> {
    let (_, plain) = take_apart(text)?;
    match kept(&plain, &names_of(registry)).map_err(|error| error.to_string())? {
        Some(Login::Password(credentials)) => Ok(Some(credentials)),
        Some(Login::IdentityToken(_)) => Err("it keeps a token in place of a password".to_owned()),
        Some(Login::Anonymous) | None => Ok(None),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MOST_BYTES} bytes")));
    }
    Ok(text)
}

/// The programs that a file names, and the file without them.
fn take_apart(text: &[u8]) -> Result<(Helpers, Vec<u8>), String> {
    // An error of the parser names a place, and no value.
    let mut config: Value = serde_json::from_slice(text).map_err(|error| place(&error))?;
    let helpers = Helpers::deserialize(&config).map_err(|error| place(&error))?;
    if let Some(table) = config.as_object_mut() {
        table.remove("credsStore");
        table.remove("credHelpers");
    }
    Ok((helpers, serde_json::to_vec(&config).map_err(|error| place(&error))?))
}

fn place(error: &serde_json::Error) -> String {
    format!("it is not the JSON that it should be (line {}, column {})", error.line(), error.column())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a program. What it says is repeated nowhere: it may say a secret.
async fn ask(helper: &str, registry: &str, config: &Path) -> Result<Login, PullProblem> {
    let program = format!("docker-credential-{helper}");
    let failed =
        |cause: String| PullProblem::Helper { helper: program.clone(), cause, config: config.to_owned() };
    if helper.contains('/') {
        return Err(failed("is no name of a program".to_owned()));
    }
    let conversation = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot be run: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input is judged by its answer.
            let _ = stdin.write_all(registry.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(MOST_BYTES).read_to_end(&mut said).await;
            read.map_err(|error| failed(format!("cannot be read: {error}")))?;
        }
        let status = child.wait().await.map_err(|error| failed(format!("cannot be waited for: {error}")))?;
        Ok::<_, PullProblem>((status.success(), said))
    };
    let (succeeded, said) = tokio::time::timeout(HELPER_LIMIT, conversation)
        .await
        .map_err(|_| failed(format!("did not answer within {} s", HELPER_LIMIT.as_secs())))??;
    if !succeeded {
        // How every one of these programs says that it has nothing.
        if String::from_utf8_lossy(&said).contains("credentials not found") {
            return Ok(Login::Anonymous);
        }
        return Err(failed("failed".to_owned()));
    }
    let answer: Answer =
        serde_json::from_slice(&said).map_err(|_| failed("gave an answer that is none".to_owned()))?;
    let secret = Redacted::new(answer.secret);
    Ok(match answer.username.as_str() {
        "<token>" => Login::IdentityToken(secret),
        _ => Login::Password(Credentials { username: answer.username, password: secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looked_up(config: &str, registry: &str) -> Result<Login, PullProblem> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        login(&path, registry).await
    }

    #[tokio::test]
    async fn what_docker_login_wrote_is_found() {
        // user:secret, and hub:other
        let config = r#"{"auths": {"r.example:5000": {"auth": "dXNlcjpzZWNyZXQ="},
            "https://index.docker.io/v1/": {"auth": "aHViOm90aGVy"},
            "tokens.example": {"auth": "", "identitytoken": "abc"}}}"#;
        for (registry, username, password) in
            [("r.example:5000", "user", "secret"), ("docker.io", "hub", "other")]
        {
            match looked_up(config, registry).await.unwrap() {
                Login::Password(found) => {
                    assert_eq!((found.username.as_str(), found.password.reveal()), (username, password));
                }
                other => panic!("{registry}: {other:?}"),
            }
        }
        assert!(matches!(looked_up(config, "tokens.example").await, Ok(Login::IdentityToken(_))));
        assert!(matches!(looked_up(config, "r.example").await, Ok(Login::Anonymous)));
        assert!(matches!(
            login(Path::new("/nonexistent/config.json"), "r.example").await,
            Ok(Login::Anonymous)
        ));
    }

    #[tokio::test]
    async fn a_damaged_file_or_helper_is_named_and_nothing_of_it_shown() {
        let message = looked_up(r#"{"auths": {"r": {"auth": "hush"#, "r").await.unwrap_err().to_string();
        assert!(message.contains("config.json") && !message.contains("hush"), "{message}");
        let named = r#"{"credHelpers": {"r": "not-there-at-all"}}"#;
        let message = looked_up(named, "r").await.unwrap_err().to_string();
        assert!(message.contains("docker-credential-not-there-at-all"), "{message}");
        let escaping = looked_up(r#"{"credsStore": "../../bin/sh"}"#, "r").await;
        assert!(matches!(escaping, Err(PullProblem::Helper { .. })));
    }
}
