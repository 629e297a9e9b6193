//! Secrets in files: a directory for each store that the configuration names, a file for each secret.
//!
//! Who may make a sandbox may name any secret of any store, though never read one: it goes to the registry that the
//! request names, and to nobody else. A store that says for which registries it is keeps it from all others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use ebbtide_model::Invalid;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde_json::Value;
use thiserror::Error;

use crate::registry::{Credentials, Redacted, password_in};

/// The largest secret.
const MOST_BYTES: u64 = 64 << 10;

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// What was asked for is not there, or not what it should be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store cannot be read.
    #[error(
        "the secret store {store:?} cannot be read: {source}; look at its directory on the daemon's machine"
    )]
    Io {
        /// The store.
        store: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Which secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// The store's name.
    pub store_name: String,
    /// The file, below the store's directory.
    pub path: String,
    /// The member of the file, which is a JSON object then; empty for the whole file.
    pub field: String,
}

/// One store.
#[derive(Debug, Clone, Default)]
pub struct SecretStore {
    /// The directory with a file for each secret.
    pub dir: PathBuf,
    /// The registries that its secrets may be shown to; empty for any.
    pub registries: Vec<String>,
}

/// The stores of a daemon, by name.
#[derive(Debug, Clone, Default)]
pub struct SecretStores(BTreeMap<String, SecretStore>);

impl SecretStores {
    /// These stores.
    pub fn new(stores: BTreeMap<String, SecretStore>) -> Self {
        Self(stores)
    }

    /// The name and password for `registry` in a secret, which is `USER:PASSWORD`, or JSON: an object with `username`
    /// and `password`, or what `docker login` writes.
    ///
    /// Fields are named as in `ImagePullCredentials`.
    ///
    /// # Errors
    /// When there is no such store or secret, it is not for that registry, or it is none of these.
    pub fn credentials(&self, source: &SecretSource, registry: &str) -> Result<Credentials, SecretError> {
        let registry = canonical_registry(registry);
        let text = self.read(source, registry)?;
        let malformed = |field: &str, problem: String| {
            let accepted = "USER:PASSWORD, or JSON: username and password, or what docker login writes";
            SecretError::from(Invalid::new(field, problem, accepted))
        };
        if source.field.is_empty() {
            return parse(&text, registry).map_err(|problem| malformed("credentials.path", problem));
        }
        // What cannot be parsed is not shown.
        let object: Value = serde_json::from_str(&text)
            .map_err(|_| malformed("credentials.path", format!("{:?} is not JSON", source.path)))?;
        let member = match object.get(&source.field) {
            Some(Value::String(text)) => text.clone(),
            Some(member @ Value::Object(_)) => member.to_string(),
            _ => {
                let problem = format!("{:?} has no text or object {:?}", source.path, source.field);
                return Err(Invalid::new("credentials.field", problem, "a member of the secret").into());
            }
        };
        parse(&member, registry).map_err(|problem| malformed("credentials.field", problem))
    }

    fn read(&self, source: &SecretSource, registry: &str) -> Result<String, SecretError> {
        let SecretSource { store_name, path, .. } = source;
        let Some(store) = self.0.get(store_name) else {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let accepted = if known.is_empty() {
                "none: the daemon's ebbtide.toml names no [secrets.NAME]".to_owned()
            } else {
                format!("one of {}", known.join(", "))
            };
            let problem = format!("there is no secret store {store_name:?}");
            return Err(Invalid::new("credentials.store_name", problem, accepted).into());
        };
        if !store.registries.is_empty()
            && !store.registries.iter().any(|known| canonical_registry(known) == registry)
        {
            let problem = format!("the secret store {store_name:?} is not for {registry}");
            return Err(Invalid::new("registry", problem, store.registries.join(", ")).into());
        }
        let below = "the relative path of a file in the store, without ..";
        let refused = |problem: &str| {
            SecretError::from(Invalid::new("credentials.path", format!("{path:?} {problem}"), below))
        };
        let within = |component: Component<'_>| matches!(component, Component::Normal(_));
        if path.is_empty() || path.contains('\0') || !Path::new(path).components().all(within) {
            return Err(refused("does not lead to a file in the store"));
        }
        let failed =
            |source: rustix::io::Errno| SecretError::Io { store: store_name.clone(), source: source.into() };
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &store.dir, flags, Mode::empty()).map_err(failed)?;
        // A fifo would have us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&dir, path.as_str(), flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(refused("is not there"));
            }
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
                return Err(refused("leads out of the store"));
            }
            Err(errno) => return Err(failed(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused("is no file"));
        }
        let mut text = Vec::new();
        let read = File::from(file).take(MOST_BYTES + 1).read_to_end(&mut text);
        read.map_err(|source| SecretError::Io { store: store_name.clone(), source })?;
        if text.len() as u64 > MOST_BYTES {
            return Err(refused("is larger than a secret may be, 65536 bytes"));
        }
        String::from_utf8(text).map_err(|_| refused("is not text"))
    }
}

/// A registry as names of images have it: Docker's own has several names.
pub fn canonical_registry(written: &str) -> &str {
    let host = written.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host }
}

