//! An image on its way into the store.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oci_spec::image::{Descriptor, ImageManifest};
use rustix::fs::{XattrFlags, fsetxattr, syncfs};

use super::draft::Draft;
use super::record::{Record, Source, source, write_source};
use super::stack::Stack;
use super::{BlobWriter, Paths, Store};
use crate::error::Doing as _;
use crate::room::Room;
use crate::{Digest, Image, ImageError, ImageName, Layer, Origin, config, layer};

/// What a layer's directory says of itself: how many bytes it takes on the disk, and whether it hides all below it. The
/// layer itself cannot say so: it sets no attribute of this kind.
const FACTS: &str = "trusted.ebbtide.layer";

/// A pull or a load. As long as it is there, nothing is collected.
///
/// Several threads may use it at once.
#[derive(Debug)]
pub struct Ingest {
    pub(super) store: Store,
    pub(super) _lock: File,
    pub(super) spent: AtomicU64,
    pub(super) given_up: AtomicBool,
}

/// A file of the store's disk that nobody else sees.
pub(crate) struct Scratch {
    file: File,
    tmp: PathBuf,
    room: Room,
}

impl Scratch {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.room.take(0, bytes.len() as u64, &self.file)?;
        self.file.write_all(bytes).doing("write to a file in", &self.tmp)
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

impl Ingest {
    /// A file without a name, which goes with its last descriptor, whatever becomes of this process.
    pub(crate) fn scratch(&self) -> Result<Scratch, ImageError> {
        let tmp = self.paths().tmp();
        let file = tempfile::tempfile_in(&tmp).doing("make a file in", &tmp)?;
        let room = Room::new(self.store.limits().min_free_bytes, tmp.clone());
        Ok(Scratch { file, tmp, room })
    }

    /// Whether a blob is in the store.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.paths().blob(digest).is_file()
    }

    /// A writer for a blob, which has `size` bytes if that is known. One writes a blob at a time, on this machine;
    /// others wait for it as long as it makes progress. If the blob is in the store by then the writer says so.
    ///
    /// # Errors
    /// When the blob is too large, or another writer of it makes no progress.
    pub fn blob(&self, digest: &Digest, size: Option<u64>) -> Result<BlobWriter, ImageError> {
        BlobWriter::open(self.paths(), self.store.limits(), *digest, size, &self.given_up)
    }

