//! The aliases of images: a table in the home's `aliases.toml`, over the one of `ebbtide.toml`.
//!
//! The file is written by `ebb image alias` and read by the daemon at each create, so a change holds at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use ebbtide::Home;
use ebbtide_model::{ImageAliases, Invalid};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why the aliases cannot be read or changed.
#[derive(Debug, Error)]
pub(crate) enum AliasError {
    /// A name is malformed or leads nowhere.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The file is not what it should be.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The kernel refused.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    alias: BTreeMap<String, String>,
}

/// The file of a home's aliases.
#[derive(Debug, Clone)]
pub(crate) struct AliasFile(PathBuf);

impl AliasFile {
    /// The one of `home`, which need not be there.
    pub(crate) fn of(home: &Home) -> Self {
        Self(home.state_dir().join("aliases.toml"))
    }

    /// What it says.
    pub(crate) fn read(&self) -> Result<ImageAliases, AliasError> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.io("read", error)),
        };
        let table: Table = toml::from_str(&text)
            .map_err(|source| AliasError::Parse { path: self.0.clone(), source: Box::new(source) })?;
        Ok(ImageAliases::new(table.alias)?)
    }

    /// Changes it, whole or not at all.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(ImageAliases) -> Result<ImageAliases, AliasError>,
    ) -> Result<(), AliasError> {
        // Not the file itself, which is replaced.
        let beside = |suffix: &str| self.0.with_extension(suffix);
        let lock = File::options().create(true).append(true).open(beside("lock"));
        let lock = lock.map_err(|error| self.io("lock", error))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| self.io("lock", error.into()))?;
        let changed = change(self.read()?)?;
        let alias = changed.iter().map(|(name, target)| (name.to_owned(), target.to_owned())).collect();
        let text =
            toml::to_string(&Table { alias }).map_err(|error| self.io("write", io::Error::other(error)))?;
        let new = beside("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.0))
            .map_err(|error| self.io("write", error))
    }

    fn io(&self, step: &'static str, source: io::Error) -> AliasError {
        AliasError::Io { step, path: self.0.clone(), source }
    }
}
