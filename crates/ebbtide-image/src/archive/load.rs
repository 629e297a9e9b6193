//! Recognising what is to be loaded.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, Part};
use super::ingest::Load;
use super::root::{self, RootConfig};
use super::tar_index::{TarError, TarIndex};
use super::{LoadError, Progress, docker, oci, spool};
use crate::{Encoding, Image, ImageName, Platform, Store};

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum LoadSource {
    /// A file, or a directory.
    Path(PathBuf),
    /// What this process is given to read.
    StandardInput,
}

impl LoadSource {
    fn label(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::StandardInput => "standard input".to_owned(),
        }
    }
}

/// Loads every image of an OCI layout (a directory or an archive) or a Docker archive under its own names, or the only one
/// under `name`; or a tar of a root file system under `name`.
///
/// # Errors
/// When it is none of these, is damaged or too large, or says nothing of a name and none is given.
pub fn load(
    store: &Store,
    source: &LoadSource,
    name: Option<&ImageName>,
    progress: Progress<'_>,
) -> Result<Vec<Image>, LoadError> {
    let load = begin(store, source.label(), progress)?;
    if let LoadSource::Path(path) = source
        && fs::metadata(path).map_err(|error| LoadError::read(&load.label, error))?.is_dir()
    {
        let files = Files::directory(path)?;
        if !is_layout(&files)? {
            return Err(LoadError::NotALayout { directory: path.clone() });
        }
        return from_layout(&load, &files, name);
    }
    let part = open(&load, source)?;
    let plain = match spool::encoding(&part, &load.label)? {
        Encoding::Plain => part.clone(),
        Encoding::Gzip | Encoding::Zstd => {
            let most = load.limits.max_unpacked_bytes;
            let mut plain = spool::decoded(&part, &load.label)?;
            spool::spool(&load.ingest, &mut *plain, &load.label, most, progress)?
        }
    };
    let index = index(&load, &plain)?;
    let stray = index.stray().map(|path| format!("the entry {path:?} leads out of it"));
    let files = Files::tar(load.label.clone(), index);
    let is_layout = is_layout(&files)?;
    if !is_layout && files.find(docker::MANIFEST)?.is_none() {
        let name = name.ok_or_else(|| LoadError::NoName { archive: load.label.clone() })?;
        return Ok(vec![root::from_tar(&load, &part, name, &RootConfig::default())?]);
    }
    if let Some(problem) = stray {
        return Err(load.malformed(problem));
    }
    if is_layout {
        return from_layout(&load, &files, name);
    }
    let found = docker::find(&load, &files)?;
    let names = names(&load, found.iter().map(|found| found.names.as_slice()).collect(), name)?;
    found.iter().zip(names).map(|(found, names)| docker::load(&load, &files, found, &names)).collect()
}

/// Loads a tar of a root file system, plain or compressed, as an image of one layer.
///
/// # Errors
/// When it is none, or too large, or holds what no layer may hold.
pub fn load_tar(
    store: &Store,
    source: &LoadSource,
    name: &ImageName,
    config: &RootConfig,
    progress: Progress<'_>,
) -> Result<Image, LoadError> {
    let load = begin(store, source.label(), progress)?;
    let part = open(&load, source)?;
    if let Encoding::Plain = spool::encoding(&part, &load.label)? {
        index(&load, &part)?;
    }
    root::from_tar(&load, &part, name, config)
}

/// Loads a directory as an image of one layer, with the owners, times and extended attributes of its files.
///
/// # Errors
/// When it cannot be read, changes meanwhile, or is too large.
pub fn load_directory(
    store: &Store,
    directory: &Path,
    name: &ImageName,
    config: &RootConfig,
    progress: Progress<'_>,
) -> Result<Image, LoadError> {
    let load = begin(store, directory.display().to_string(), progress)?;
    root::from_directory(&load, directory, name, config)
}

fn begin<'a>(store: &Store, label: String, progress: Progress<'a>) -> Result<Load<'a>, LoadError> {
    let (ingest, limits) = (store.begin()?, store.limits().clone());
    Ok(Load { label, ingest, limits, platform: Platform::of_this_machine(), progress })
}

fn from_layout(load: &Load<'_>, files: &Files, name: Option<&ImageName>) -> Result<Vec<Image>, LoadError> {
    let found = oci::find(load, files)?;
    let names = names(load, found.iter().map(|found| found.names.as_slice()).collect(), name)?;
    found.iter().zip(names).map(|(found, names)| oci::load(load, files, found, &names)).collect()
}

fn is_layout(files: &Files) -> Result<bool, LoadError> {
    Ok(files.find("oci-layout")?.is_some() && files.find("index.json")?.is_some())
}

/// What each image is to be called.
fn names(
    load: &Load<'_>,
    own: Vec<&[ImageName]>,
    given: Option<&ImageName>,
) -> Result<Vec<Vec<ImageName>>, LoadError> {
    match given {
        Some(name) if own.len() == 1 => Ok(vec![vec![name.clone()]]),
        Some(_) => Err(LoadError::SeveralImages { archive: load.label.clone(), count: own.len() }),
        None if own.iter().any(|names| names.is_empty()) => {
            Err(LoadError::NoName { archive: load.label.clone() })
        }
        None => Ok(own.into_iter().map(<[_]>::to_vec).collect()),
    }
}

/// The file itself, or what a pipe brings in a file that can be read again.
fn open(load: &Load<'_>, source: &LoadSource) -> Result<Part, LoadError> {
    let read = |error: io::Error| LoadError::read(&load.label, error);
    let most = load.limits.max_unpacked_bytes;
    let mut file = match source {
        LoadSource::StandardInput => {
            return spool::spool(&load.ingest, &mut io::stdin().lock(), &load.label, most, load.progress);
        }
        LoadSource::Path(path) => File::open(path).map_err(read)?,
    };
    let metadata = file.metadata().map_err(read)?;
    if metadata.is_file() {
        return Ok(Part::new(Arc::new(file), 0, metadata.len()));
    }
    spool::spool(&load.ingest, &mut file, &load.label, most, load.progress)
}

fn index(load: &Load<'_>, plain: &Part) -> Result<TarIndex, LoadError> {
    let none = |found| LoadError::NotAnArchive { archive: load.label.clone(), found };
    let index = TarIndex::read(plain.file()).map_err(|error| match error {
        TarError::NotTar => none(spool::looks_like(plain)),
        TarError::Broken(problem) => load.malformed(problem),
        TarError::Io(error) => LoadError::read(&load.label, error),
    })?;
    if index.is_empty() { Err(none("an archive that holds nothing")) } else { Ok(index) }
}
