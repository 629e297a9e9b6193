//! What is wrong with a home, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Why a home cannot be used.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The directory belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you (user {caller}); set EBBTIDE_HOME to a directory of your own", path.display())]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        caller: u32,
    },
    /// The directory holds other things, and is open to other users.
    #[error("{} is in use for something else and open to other users; set EBBTIDE_HOME to a new or empty directory", path.display())]
    NotAHome {
        /// The directory.
        path: PathBuf,
    },
    /// The path names something that is no directory.
    #[error("{} is not a directory; set EBBTIDE_HOME to a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The id file does not hold an id.
    #[error("{} does not hold the id of a home; if its sandboxes are gone (ebb doctor), remove the file", path.display())]
    CorruptId {
        /// The id file.
        path: PathBuf,
    },
    /// No place for a home is known for this user.
    #[error("there is no place for a home: neither EBBTIDE_HOME nor HOME is set; set EBBTIDE_HOME")]
    NoPlace,
    /// The kernel refused.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Arc<io::Error>,
    },
}

impl HomeError {
    pub(crate) fn io(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { step, path: path.to_owned(), source: Arc::new(source.into()) }
    }
}
