//! New content for a file: beside it under another name, and in its place once all of it is there.
//!
//! So a reader sees the old file or the new one, and a write that is cut off, or does not fit the disk, leaves the old
//! one. The price is that another hard link to the old file keeps the old content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ebbtide_driver::{FileErrorKind, WriteOptions};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawMode, Stat, Uid, fchmod, fchown, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::lookup::{self, Place};
use super::{Stop, opened};
use crate::protocol::{self, Commit};

const NEW_FILE: u32 = 0o644;
/// How many names are tried for what is not complete yet.
const NAMES: u32 = 64;

/// Takes new content for a file; answers how many bytes it has.
pub(super) fn write(
    path: &str,
    options: WriteOptions,
    control: &OwnedFd,
    content: File,
) -> Result<u64, Stop> {
    let place = lookup::place(Path::new(path))?;
    writable(&place)?;
    let mut draft = Draft::new(&place)?;
    opened(control, 0, 0)?;
    // One more than was announced is enough to know.
    let most = options.size.map_or(u64::MAX, |size| size.saturating_add(1));
    let found = io::copy(&mut content.take(most), &mut draft.file)?;
    if let Some(max) = options.size.filter(|size| found > *size) {
        return Err(FileErrorKind::TooLarge { size: None, max }.into());
    }
    // Not that the daemon was killed: the pipe ends then, too, and nothing more is said.
    let (Commit { bytes }, _) = protocol::receive(control).map_err(|_| Stop::Abandoned)?;
    let expected = options.size.unwrap_or(bytes);
    if found != expected || found != bytes {
        return Err(FileErrorKind::Truncated { expected, found: found.min(bytes) }.into());
    }
    draft.put_in_place(options.mode)?;
    Ok(found)
}

/// Writes a file whose content is at hand; answers where it is.
pub(crate) fn put(path: &str, content: &mut impl Read, mode: u32) -> Result<Place, Stop> {
    let place = lookup::place(Path::new(path))?;
    writable(&place)?;
    let mut draft = Draft::new(&place)?;
    io::copy(content, &mut draft.file)?;
    draft.put_in_place(Some(mode))?;
    drop(draft);
    Ok(place)
}

/// Refuses what may not be replaced: what is no regular file, is mounted read-only, or is somebody else's.
fn writable(place: &Place) -> Result<(), Stop> {
    let Some(existing) = &place.existing else { return Ok(()) };
    lookup::regular(existing)?;
    match lookup::open(&place.directory, &place.name, OFlags::WRONLY | OFlags::NOFOLLOW) {
        // A program that runs keeps its old file.
        Ok(_) | Err(Errno::TXTBSY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A file that is being written, in the directory that it is for. Removed unless it is put in its place.
struct Draft<'a> {
    place: &'a Place,
    file: File,
    name: Option<PathBuf>,
}

impl<'a> Draft<'a> {
    fn new(place: &'a Place) -> Result<Self, Stop> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..NAMES {
            let name = PathBuf::from(format!(".ebb-{}-{number}", std::process::id()));
            match openat(&place.directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok(Self { place, file: File::from(file), name: Some(name) }),
                // Left by a helper that was killed, under a number that came again.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn put_in_place(&mut self, mode: Option<u32>) -> Result<(), Stop> {
        if let Some(existing) = &self.place.existing {
            keep_owner(&self.file, existing);
        }
        let kept = self.place.existing.as_ref().map_or(NEW_FILE, lookup::permissions);
        // After the owner, for a change of that takes bits away.
        fchmod(&self.file, Mode::from_raw_mode((mode.unwrap_or(kept) & 0o7777) as RawMode))?;
        let Some(name) = self.name.take() else { return Ok(()) };
        renameat(&self.place.directory, &name, &self.place.directory, &self.place.name).map_err(|errno| {
            self.name = Some(name);
            Stop::from(errno)
        })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(&self.place.directory, name, AtFlags::empty());
        }
    }
}

/// Gives the new file to the old one's owner, as far as that is allowed.
fn keep_owner(file: &File, existing: &Stat) {
    let (uid, gid) = (Uid::from_raw(existing.st_uid), Gid::from_raw(existing.st_gid));
    let _ = fchown(file.as_fd(), Some(uid), Some(gid));
}
