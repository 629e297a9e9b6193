//! What can go wrong on the way between the store and a file.

use std::io;
use std::path::PathBuf;

use ebbtide_archive::ArchiveError;
use thiserror::Error;

use crate::{ImageError, Platform};

/// Why an image could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// Something could not be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// What.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It is no archive of any kind.
    #[error(
        "{archive} is {found}; what can be loaded is an OCI layout, an OCI or Docker archive, or a tar of a root file \
         system, also compressed with gzip or zstd"
    )]
    NotAnArchive {
        /// What was to be loaded.
        archive: String,
        /// What it looks like.
        found: &'static str,
    },
    /// The directory is no OCI layout.
    #[error(
        "{} is a directory and no OCI layout (it has no file oci-layout); if it is a root file system: --from-rootfs",
        directory.display()
    )]
    NotALayout {
        /// The directory.
        directory: PathBuf,
    },
    /// The archive contradicts itself, or breaks off.
    #[error("{archive} is damaged or was not made for this: {problem}")]
    Malformed {
        /// What was to be loaded.
        archive: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that the archive names is not in it.
    #[error("{archive} is incomplete: {path} is not in it; make the archive again")]
    Missing {
        /// What was to be loaded.
        archive: String,
        /// The file.
        path: String,
    },
    /// An image for other machines.
    #[error("{archive} holds no image for {wanted}, only for {}", found.join(", "))]
    NoPlatform {
        /// What was to be loaded.
        archive: String,
        /// What this machine runs.
        wanted: Platform,
        /// What there is.
        found: Vec<String>,
    },
    /// Nobody has said what the image is to be called.
    #[error("{archive} does not say what its image is called; give it a name: ebb image load {archive} NAME")]
    NoName {
        /// What was to be loaded.
        archive: String,
    },
    /// One name for several images.
    #[error("{archive} holds {count} images, which cannot all have one name; leave the name out")]
    SeveralImages {
        /// What was to be loaded.
        archive: String,
        /// How many.
        count: usize,
    },
    /// More than is allowed.
    #[error("{what} is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The directory could not be packed.
    #[error("cannot pack {}: {source}", directory.display())]
    Pack {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: ArchiveError,
    },
    /// The directory or the file was written to while it was read.
    #[error("{what} changed while it was read; try again when nobody writes to it")]
    Changed {
        /// What.
        what: String,
    },
}

impl LoadError {
    pub(super) fn read(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Read { what: what.into(), source: source.into() }
    }
}

/// Why an image could not be saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// The image went away before it could be held.
    #[error("the image {name} was removed meanwhile")]
    Gone {
        /// Its name.
        name: String,
    },
    /// What is kept is not what came.
    #[error("the store is damaged: {digest} has another content; remove the image and bring it again")]
    Damaged {
        /// What is damaged.
        digest: String,
    },
    /// What is kept cannot be understood.
    #[error("the {what} of the image cannot be understood: {problem}")]
    Malformed {
        /// Its manifest or its configuration.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The file could not be written.
    #[error("cannot write the archive: {0}")]
    Write(#[from] io::Error),
}
