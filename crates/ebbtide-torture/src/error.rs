//! Why a target cannot be tortured.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a target cannot be tortured. What a target does wrong is no error: it is in the scorecard.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TortureError {
    /// Neither a target that is built in nor a file.
    #[error("{name:?} is no target; name one of {known}, or a file of shell functions")]
    NoSuchTarget {
        /// What was asked for.
        name: String,
        /// Those that are built in.
        known: String,
    },
    /// No case has this name.
    #[error("no case is called {name:?}; those there are: {known}")]
    NoSuchCase {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The target says that it cannot be used here.
    #[error("{target} is not installed or cannot be used here: {detail}")]
    Unusable {
        /// The target.
        target: String,
        /// Its words.
        detail: String,
    },
    /// Looking at every process and mount needs root.
    #[error("the suite looks at every process and every mount of the host, which needs root")]
    NeedsRoot,
    /// The file of a target cannot be read.
    #[error("cannot read the target {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something to the suite itself.
    #[error("the suite could not {step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A stop was asked for.
    #[error("the suite was interrupted; what it had made is removed")]
    Interrupted,
}

impl TortureError {
    /// Maps a refusal of the kernel in `step`.
    pub(crate) fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }
}
