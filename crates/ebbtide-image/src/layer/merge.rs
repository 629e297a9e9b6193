//! Layers as one: the directory that overlayfs shows of them, for images of so many that looking through them takes long.
//!
//! Files are further names of the layers' own, so all that comes on the disk is directories. Only where programs insist
//! on files that have one name are they copied.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod,
    fchown, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fsetxattr, fstat, futimens, linkat,
    mkdirat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::budget::Budget;
use super::tree::{WHITEOUT, is_opaque};
use super::unpack::is_taken;
use crate::{ImageError, Limits};

/// Where files have to have one name: cron takes no table, and logrotate no log, that has a second one.
const COPIED: [&str; 3] = ["etc", "var/log", "var/spool"];
/// Those that are larger are none of these.
const MOST_COPIED: u64 = 1 << 20;

/// Merges layers of `store`, the topmost first, into the directory at `into`. Below the last of them is nothing: so no
/// mark of overlayfs is left. Returns how many directories and copies that takes on the disk, in bytes, about.
///
/// # Errors
/// When the kernel refuses, there is more of it than `limits` say of one layer, or it is given up; the directory is then
/// of no use.
pub(crate) fn merge(
    store: &Path,
    layers: &[&str],
    into: &Path,
    limits: &Limits,
    given_up: &AtomicBool,
) -> Result<u64, ImageError> {
    let spent = AtomicU64::new(0);
    let mut merger = Merger {
        store: super::open(store)?,
        into: super::open(into)?,
        layers,
        budget: Budget::new(limits, &spent, into.to_owned()),
        given_up,
        path: Vec::new(),
        bytes: 0,
    };
    merger.all()?;
    Ok(merger.bytes)
}

struct Merger<'a> {
    store: OwnedFd,
    into: OwnedFd,
    layers: &'a [&'a str],
    /// Counts everything that is looked at, not what is made of it: looking is what takes the time.
    budget: Budget<'a>,
    given_up: &'a AtomicBool,
    /// The directory at hand.
    path: Vec<u8>,
    bytes: u64,
}

/// A directory whose own directories are still to be filled.
struct Level {
    path_len: usize,
    /// The layers that show something in it, by number.
    layers: Vec<usize>,
    directories: Vec<CString>,
}

impl Merger<'_> {
    fn all(&mut self) -> Result<(), ImageError> {
        let all: Vec<usize> = (0..self.layers.len()).collect();
        let mut levels = vec![self.fill(&all)?];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path_len);
            let Some(name) = level.directories.pop() else {
                levels.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend(name.to_bytes());
            let next = self.fill(&level.layers)?;
            levels.push(next);
        }
        Ok(())
    }

    /// Fills the directory at hand with what these layers show in it, and with empty directories.
    fn fill(&mut self, layers: &[usize]) -> Result<Level, ImageError> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(self.failed(c"", io::Error::other("it was given up")));
        }
        let into = open_below(&self.into, &self.path).map_err(|errno| self.failed(c"", errno))?;
        let mut level = Level { path_len: self.path.len(), layers: Vec::new(), directories: Vec::new() };
        let mut topmost = None;
        for &layer in layers {
            self.budget.take(0, 0, &into)?;
            let path = [self.layers[layer].as_bytes(), &self.path].join(&b'/');
            let from = match open_below(&self.store, &path) {
                Err(Errno::NOENT) => continue,
                // Something else, or the mark of nothing, hides what is below.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                from => from.map_err(|errno| self.failed(c"", errno))?,
            };
            self.link_all(&from, &into)?;
            level.layers.push(layer);
            // A root is never hidden by the one above: overlayfs shows something of each layer that it is given.
            let is_last =
                !self.path.is_empty() && is_opaque(&from).map_err(|errno| self.failed(c"", errno))?;
            topmost.get_or_insert(from);
            if is_last {
                break;
            }
        }
        level.directories = settle(&into).map_err(|errno| self.failed(c"", errno))?;
        if let Some(topmost) = topmost {
            liken(&into, &topmost).map_err(|errno| self.failed(c"", errno))?;
        }
        self.bytes += 4096;
        Ok(level)
    }

    /// Gives all that is in a directory of a layer its name in the merged one, unless a layer above has that name.
    fn link_all(&mut self, from: &OwnedFd, into: &OwnedFd) -> Result<(), ImageError> {
        let place = Path::new(OsStr::from_bytes(&self.path));
        let is_copied = COPIED.iter().any(|copied| place.starts_with(copied));
        for entry in Dir::read_from(from).map_err(|errno| self.failed(c"", errno))? {
            let entry = entry.map_err(|errno| self.failed(c"", errno))?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let most = if is_copied { MOST_COPIED } else { 0 };
            let made = kind(from, name, entry.file_type()).and_then(|kind| match kind {
                FileType::Directory => mkdirat(into, name, Mode::RWXU).map(|()| 0),
                FileType::RegularFile if most > 0 => copy(from, into, name, most),
                _ => linkat(from, name, into, name, AtFlags::empty()).map(|()| 0),
            });
            let copied = match made {
                Err(Errno::EXIST) => 0,
                made => made.map_err(|errno| self.failed(name, errno))?,
            };
            self.budget.take(copied, copied, into)?;
            self.bytes += copied.next_multiple_of(4096);
        }
        Ok(())
    }

    /// That something at a name in the directory at hand, or with the directory itself, cannot be done.
    fn failed(&self, name: &CStr, error: impl Into<io::Error>) -> ImageError {
        let path =
            Path::new("/").join(OsStr::from_bytes(&self.path)).join(OsStr::from_bytes(name.to_bytes()));
        ImageError::Io { step: "merge the layers'", path, source: error.into() }
    }
}

