//! Garbage: what nobody has a name for, and nobody uses.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use super::ingest::Facts;
use super::lock::{Mode, is_linked, try_lock};
use super::record::Record;
use super::stack::{BASE, COVER};
use super::{Paths, Store, draft};
use crate::error::Doing as _;
use crate::layer::remove_path;
use crate::{Digest, Image, ImageError, Origin};

/// How long to wait for those who are putting something in.
const INGESTS: Duration = Duration::from_secs(10);

/// What to collect besides images without a name, and blobs and layers of no image. Never an image that is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collect {
    /// Pulled images, too, whether they have a name or not.
    pub all: bool,
    /// Pulled images, too, the least recently used first, until what is left takes no more bytes than this. Images that
    /// were loaded from a file stay as long as they have a name.
    pub max_bytes: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What has gone.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// The images, with the names that they had.
    pub images: Vec<Image>,
    /// How many blobs.
    pub blobs: u64,
    /// How many unpacked layers.
    pub layers: u64,
    /// How many bytes both took on the disk, about.
    pub bytes: u64,
}

impl Store {
    /// Collects garbage.
    ///
    /// # Errors
    /// When somebody is putting an image in and does not come to an end, or the store cannot be read or changed.
    pub fn collect(&self, what: &Collect) -> Result<Collected, ImageError> {
        let turn = self.turn(Mode::Exclusive, INGESTS)?;
        if !what.dry_run {
            self.sweep_drafts(Duration::ZERO)?;
        }
        let mut kept = self.list()?;
        let mut doomed = Vec::new();
        self.doom(&mut kept, &mut doomed, |image| {
            image.names.is_empty() || what.all && image.origin == Origin::Pulled
        })?;
        if let Some(most) = what.max_bytes {
            kept.sort_by_key(|image| std::cmp::Reverse(image.last_used));
            while size(self.paths(), &kept)? > most && self.doom_last(&mut kept, &mut doomed)? {}
        }
        let unused = unused(self.paths(), &kept)?;
        let mut collected = Collected {
            blobs: unused.blobs.len() as u64,
            layers: unused.layers.len() as u64,
            bytes: unused.bytes,
            ..Collected::default()
        };
        let mut gone = Vec::new();
        if !what.dry_run {
            for (image, _) in &doomed {
                self.forget(image)?;
            }
            for (name, digest) in self.names().all()?.iter() {
                if !self.paths().record(digest).is_file() {
                    self.names().remove(name)?;
                }
            }
            let records = self.paths().records();
            File::open(&records).and_then(|records| records.sync_all()).doing("write back", records)?;
            gone = unused.take_away(self.paths())?;
        }
        collected.images = doomed.into_iter().map(|(image, _lock)| image).collect();
        // What is out of its place can go while others work.
        drop(turn);
        for path in gone {
            remove_path(&path).doing("remove", path)?;
        }
        Ok(collected)
    }

    /// Moves those that `is_meant` from the kept to the doomed, with their lock, unless they are in use.
    fn doom(
        &self,
        kept: &mut Vec<Image>,
        doomed: &mut Vec<(Image, File)>,
        is_meant: impl Fn(&Image) -> bool,
    ) -> Result<(), ImageError> {
        for image in std::mem::take(kept) {
            match is_meant(&image).then(|| self.claim(&image.digest)).transpose()?.flatten() {
                Some(lock) => doomed.push((image, lock)),
                None => kept.push(image),
            }
        }
        Ok(())
    }