fn parse(text: &str, registry: &str) -> Result<Credentials, String> {
    let text = text.trim();
    if !text.starts_with('{') {
        return match text.split_once(':') {
            Some((username, password)) if !username.is_empty() && !text.contains('\n') => {
                Ok(Credentials { username: username.to_owned(), password: Redacted::new(password) })
            }
            _ => Err("the secret is not USER:PASSWORD".to_owned()),
        };
    }
    let object: Value = serde_json::from_str(text).map_err(|_| "the secret is not JSON".to_owned())?;
    if object.get("auths").is_some() {
        return password_in(text.as_bytes(), registry)?
            .ok_or_else(|| format!("the secret has nothing for {registry}"));
    }
    match (object.get("username").and_then(Value::as_str), object.get("password").and_then(Value::as_str)) {
        (Some(username), Some(password)) => {
            Ok(Credentials { username: username.to_owned(), password: Redacted::new(password) })
        }
        _ => Err("the secret has no username and password".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct World {
        _dir: tempfile::TempDir,
        stores: SecretStores,
    }

    fn world(registries: &[&str]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        fs::create_dir_all(store.join("team")).unwrap();
        fs::write(dir.path().join("outside"), "root:hush").unwrap();
        fs::write(store.join("plain"), "user:pass:word\n").unwrap();
        fs::write(store.join("team/json"), r#"{"username": "u", "password": "hush"}"#).unwrap();
        let login = r#"{"auths": {"ghcr.io": {"auth": "dXNlcjpzZWNyZXQ="}}, "credsStore": "never-called"}"#;
        fs::write(store.join("login"), login).unwrap();
        fs::write(
            store.join("fields"),
            r#"{"a": "x:hush", "b": {"username": "y", "password": "p"}, "c": 1}"#,
        )
        .unwrap();
        fs::write(store.join("large"), vec![b'a'; 70_000]).unwrap();
        fs::write(store.join("broken"), "{hush").unwrap();
        symlink("plain", store.join("inner")).unwrap();
        symlink("../outside", store.join("outer")).unwrap();
        rustix::fs::mknodat(CWD, store.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let registries = registries.iter().map(|&registry| registry.to_owned()).collect();
        let stores = [("files".to_owned(), SecretStore { dir: store, registries })];
        World { _dir: dir, stores: SecretStores::new(stores.into()) }
    }

    fn source(path: &str, field: &str) -> SecretSource {
        SecretSource { store_name: "files".to_owned(), path: path.to_owned(), field: field.to_owned() }
    }

    #[test]
    fn each_form_of_a_secret_is_read() {
        let World { _dir, stores } = world(&[]);
        for (path, field, username, password) in [
            ("plain", "", "user", "pass:word"),
            ("inner", "", "user", "pass:word"),
            ("team/json", "", "u", "hush"),
            ("login", "", "user", "secret"),
            ("fields", "a", "x", "hush"),
            ("fields", "b", "y", "p"),
        ] {
            let found = stores.credentials(&source(path, field), "ghcr.io").unwrap();
            assert_eq!((found.username.as_str(), found.password.reveal()), (username, password), "{path}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_by_its_field_and_nothing_of_it_shown() {
        let World { _dir, stores } = world(&[]);
        for (path, field, named) in [
            ("", "", "credentials.path"),
            ("/etc/shadow", "", "credentials.path"),
            ("../outside", "", "credentials.path"),
            ("team/../../outside", "", "credentials.path"),
            ("outer", "", "credentials.path"),
            ("missing", "", "credentials.path"),
            ("team", "", "credentials.path"),
            ("fifo", "", "credentials.path"),
            ("large", "", "credentials.path"),
            ("broken", "", "credentials.path"),
            ("broken", "a", "credentials.path"),
            ("plain", "a", "credentials.path"),
            ("fields", "c", "credentials.field"),
            ("fields", "z", "credentials.field"),
        ] {
            match stores.credentials(&source(path, field), "ghcr.io").unwrap_err() {
                SecretError::Invalid(invalid) => {
                    assert_eq!(invalid.field, named, "{path}: {invalid}");
                    assert!(!invalid.to_string().contains("hush"), "{invalid}");
                }
                other => panic!("{path}: {other}"),
            }
        }
        let elsewhere = SecretSource { store_name: "vault".to_owned(), ..source("plain", "") };
        let message = stores.credentials(&elsewhere, "ghcr.io").unwrap_err().to_string();
        assert!(message.contains("credentials.store_name") && message.contains("one of files"), "{message}");
        let nothing = stores.credentials(&source("login", ""), "quay.io").unwrap_err().to_string();
        assert!(nothing.contains("nothing for quay.io"), "{nothing}");
    }

    #[test]
    fn a_store_for_one_registry_shows_its_secrets_to_no_other() {
        let World { _dir, stores } = world(&["docker.io"]);
        for same in ["docker.io", "https://index.docker.io/v1/", "index.docker.io"] {
            assert!(stores.credentials(&source("plain", ""), same).is_ok(), "{same}");
        }
        let refused = stores.credentials(&source("plain", ""), "evil.example").unwrap_err().to_string();
        assert!(refused.contains("is not for evil.example"), "{refused}");
    }
}
