//! The directory that a layer is unpacked in, and the way to a place in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fchmod, fgetxattr, fsetxattr, makedev,
    mkdirat, mknodat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::remove::remove;
use crate::ImageError;

/// The longest path of an entry, and the longest target of a link; as long as the kernel takes.
pub(super) const MOST_PATH: usize = 4095;
/// How many directories are kept open.
const MOST_OPEN: usize = 64;
/// How often to resolve a path again because somebody was renaming something meanwhile.
const TRIES: usize = 1000;
/// A mark that the layers below have nothing here: a device 0/0. No other device is ever made.
pub(super) const WHITEOUT: FileType = FileType::CharacterDevice;
const OPAQUE: &str = "trusted.overlay.opaque";

/// A path without `/` at its beginning and without `.` and `..`; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EntryPath(Vec<u8>);

impl EntryPath {
    /// The path of an entry as others understand it: from the root, whether it begins there or not.
    pub(super) fn new(raw: &[u8]) -> Result<Self, ImageError> {
        let refused = |problem| Err(refused(raw, problem));
        if raw.len() > MOST_PATH {
            return refused("has a path that is too long");
        }
        if raw.contains(&0) {
            return refused("has a NUL byte in its path");
        }
        let mut path = Vec::with_capacity(raw.len());
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return refused("leads out of the layer"),
                part => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend(part);
                }
            }
        }
        Ok(Self(path))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that it is in, and its name there. The root is its own `.`.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None if self.0.is_empty() => (b"", b"."),
            None => (b"", &self.0),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names that it goes through.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    pub(super) fn to_path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.0))
    }

    pub(super) fn refused(&self, problem: &'static str) -> ImageError {
        refused(&self.0, problem)
    }

    pub(super) fn failed(&self) -> impl Fn(Errno) -> ImageError {
        |errno| ImageError::Entry { path: self.to_path(), source: errno.into() }
    }
}

pub(super) fn refused(path: &[u8], problem: &'static str) -> ImageError {
    ImageError::Refused { path: PathBuf::from(OsStr::from_bytes(path)), problem }
}

/// What stood in the way of a new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Nothing,
    /// A mark that the layers below have nothing here.
    Whiteout,
    Other,
}

/// The directory of a layer. Nothing outside of it is ever opened: the kernel takes it for the root.
pub(super) struct Tree {
    root: OwnedFd,
    /// Directories that were used lately, by path.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, open: HashMap::new() }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that an entry goes into. Directories that the layer does not name are made.
    pub(super) fn parent_of(&mut self, path: &EntryPath) -> Result<Rc<OwnedFd>, ImageError> {
        let (parent, _) = path.split();
        let opened = match self.directory(parent) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_all(parent).and_then(|()| self.directory(parent)),
            opened => opened,
        };
        opened.map_err(|errno| match errno {
            Errno::LOOP | Errno::XDEV => path.refused("goes through a link that leads nowhere"),
            errno => path.failed()(errno),
        })
    }

    /// A directory that is there, through symbolic links if need be, which cannot lead out of the root.
    pub(super) fn directory(&mut self, path: &[u8]) -> rustix::io::Result<Rc<OwnedFd>> {
        if let Some(open) = self.open.get(path) {
            return Ok(Rc::clone(open));
        }
        let name = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut tries = 0;
        let opened = loop {
            match openat2(&self.root, name, flags, Mode::empty(), within) {
                // `..` in a link, while something was renamed on this file system.
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                opened => break opened?,
            }
        };
        Ok(self.keep(path, opened))
    }

    /// Keeps a directory open under its path.
    pub(super) fn keep(&mut self, path: &[u8], directory: OwnedFd) -> Rc<OwnedFd> {
        if self.open.len() >= MOST_OPEN {
            self.open.clear();
        }
        let directory = Rc::new(directory);
        self.open.insert(path.to_vec(), Rc::clone(&directory));
        directory
    }

    /// Makes what is not there of a path. What is there is found by halving, and what is made is gone into by name:
    /// looking up each part from the root would take a hostile layer's time squared.
    fn make_all(&mut self, path: &[u8]) -> rustix::io::Result<()> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let mut failed = None;
        let there = ends.partition_point(|end| match self.directory(&path[..*end]) {
            Ok(_) => true,
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(errno) => {
                failed = Some(errno);
                false
            }
        });
        if let Some(errno) = failed {
            return Err(errno);
        }
        let mut begin = there.checked_sub(1).map_or(0, |last| ends[last] + 1);
        let mut parent = self.directory(&path[..begin.saturating_sub(1)])?;
        for end in &ends[there..] {
            let name = &path[begin..*end];
            begin = end + 1;
            // A mark that what was here is gone makes room; a file does not.
            let was = match kind(&parent, name)? {
                Some(WHITEOUT) => self.make_room(&parent, name)?,
                Some(FileType::Symlink) => return Err(Errno::LOOP),
                Some(_) => return Err(Errno::NOTDIR),
                None => Was::Nothing,
            };
            mkdirat(&parent, name, Mode::RWXU)?;
            parent = Rc::new(open_directory(&parent, name)?);
            fchmod(&parent, Mode::from_raw_mode(0o755))?;
            if was == Was::Whiteout {
                make_opaque(&parent)?;
            }
        }
        Ok(())
    }

    /// Takes away what is at a name, whatever it is.
    pub(super) fn make_room(&mut self, parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<Was> {
        let Some(kind) = kind(parent, name)? else { return Ok(Was::Nothing) };
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            // Paths that went through it lead elsewhere from now on.
            self.open.clear();
        }
        if kind == FileType::Directory {
            remove(parent, OsStr::from_bytes(name))?;
        } else {
            unlinkat(parent, name, AtFlags::empty())?;
        }
        Ok(if kind == WHITEOUT { Was::Whiteout } else { Was::Other })
    }

    /// Marks that the layers below have nothing at this name. What this layer has there itself stays.
    pub(super) fn white_out(&self, parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        match mknodat(parent, name, WHITEOUT, Mode::empty(), makedev(0, 0)) {
            Err(Errno::EXIST) => match open_directory(parent, name) {
                Ok(directory) => make_opaque(&directory),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(errno) => Err(errno),
            },
            made => made,
        }
    }
}

/// Marks that what the layers below have in this directory does not show.
pub(super) fn make_opaque(directory: impl AsFd) -> rustix::io::Result<()> {
    fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
}

/// Whether a directory has that mark.
pub(super) fn is_opaque(directory: impl AsFd) -> rustix::io::Result<bool> {
    let mut value = [0];
    match fgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory that is no link to one.
pub(super) fn open_directory(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn kind(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<Option<FileType>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
