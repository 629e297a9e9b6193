//! What the store knows of an image.
//!
//! The record follows from the manifest alone and never changes: it is the lock of those who use the image, and a file
//! that is replaced is no lock. What can change lies beside it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::draft::write_file;
use super::stack::Stack;
use crate::error::Doing as _;
use crate::{Digest, Image, ImageConfig, ImageError, Layer, Origin};

/// What follows from the manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) config_digest: Digest,
    pub(super) config: ImageConfig,
    pub(super) platform: String,
    pub(super) layers: Vec<Layer>,
    pub(super) bytes: u64,
    pub(super) created: Option<String>,
    /// How many of the layers at the bottom do not show, since one above hides all below it.
    #[serde(default)]
    pub(super) hidden: usize,
}

/// How the image came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) private_to: Option<String>,
}

impl Source {
    /// How an image came that has come twice: loaded once, it may be the only copy of something; public once, it is no
    /// secret.
    pub(super) fn and(self, later: Self) -> Self {
        let origin = if self.origin == Origin::Loaded { self.origin } else { later.origin };
        Self { origin, private_to: self.private_to.and(later.private_to) }
    }
}

impl Record {
    /// The digest's record, and the file it is in; `None` if there is none.
    pub(super) fn read(paths: &Paths, digest: &Digest) -> Result<Option<(Self, File)>, ImageError> {
        let path = paths.record(digest);
        let Some(file) = open(&path)? else { return Ok(None) };
        Ok(Some((Self::read_from(&file, &path)?, file)))
    }

    /// The record that is in a file, which is called `path`.
    pub(super) fn read_from(mut file: &File, path: &Path) -> Result<Self, ImageError> {
        let mut json = Vec::new();
        file.read_to_end(&mut json).doing("read", path)?;
        parse(&json, path)
    }

    pub(super) fn write(&self, paths: &Paths, digest: &Digest) -> Result<(), ImageError> {
        write_json(paths, &paths.record(digest), self)
    }

    /// The image as far as it follows from the manifest.
    pub(super) fn into_image(self, digest: Digest) -> Image {
        let merged = Stack::of(&self.layers, self.hidden).merged();
        let Self { config_digest, config, platform, layers, bytes, created, hidden } = self;
        Image {
            digest,
            config_digest,
            names: Vec::new(),
            config,
            platform,
            layers,
            bytes,
            origin: Origin::Loaded,
            created,
            last_used: SystemTime::UNIX_EPOCH,
            private_to: None,
            hidden,
            merged,
        }
    }
}

/// The file of a record; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, ImageError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("open", path),
    }
}

/// How an image came. Without a record of that it is kept like one that was loaded.
pub(super) fn source(paths: &Paths, digest: &Digest) -> Result<Source, ImageError> {
    let path = paths.source(digest);
    match fs::read(&path) {
        Ok(json) => parse(&json, &path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Source { origin: Origin::Loaded, private_to: None })
        }
        Err(error) => Err(error).doing("read", path),
    }
}

pub(super) fn write_source(paths: &Paths, digest: &Digest, source: &Source) -> Result<(), ImageError> {
    write_json(paths, &paths.source(digest), source)
}

fn write_json(paths: &Paths, at: &Path, value: &impl Serialize) -> Result<(), ImageError> {
    let json = serde_json::to_vec_pretty(value).map_err(|error| ImageError::malformed("a record", error))?;
    write_file(&paths.tmp(), at, &json)
}

fn parse<T: DeserializeOwned>(json: &[u8], path: &Path) -> Result<T, ImageError> {
    serde_json::from_slice(json).map_err(|error| {
        ImageError::malformed(format!("the record {} (remove it to forget the image)", path.display()), error)
    })
}
