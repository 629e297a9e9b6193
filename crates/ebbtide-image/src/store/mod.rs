//! The images of a home, by content.
//!
//! ```text
//! blobs/sha256/HEX    manifests, configurations and layers, as they came
//! layers/ID           an unpacked layer, for all images that have it; `base` and `cover` go around them
//! layers/merged-ID    all of these of an image of many layers as one
//! images/HEX          the record of an image: there once all of it is on the disk; the lock of those who use it
//! images/HEX.source   how it came
//! names/NAME          what a name stands for
//! tmp/                what is half-made; its lock says whether anybody is still at it
//! lock                shared: somebody puts something in; exclusive: somebody collects
//! boot                which boot of the machine the blobs and layers of no image are from
//! ```
//!
//! Blobs and layers come into their place by a rename, after they have been checked, and are never changed. They are
//! known to be on the disk once an image has them; those that no image has are not trusted after a reboot.

mod blob;
mod collect;
mod draft;
mod held;
mod ingest;
mod known;
mod lock;
mod names;
mod record;
mod skeleton;
mod stack;
mod sweep;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use self::known::Known;
use self::lock::{Mode, is_linked};
use self::names::Names;
use self::record::{Record, Source, source};
use crate::error::Doing as _;
use crate::{Digest, Image, ImageError, ImageName, Limits};

pub use self::blob::BlobWriter;
pub use self::collect::{Collect, Collected};
pub use self::held::HeldImage;
pub use self::ingest::Ingest;

/// How long to wait for somebody who collects.
const COLLECTOR: Duration = Duration::from_secs(60);

/// The images of a home. Clones are the same store.
///
/// All of its calls may wait for the disk, some for another process.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    paths: Paths,
    limits: Limits,
    names: Names,
    known: Known,
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Paths(PathBuf);

impl Paths {
    fn blobs(&self) -> PathBuf {
        self.0.join("blobs/sha256")
    }
    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }
    fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }
    fn records(&self) -> PathBuf {
        self.0.join("images")
    }
    fn record(&self, digest: &Digest) -> PathBuf {
        self.records().join(digest.hex())
    }
    fn source(&self, digest: &Digest) -> PathBuf {
        self.records().join(format!("{}.source", digest.hex()))
    }
    fn names(&self) -> PathBuf {
        self.0.join("names")
    }
    fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }
    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    fn boot(&self) -> PathBuf {
        self.0.join("boot")
    }
}

impl Store {
    /// Opens the store in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or used.
    pub fn open(directory: impl Into<PathBuf>, limits: Limits) -> Result<Self, ImageError> {
        let paths = Paths(directory.into());
        let make =
            |path: &Path, mode| DirBuilder::new().recursive(true).mode(mode).create(path).doing("make", path);
        make(&paths.0, 0o700)?;
        for directory in [paths.blobs(), paths.layers(), paths.records(), paths.names(), paths.tmp()] {
            make(&directory, 0o700)?;
        }
        let store = Self {
            inner: Arc::new(Inner {
                names: Names::new(paths.names(), paths.tmp()),
                known: Known::default(),
                paths,
                limits,
            }),
        };
        store.sweep()?;
        skeleton::make(store.paths())?;
        Ok(store)
    }

