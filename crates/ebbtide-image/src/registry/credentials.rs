//! Who asks a registry, and values that nobody is to read.

use std::fmt;
use std::path::PathBuf;

/// A value that neither a log nor a message nor a debug output shows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Redacted(String);

impl Redacted {
    /// Keeps it from being shown.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A name and a password at a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password, or a token in its place.
    pub password: Redacted,
}

/// What a registry is shown.
#[derive(Debug, Clone)]
pub(super) enum Login {
    Anonymous,
    Password(Credentials),
    /// What `docker login` keeps in place of a password where the registry issues such.
    IdentityToken(Redacted),
}

/// Where a login is from, for whoever has to set it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginOrigin {
    /// The request brought it.
    Request,
    /// The file that `docker login` writes, or a program that it names.
    DockerConfig(PathBuf),
}

impl fmt::Display for LoginOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the request"),
            Self::DockerConfig(path) => write!(f, "{}", path.display()),
        }
    }
}