    /// Nobody wants it any more: what waits or unpacks in other threads fails soon.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Unpacks a layer whose blob is in the store, unless that has been done. `progress` is told how many of the blob's
    /// bytes have been read.
    ///
    /// # Errors
    /// When the layer is not what `diff_id` says, may not be unpacked, or cannot be; nothing of it stays then.
    pub fn unpack(
        &self,
        layer_blob: &Digest,
        diff_id: &Digest,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Layer, ImageError> {
        let blob = self.store.blob(layer_blob)?;
        let bytes = blob.metadata().doing("look at", self.paths().blob(layer_blob))?.len();
        let layer = Layer { blob: *layer_blob, diff_id: *diff_id, id: diff_id.short(), bytes };
        let place = self.paths().layers().join(&layer.id);
        if place.is_dir() {
            progress(bytes);
            return Ok(layer);
        }
        let draft = Draft::directory(&self.paths().tmp(), "layer")?;
        let (unpacked, actual) = {
            let limits = self.store.limits();
            layer::unpack_blob(blob, draft.path(), limits, &self.spent, &self.given_up, progress)?
        };
        if actual != *diff_id {
            return Err(ImageError::Mismatch { what: "the unpacked layer", expected: *diff_id, actual });
        }
        if unpacked.skipped > 0 || unpacked.dropped_xattrs > 0 {
            tracing::info!(
                layer = %diff_id, devices = unpacked.skipped, attributes = unpacked.dropped_xattrs,
                "left out of a layer"
            );
        }
        let facts = Facts { bytes: unpacked.bytes, hides_below: unpacked.hides_below };
        facts.write(draft.path())?;
        draft.place(&place)?;
        Ok(layer)
    }

    /// Makes an image of what is there: its manifest, its configuration and its layers, unpacked. Only now can it be
    /// found, and only once all of it is on the disk.
    ///
    /// # Errors
    /// When something of it is missing or malformed.
    pub fn finish(
        &self,
        manifest: &Digest,
        names: &[ImageName],
        origin: Origin,
        private_to: Option<String>,
    ) -> Result<Image, ImageError> {
        let came = Source { origin, private_to };
        let paths = self.paths();
        let known = Record::read(paths, manifest)?;
        let is_new = known.is_none();
        let record = known.map_or_else(|| self.record(manifest), |(record, _)| Ok(record))?;
        let merged = self.merge(&Stack::of(&record.layers, record.hidden))?;
        if is_new || merged.is_some() {
            let layers = paths.layers();
            let file_system = File::open(&layers).doing("open", &layers)?;
            syncfs(file_system).doing("write back", &layers)?;
        }
        merged.map_or(Ok(()), |merged| merged.place(paths))?;
        if is_new {
            write_source(paths, manifest, &came)?;
            record.write(paths, manifest)?;
        } else {
            let known = source(paths, manifest)?;
            let came = known.clone().and(came);
            if came != known {
                write_source(paths, manifest, &came)?;
            }
        }
        for name in names {
            self.store.names().set(name, manifest)?;
        }
        self.store.image(manifest)?.ok_or(ImageError::Missing { what: "image", digest: *manifest })
    }

    fn record(&self, manifest: &Digest) -> Result<Record, ImageError> {
        let limits = self.store.limits();
        let json = self.document(manifest)?;
        let mut bytes = json.len() as u64;
        let document: ImageManifest = serde_json::from_slice(&json)
            .map_err(|error| ImageError::malformed("the image's manifest", error))?;
        if document.layers().len() > limits.max_layers {
            let most = limits.max_layers as u64;
            return Err(ImageError::TooLarge { what: "layers", most, setting: "max_layers" });
        }
        let config_digest = digest_of(document.config())?;
        let json = self.document(&config_digest)?;
        bytes += json.len() as u64;
        let described = config::read(&json)?;
        if described.diff_ids.len() != document.layers().len() {
            return Err(ImageError::malformed(
                "the image's configuration",
                "it does not have as many layers as the manifest",
            ));
        }
        let mut layers = Vec::new();
        let mut hidden = 0;
        for (descriptor, diff_id) in document.layers().iter().zip(&described.diff_ids) {
            let blob = digest_of(descriptor)?;
            let size = self.store.blob(&blob)?.metadata().doing("look at", self.paths().blob(&blob))?.len();
            let layer = Layer { blob, diff_id: *diff_id, id: diff_id.short(), bytes: size };
            let place = self.paths().layers().join(&layer.id);
            if !place.is_dir() {
                return Err(ImageError::Missing { what: "unpacked layer", digest: *diff_id });
            }
            if Facts::read(&place)?.hides_below {
                hidden = layers.len();
            }
            layers.push(layer);
            bytes += size;
        }
        let config::Described { config, platform, created, .. } = described;
        Ok(Record { config_digest, config, platform, layers, bytes, created, hidden })
    }

    /// A blob that is a document.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let most = self.store.limits().max_manifest_bytes;
        let mut json = Vec::new();
        let blob = self.store.blob(digest)?;
        blob.take(most + 1).read_to_end(&mut json).doing("read", self.paths().blob(digest))?;
        if json.len() as u64 > most {
            return Err(ImageError::TooLarge {
                what: "bytes of a manifest or configuration",
                most,
                setting: "max_manifest_bytes",
            });
        }
        Ok(json)
    }

    pub(super) fn paths(&self) -> &Paths {
        self.store.paths()
    }
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, ImageError> {
    descriptor.digest().as_ref().parse()
}

/// What is known of an unpacked layer.
pub(super) struct Facts {
    pub(super) bytes: u64,
    pub(super) hides_below: bool,
}

impl Facts {
    pub(super) fn write(&self, directory: &std::path::Path) -> Result<(), ImageError> {
        let value = format!("{} {}", self.bytes, u8::from(self.hides_below));
        let file = File::open(directory).doing("open", directory)?;
        fsetxattr(file, FACTS, value.as_bytes(), XattrFlags::empty()).doing("set an attribute of", directory)
    }

    pub(super) fn read(directory: &std::path::Path) -> Result<Self, ImageError> {
        let mut value = [0; 64];
        let length = match rustix::fs::lgetxattr(directory, FACTS, &mut value) {
            Ok(length) => length,
            // The layers that lie under and over all others have none.
            Err(rustix::io::Errno::NODATA) => 0,
            Err(errno) => return Err(errno).doing("read an attribute of", directory),
        };
        let value = String::from_utf8_lossy(&value[..length]).into_owned();
        let (bytes, hides) = value.split_once(' ').unwrap_or(("0", "0"));
        Ok(Self { bytes: bytes.parse().unwrap_or(0), hides_below: hides == "1" })
    }
}

/// Whether an error says that something is not there.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

pub(super) fn open_blob(paths: &Paths, digest: &Digest) -> Result<File, ImageError> {
    let path = paths.blob(digest);
    match fs::File::open(&path) {
        Ok(file) => Ok(file),
        Err(error) if is_gone(&error) => Err(ImageError::Missing { what: "blob", digest: *digest }),
        Err(error) => Err(error).doing("open", path),
    }
}
