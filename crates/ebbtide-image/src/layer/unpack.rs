//! The entries of a layer as files, whoever wrote the layer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::Unpacked;
use super::budget::Budget;
use super::entries::{Entries, Entry, Kind};
use super::sparse::Piece;
use super::tree::{EntryPath, MOST_PATH, Tree, Was, make_opaque, open_directory, refused};
use crate::ImageError;

/// What marks a name that the layers below have and this one has not.
const WHITEOUT: &[u8] = b".wh.";
/// What marks a directory of which the layers below show nothing.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other marks, of a file system that is no more.
const OTHER_MARKS: &[u8] = b".wh..wh.";
/// How many of the entries that were left out are named.
const MOST_NAMED: usize = 20;

pub(super) struct Unpacker<'a> {
    tree: Tree,
    budget: Budget<'a>,
    done: Unpacked,
    /// Directories with the times that they get in the end: until then things go into them.
    times: Vec<(EntryPath, Timespec)>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(root: OwnedFd, budget: Budget<'a>) -> Self {
        Self { tree: Tree::new(root), budget, done: Unpacked::default(), times: Vec::new() }
    }

    /// Unpacks all entries, and reads the stream to its end.
    pub(super) fn all<R: BufRead>(mut self, entries: &mut Entries<R>) -> Result<Unpacked, ImageError> {
        while let Some(entry) = entries.next()? {
            self.entry(entry, entries)?;
        }
        for (path, time) in std::mem::take(&mut self.times) {
            // A later entry may have put something else in its place, or in its way.
            let Ok(parent) = self.tree.directory(path.split().0) else { continue };
            let Ok(directory) = open_directory(&parent, path.split().1) else { continue };
            futimens(directory, &times(time)).map_err(path.failed())?;
        }
        Ok(self.done)
    }

    fn entry(&mut self, entry: Entry, entries: &mut Entries<impl BufRead>) -> Result<(), ImageError> {
        let path = EntryPath::new(&entry.path)?;
        let written = if entry.kind == Kind::Regular { entry.stored } else { 0 };
        let size = entry.size().saturating_add(entry.told_in);
        self.budget.take(size, written, self.tree.root())?;
        if path.is_root() {
            return match entry.kind {
                Kind::Directory => self.directory(&path, &entry),
                _ => Err(refused(&entry.path, "names no place in the layer")),
            };
        }
        if path.parts().any(|part| part.starts_with(OTHER_MARKS) && part != OPAQUE) {
            return Ok(());
        }
        if path.split().1.starts_with(WHITEOUT) {
            return self.mark(&path);
        }
        self.done.entries += 1;
        match entry.kind {
            Kind::Directory => self.directory(&path, &entry),
            Kind::Regular => self.file(&path, &entry, entries),
            Kind::Symlink => self.symlink(&path, &entry),
            Kind::HardLink => self.hard_link(&path, &entry),
            Kind::Fifo => self.fifo(&path, &entry),
            Kind::Device => {
                self.done.entries -= 1;
                self.done.skipped += 1;
                if self.done.skipped_paths.len() < MOST_NAMED {
                    self.done.skipped_paths.push(path.to_path());
                }
                Ok(())
            }
        }
    }

    /// A mark that something of the layers below does not show.
    fn mark(&mut self, path: &EntryPath) -> Result<(), ImageError> {
        let (directory, name) = path.split();
        let parent = self.tree.parent_of(path)?;
        if name == OPAQUE {
            self.done.hides_below |= directory.is_empty();
            return make_opaque(&parent).map_err(path.failed());
        }
        match &name[WHITEOUT.len()..] {
            b"" | b"." | b".." => Err(path.refused("marks as gone what is no entry of its directory")),
            gone => self.tree.white_out(&parent, gone).map_err(path.failed()),
        }
    }

    fn directory(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), ImageError> {
        let parent = self.tree.parent_of(path)?;
        let name = path.split().1;
        let failed = path.failed();
        let mut was = Was::Nothing;
        let directory = loop {
            match mkdirat(&parent, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            match open_directory(&parent, name) {
                Err(Errno::NOTDIR | Errno::LOOP) if was == Was::Nothing => {
                    was = self.tree.make_room(&parent, name).map_err(&failed)?;
                }
                directory => break directory.map_err(&failed)?,
            }
        };
        if was == Was::Whiteout {
            make_opaque(&directory).map_err(&failed)?;
        }
        let directory = self.tree.keep(path.as_bytes(), directory);
        self.attributes(path, &directory, entry)?;
        self.done.bytes += 4096;
        self.times.push((path.clone(), entry.mtime));
        Ok(())
    }

    fn file(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
        entries: &mut Entries<impl BufRead>,
    ) -> Result<(), ImageError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(self.place(path, |parent, name| openat(parent, name, flags, mode))?);
        let failed = |source: io::Error| ImageError::Entry { path: path.to_path(), source };
        if let Some(sparse) = &entry.sparse {
            for Piece { offset, length } in &sparse.pieces {
                file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                copy(entries, *length, &mut file, failed)?;
            }
            file.set_len(sparse.size).map_err(failed)?;
        } else {
            copy(entries, entry.stored, &mut file, failed)?;
        }
        self.attributes(path, &file, entry)?;
        self.done.bytes += entry.stored.next_multiple_of(4096);
        futimens(&file, &times(entry.mtime)).map_err(path.failed())
    }

    fn symlink(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), ImageError> {
        let target = &entry.link;
        if target.is_empty() || target.len() > MOST_PATH || target.contains(&0) {
            return Err(path.refused("is a link to nothing that can be"));
        }
        self.place(path, |parent, name| {
            symlinkat(OsStr::from_bytes(target), parent, name)?;
            owner_and_time(parent, name, entry)
        })
    }

    fn hard_link(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), ImageError> {
        if entry.link.is_empty() {
            return Err(path.refused("is a hard link to nothing that can be"));
        }
        let target =
            EntryPath::new(&entry.link).map_err(|_| path.refused("is a hard link out of the layer"))?;
        let (directory, file) = target.split();
        let from = self.tree.directory(directory);
        let stat = from.and_then(|from| Ok((statat(&from, file, AtFlags::SYMLINK_NOFOLLOW)?, from)));
        let (stat, from) = stat
            .map_err(|_| path.refused("is a hard link to a file that the layer does not have before it"))?;
        if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Symlink) {
            return Err(path.refused("is a hard link to what is no file"));
        }
        let parent = self.tree.parent_of(path)?;
        let there = statat(&parent, path.split().1, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        self.place(path, |parent, name| linkat(&from, file, parent, name, AtFlags::empty()))
    }

    fn fifo(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), ImageError> {
        self.place(path, |parent, name| {
            mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0)?;
            owner_and_time(parent, name, entry)?;
            chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
        })
    }

    /// Makes something at a place. What is there is replaced, so nothing is ever written through it.
    fn place<T>(
        &mut self,
        path: &EntryPath,
        mut make: impl FnMut(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, ImageError> {
        let parent = self.tree.parent_of(path)?;
        let name = path.split().1;
        let made = match make(&parent, name) {
            Err(Errno::EXIST) => self.tree.make_room(&parent, name).and_then(|_| make(&parent, name)),
            made => made,
        };
        made.map_err(path.failed())
    }

    /// Owner, extended attributes and mode, in this order: each would take something of the next away.
    fn attributes(&mut self, path: &EntryPath, file: impl AsFd, entry: &Entry) -> Result<(), ImageError> {
        let failed = path.failed();
        let (user, group) = owner(entry).ok_or_else(|| path.refused("has an owner that cannot be"))?;
        fchown(&file, Some(user), Some(group)).map_err(&failed)?;
        for (name, value) in &entry.xattrs {
            if !is_taken(name) {
                self.done.dropped_xattrs += 1;
                continue;
            }
            match fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // The file system has none.
                Err(Errno::OPNOTSUPP) => self.done.dropped_xattrs += 1,
                Err(errno) => return Err(failed(errno)),
            }
        }
        fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(&failed)
    }
}

/// Whether an extended attribute of this name is one that files of an image may have.
pub(super) fn is_taken(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// Copies content into a file.
fn copy(
    entries: &mut Entries<impl BufRead>,
    mut length: u64,
    file: &mut File,
    failed: impl Fn(io::Error) -> ImageError,
) -> Result<(), ImageError> {
    while length > 0 {
        let content = entries.content()?;
        if content.is_empty() {
            return Err(ImageError::malformed("the layer's tar stream", "a file is shorter than it says"));
        }
        let most = content.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let written = match file.write(&content[..most]) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        entries.used(written);
        length -= written as u64;
    }
    Ok(())
}

fn owner_and_time(parent: &OwnedFd, name: &[u8], entry: &Entry) -> rustix::io::Result<()> {
    let (user, group) = owner(entry).ok_or(Errno::INVAL)?;
    chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// The owner, unless one of the numbers is too large for one. The largest that fits means "no change".
fn owner(entry: &Entry) -> Option<(Uid, Gid)> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    Some((Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?)))
}

fn times(changed: Timespec) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    // The kernel takes what the file system cannot hold for the nearest that it can.
    Timestamps { last_access: omit, last_modification: changed }
}