    /// Moves the last pulled one that is not in use; whether there was one.
    fn doom_last(&self, kept: &mut Vec<Image>, doomed: &mut Vec<(Image, File)>) -> Result<bool, ImageError> {
        for at in (0..kept.len()).rev() {
            if kept[at].origin == Origin::Pulled
                && let Some(lock) = self.claim(&kept[at].digest)?
            {
                doomed.push((kept.remove(at), lock));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The lock of an image that nobody uses.
    fn claim(&self, digest: &Digest) -> Result<Option<File>, ImageError> {
        let path = self.paths().record(digest);
        let Some((_, file)) = Record::read(self.paths(), digest)? else { return Ok(None) };
        let is_ours = try_lock(&file, Mode::Exclusive).doing("lock", &path)? && is_linked(&file, &path);
        Ok(is_ours.then_some(file))
    }

    /// Removes names and record. The names first: a name without an image is an error to whoever uses it, an image
    /// without a name is collected the next time.
    fn forget(&self, image: &Image) -> Result<(), ImageError> {
        for name in &image.names {
            self.names().remove(name)?;
        }
        for path in [self.paths().record(&image.digest), self.paths().source(&image.digest)] {
            remove_path(&path).doing("remove", path)?;
        }
        Ok(())
    }
}

/// How much the images take on the disk: each blob and layer once.
fn size(paths: &Paths, images: &[Image]) -> Result<u64, ImageError> {
    let mut blobs = HashSet::new();
    let mut layers = HashSet::new();
    let mut size = 0;
    for image in images {
        for layer in &image.layers {
            if blobs.insert(layer.blob) {
                size += layer.bytes;
            }
        }
        for name in directories(image) {
            let path = paths.layers().join(&name);
            if path.is_dir() && layers.insert(name) {
                size += Facts::read(&path)?.bytes;
            }
        }
    }
    Ok(size)
}

/// What an image has among the layers: each of its own, and what they are merged in.
fn directories(image: &Image) -> impl Iterator<Item = String> {
    image.layers.iter().map(|layer| layer.id.clone()).chain(image.merged.clone())
}

/// Blobs and layers of no image.
pub(super) struct Unused {
    blobs: Vec<PathBuf>,
    layers: Vec<PathBuf>,
    bytes: u64,
}

/// What none of the images has.
pub(super) fn unused(paths: &Paths, images: &[Image]) -> Result<Unused, ImageError> {
    let mut used_blobs = HashSet::new();
    let mut used_layers = HashSet::from([BASE.to_owned(), COVER.to_owned()]);
    for image in images {
        used_blobs.extend([image.digest.hex(), image.config_digest.hex()]);
        used_blobs.extend(image.layers.iter().map(|layer| layer.blob.hex()));
        used_layers.extend(directories(image));
    }
    let mut unused = Unused { blobs: Vec::new(), layers: Vec::new(), bytes: 0 };
    for path in others(paths.blobs(), &used_blobs)? {
        unused.bytes += fs::symlink_metadata(&path).map_or(0, |blob| blob.len());
        unused.blobs.push(path);
    }
    for path in others(paths.layers(), &used_layers)? {
        unused.bytes += Facts::read(&path)?.bytes;
        unused.layers.push(path);
    }
    Ok(unused)
}

/// What is in a directory besides.
fn others(directory: PathBuf, used: &HashSet<String>) -> Result<Vec<PathBuf>, ImageError> {
    let mut others = Vec::new();
    for entry in fs::read_dir(&directory).doing("read", &directory)? {
        let entry = entry.doing("read", &directory)?;
        if !entry.file_name().to_str().is_some_and(|name| used.contains(name)) {
            others.push(entry.path());
        }
    }
    Ok(others)
}

impl Unused {
    /// Takes it out of its place, in one step each, so that nobody ever finds half of a layer. What is still to be
    /// removed is under `tmp/`; if nobody does, the next sweep does.
    fn take_away(self, paths: &Paths) -> Result<Vec<PathBuf>, ImageError> {
        for path in self.blobs {
            remove_path(&path).doing("remove", path)?;
        }
        let mut gone = Vec::new();
        for path in self.layers {
            let to = draft::unused(&paths.tmp(), "gone");
            fs::rename(&path, &to).doing("take away", path)?;
            gone.push(to);
        }
        Ok(gone)
    }

    pub(super) fn remove(self, paths: &Paths) -> Result<(), ImageError> {
        for path in self.take_away(paths)? {
            remove_path(&path).doing("remove", path)?;
        }
        Ok(())
    }
}