/// Takes the marks away that have kept what is below from getting a name: nothing is further below. Returns the
/// directories.
fn settle(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        match kind(directory, name, entry.file_type())? {
            FileType::Directory if !is_dot(name) => directories.push(name.to_owned()),
            WHITEOUT => unlinkat(directory, name, AtFlags::empty())?,
            _ => {}
        }
    }
    Ok(directories)
}

/// Copies a file; it is linked if it is larger than `most`. Returns how many bytes have been copied.
fn copy(from: &OwnedFd, into: &OwnedFd, name: &CStr, most: u64) -> rustix::io::Result<u64> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut original = File::from(openat(from, name, flags | OFlags::RDONLY, Mode::empty())?);
    if fstat(&original)?.st_size.cast_unsigned() > most {
        return linkat(from, name, into, name, AtFlags::empty()).map(|()| 0);
    }
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut copy = File::from(openat(into, name, flags | new, Mode::RUSR | Mode::WUSR)?);
    let copied = io::copy(&mut original, &mut copy)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    liken(&copy, &original)?;
    Ok(copied)
}

/// Gives a file the owner, the extended attributes, the mode and the times of another, in this order: each would take
/// something of the next away.
fn liken(file: impl AsFd, model: impl AsFd) -> rustix::io::Result<()> {
    let stat = fstat(&model)?;
    fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    let mut names = vec![0; flistxattr_query(&model)?];
    let length = flistxattr(&model, names.as_mut_slice())?;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_taken(name)) {
        let mut value = vec![0; fgetxattr_query(&model, name)?];
        let length = fgetxattr(&model, name, value.as_mut_slice())?;
        fsetxattr(&file, name, &value[..length], XattrFlags::empty())?;
    }
    fchmod(&file, Mode::from_raw_mode(stat.st_mode))?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.cast_signed()),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
    };
    futimens(&file, &times)
}

fn kind(parent: &OwnedFd, name: &CStr, kind: FileType) -> rustix::io::Result<FileType> {
    // Not every file system says it with the names.
    if kind != FileType::Unknown {
        return Ok(kind);
    }
    Ok(FileType::from_raw_mode(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Opens a directory by a path below another, through no link.
fn open_below(directory: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(directory, path, flags, Mode::empty(), within)
}