    /// The image that a name stands for. A name with a digest stands for the image of that manifest, or of the index
    /// that it came from.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(&self, name: &ImageName) -> Result<Option<Image>, ImageError> {
        let named = self.names().get(name)?;
        match named.as_ref().or(name.digest()) {
            Some(digest) => self.image(digest),
            None => Ok(None),
        }
    }

    /// All images, by their digests.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let names = self.names().all()?;
        let mut images = Vec::new();
        for digest in self.digests()? {
            let Some((record, file)) = Record::read(self.paths(), &digest)? else { continue };
            images.push(self.with_rest(record.into_image(digest), &file, &names)?);
        }
        Ok(images)
    }

    /// Holds an image that was found here, so that it stays as long as it is used; `None` if it has gone since.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn hold(&self, image: Image) -> Result<Option<HeldImage>, ImageError> {
        let path = self.paths().record(&image.digest);
        let Some(lock) = record::open(&path)? else { return Ok(None) };
        let what = || format!("the image {}", image.digest);
        lock::lock(&lock, &path, Mode::Shared, lock::within(COLLECTOR), what)?;
        if !is_linked(&lock, &path) {
            // It was collected just now.
            return Ok(None);
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&lock, &Timestamps { last_access: now, last_modification: now }).doing("touch", &path)?;
        let names = stack::mounted(&image, self.paths());
        Ok(Some(HeldImage { image, names, layers: self.paths().layers(), path, _lock: lock }))
    }

    /// Begins to put an image in. Nothing is collected until it is done.
    ///
    /// # Errors
    /// When somebody is collecting, and does not come to an end.
    pub fn begin(&self) -> Result<Ingest, ImageError> {
        let lock = self.turn(Mode::Shared, COLLECTOR)?;
        Ok(Ingest {
            store: self.clone(),
            _lock: lock,
            spent: AtomicU64::default(),
            given_up: AtomicBool::default(),
        })
    }

    /// Lets a name stand for an image.
    ///
    /// # Errors
    /// When the image is not there.
    pub fn tag(&self, name: &ImageName, digest: &Digest) -> Result<(), ImageError> {
        let _turn = self.turn(Mode::Shared, COLLECTOR)?;
        if !self.paths().record(digest).is_file() {
            return Err(ImageError::Missing { what: "image", digest: *digest });
        }
        self.names().set(name, digest)
    }

    /// Takes a name away; whether it was there. The image stays until it is collected.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn untag(&self, name: &ImageName) -> Result<bool, ImageError> {
        self.names().remove(name)
    }

    /// A blob of an image, as it came.
    ///
    /// # Errors
    /// When it is not there.
    pub fn blob(&self, digest: &Digest) -> Result<File, ImageError> {
        ingest::open_blob(self.paths(), digest)
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    fn names(&self) -> &Names {
        &self.inner.names
    }

    /// The image of a manifest.
    fn image(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let path = self.paths().record(digest);
        let Some(file) = record::open(&path)? else { return Ok(None) };
        let read = || Ok(Record::read_from(&file, &path)?.into_image(*digest));
        let image = self.inner.known.get(digest, read)?;
        self.with_rest(Image::clone(&image), &file, &self.names().all()?).map(Some)
    }

    /// An image with what does not follow from its manifest; `file` is its record.
    fn with_rest(
        &self,
        image: Image,
        file: &File,
        names: &[(ImageName, Digest)],
    ) -> Result<Image, ImageError> {
        let Source { origin, private_to } = source(self.paths(), &image.digest)?;
        let last_used = file.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let names =
            names.iter().filter(|(_, of)| *of == image.digest).map(|(name, _)| name.clone()).collect();
        Ok(Image { names, origin, last_used, private_to, ..image })
    }

    /// The manifests of all images.
    fn digests(&self) -> Result<Vec<Digest>, ImageError> {
        let records = self.paths().records();
        let mut digests = Vec::new();
        for entry in fs::read_dir(&records).doing("read", &records)? {
            let name = entry.doing("read", &records)?.file_name();
            digests.extend(name.to_str().and_then(Digest::from_hex));
        }
        digests.sort();
        Ok(digests)
    }

    /// The lock of the whole store.
    fn turn(&self, mode: Mode, bound: Duration) -> Result<File, ImageError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.paths().lock();
        let mut options = File::options();
        let file =
            options.create(true).truncate(false).write(true).mode(0o600).open(&path).doing("open", &path)?;
        lock::lock(&file, &path, mode, lock::within(bound), || "the image store".to_owned())?;
        Ok(file)
    }
}
