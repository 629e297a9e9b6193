//! The names of images: a file for each, whose content is the digest of a manifest.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::draft::write_file;
use crate::error::Doing as _;
use crate::{Digest, ImageError, ImageName};

/// Stands for `/` in the name of a file; no image has it in its name.
const SLASH: &str = "+";

/// How old a change of the directory has to be for its time to tell it from the next one.
const TELLING: Duration = Duration::from_secs(1);

/// Names in order, with what they stand for.
pub(super) type Table = Arc<Vec<(ImageName, Digest)>>;

#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    tmp: PathBuf,
    /// What was there when the directory was changed the last time: each use of an image asks for its names.
    known: Mutex<Option<(SystemTime, Table)>>,
}

impl Names {
    pub(super) fn new(directory: PathBuf, tmp: PathBuf) -> Self {
        Self { directory, tmp, known: Mutex::new(None) }
    }

    /// The digest that a name stands for.
    pub(super) fn get(&self, name: &ImageName) -> Result<Option<Digest>, ImageError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(digest) => digest.trim().parse().map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("read", path),
        }
    }

    pub(super) fn set(&self, name: &ImageName, digest: &Digest) -> Result<(), ImageError> {
        if self.get(name).is_ok_and(|now| now == Some(*digest)) {
            return Ok(());
        }
        write_file(&self.tmp, &self.path(name), digest.to_string().as_bytes())
    }

    /// Whether it was there.
    pub(super) fn remove(&self, name: &ImageName) -> Result<bool, ImageError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).doing("remove", path),
        }
    }

    /// All names.
    pub(super) fn all(&self) -> Result<Table, ImageError> {
        let changed = fs::metadata(&self.directory).and_then(|directory| directory.modified());
        let changed = changed.doing("look at", &self.directory)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, table)) = &*known
            && *then == changed
        {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(self.read()?);
        if SystemTime::now().duration_since(changed).is_ok_and(|age| age > TELLING) {
            *known = Some((changed, Arc::clone(&table)));
        }
        Ok(table)
    }

    /// Reads them. A file that is no name is not looked at.
    fn read(&self) -> Result<Vec<(ImageName, Digest)>, ImageError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory).doing("read", &self.directory)? {
            let entry = entry.doing("read", &self.directory)?;
            let name = entry.file_name().to_str().and_then(|name| name.replace(SLASH, "/").parse().ok());
            if let Some(name) = name
                && let Ok(Some(digest)) = self.get(&name)
            {
                all.push((name, digest));
            }
        }
        all.sort_by_cached_key(|(name, _)| name.to_string());
        Ok(all)
    }

    fn path(&self, name: &ImageName) -> PathBuf {
        self.directory.join(name.deciding().to_string().replace('/', SLASH))
    }
}
