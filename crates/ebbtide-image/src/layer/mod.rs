//! Layers: tar streams, compressed or not, that become directories.
//!
//! Whoever made an image is not trusted: nothing is made, changed or linked to outside of the directory, whatever the
//! stream says, and what it takes of time and disk is bounded.

mod budget;
mod chunks;
mod encoding;
mod entries;
mod merge;
mod pax;
mod remove;
mod sparse;
mod tree;
mod unpack;

use std::fs::File;
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::fs::{CWD, Mode, OFlags, openat};

use self::budget::Budget;
use self::entries::Entries;
use self::unpack::Unpacker;
use crate::error::Doing as _;
use crate::{Digest, ImageError, Limits};

pub use self::encoding::Encoding;
pub(crate) use self::encoding::decoder;
pub(crate) use self::merge::merge;
pub(crate) use self::remove::remove_path;

/// What a layer has become.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// How many files, directories and links it has.
    pub entries: u64,
    /// How many bytes they take on a disk, about.
    pub bytes: u64,
    /// How many devices were left out.
    pub skipped: u64,
    /// Some of those.
    pub skipped_paths: Vec<PathBuf>,
    /// How many extended attributes were left out.
    pub dropped_xattrs: u64,
    /// Whether the layers below it show nothing at all.
    pub hides_below: bool,
}

/// Unpacks a tar stream into the directory at `into`, in the form that overlayfs takes as a lower layer.
///
/// # Errors
/// At the first entry that may not be unpacked or cannot be; what came before it stays. The directory is then of no use.
pub fn unpack(stream: &mut dyn BufRead, into: &Path, limits: &Limits) -> Result<Unpacked, ImageError> {
    let spent = AtomicU64::new(0);
    let budget = Budget::new(limits, &spent, into.to_owned());
    Unpacker::new(open(into)?, budget).all(&mut Entries::new(stream))
}

/// Unpacks a layer as it came, and says what the tar stream's digest is. `spent` sums up the bytes of the image's layers;
/// `given_up` ends it.
pub(crate) fn unpack_blob(
    blob: File,
    into: &Path,
    limits: &Limits,
    spent: &AtomicU64,
    given_up: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Unpacked, Digest), ImageError> {
    let budget = Budget::new(limits, spent, into.to_owned());
    let unpacker = Unpacker::new(open(into)?, budget);
    std::thread::scope(|scope| {
        let (maker, chunks) = chunks::chunks();
        std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn_scoped(scope, move || maker.pass(encoding::decoder(blob, progress), given_up))
            .doing("start a thread to decompress into", into)?;
        let mut entries = Entries::new(chunks);
        let unpacked = unpacker.all(&mut entries).map_err(|error| error.unpacked_into(into))?;
        Ok((unpacked, entries.into_inner().digest()))
    })
}

fn open(directory: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty()).doing("open", directory)
}
