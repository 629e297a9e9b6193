//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Digest;

/// Why an image could not be stored, found or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The kernel refused something about the store itself.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Not the name of an image.
    #[error(
        "{name:?} is no name of an image: {problem}; a name is [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGEST]"
    )]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Not a digest that is understood.
    #[error("{text:?} is no digest that is understood; it has to be sha256: and 64 hexadecimal digits")]
    Digest {
        /// What was given.
        text: String,
    },
    /// Content that is not what its digest says.
    #[error("{what} should have the digest {expected} and has {actual}; it is damaged: get it again")]
    Mismatch {
        /// What has come.
        what: &'static str,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Content that is shorter or longer than was said.
    #[error("the blob {digest} should have {expected} bytes and has {actual}; get it again")]
    Size {
        /// Which.
        digest: Digest,
        /// What was said.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// A document or archive that is not in its format.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// Which.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry of a layer that may not be unpacked.
    #[error("the layer's entry {path:?} {problem}; the image is refused")]
    Refused {
        /// The entry, as the layer has it.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry of a layer that the kernel does not take.
    #[error("cannot unpack the layer's entry {path:?}: {source}")]
    Entry {
        /// The entry, as the layer has it.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// More than the bounds allow.
    #[error(
        "the image is refused: {what} past the bound of {most}; raise {setting} under [images.limits] to take it"
    )]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        most: u64,
        /// The setting that says so.
        setting: &'static str,
    },
    /// The disk would be full.
    #[error(
        "no room for the image: {free} bytes are free at {}, of which {reserve} have to stay so; make room (`ebb image gc`)",
        path.display()
    )]
    NoRoom {
        /// What is free now.
        free: u64,
        /// What stays free.
        reserve: u64,
        /// Where.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("cannot {step} {}: {source}; make room on that disk (`ebb image gc`)", path.display())]
    Full {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody else is at it, and did not come to an end.
    #[error("{what} is busy with another process; try again later")]
    Busy {
        /// What was waited for.
        what: String,
    },
    /// Something that should be in the store is not.
    #[error("{what} {digest} is not in the image store; pull or load the image again")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        digest: Digest,
    },
}

impl ImageError {
    /// The same of a layer that is unpacked into `into`, where a full disk has nothing to do with the entry.
    pub(crate) fn unpacked_into(self, into: &Path) -> Self {
        match self {
            Self::Entry { source, .. } if is_full(&source) => {
                Self::Full { step: "unpack a layer into", path: into.to_owned(), source }
            }
            other => other,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, problem: impl ToString) -> Self {
        Self::Malformed { what: what.into(), problem: problem.to_string() }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says what was being done when the kernel refused.
pub(crate) trait Doing<T> {
    fn doing(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, ImageError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, ImageError> {
        self.map_err(|error| {
            let (path, source) = (path.into(), error.into());
            if is_full(&source) {
                ImageError::Full { step, path, source }
            } else {
                ImageError::Io { step, path, source }
            }
        })
    }
}
