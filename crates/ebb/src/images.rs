//! The aliases of images: a table in the home's `aliases.toml`, over the one of `ebbtide.toml`.
//!
//! The file is written by `ebb image alias` and read by the daemon at each create, so a change holds at once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use ebbtide::Home;
use ebbtide_model::{ImageAliases, Invalid};
use ebbtide_server::{HomeFile, HomeFileError};
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
    /// The file could not be read or replaced.
    #[error(transparent)]
    File(#[from] HomeFileError),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    alias: BTreeMap<String, String>,
}

/// The file of a home's aliases.
#[derive(Debug, Clone)]
pub(crate) struct AliasFile(HomeFile);

impl AliasFile {
    /// The one of `home`, which need not be there.
    pub(crate) fn of(home: &Home) -> Self {
        Self(HomeFile::new(home.state_dir().join("aliases.toml")))
    }

    /// What it says.
    pub(crate) fn read(&self) -> Result<ImageAliases, AliasError> {
        let text = match fs::read_to_string(self.0.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.0.io("read", error).into()),
        };
        let table: Table = toml::from_str(&text).map_err(|source| AliasError::Parse {
            path: self.0.path().to_owned(),
            source: Box::new(source),
        })?;
        Ok(ImageAliases::new(table.alias)?)
    }

    /// Changes it, whole or not at all.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(ImageAliases) -> Result<ImageAliases, AliasError>,
    ) -> Result<(), AliasError> {
        let turn = self.0.take_turn()?;
        let changed = change(self.read()?)?;
        let alias = changed.iter().map(|(name, target)| (name.to_owned(), target.to_owned())).collect();
        let text =
            toml::to_string(&Table { alias }).map_err(|error| self.0.io("write", io::Error::other(error)))?;
        Ok(self.0.replace(&turn, text.as_bytes())?)
    }
}
