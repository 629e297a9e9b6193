//! From a path to a file, or to the place of one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ebbtide_driver::FileErrorKind;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, fstat, fstatfs, mkdirat, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::Stop;

/// The most symbolic links on the way to a file; as in the kernel.
const MAX_LINKS: usize = 40;
/// The file systems whose files are made up as they are read.
const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;

/// Opens what is at a path. Never waits: not for the other end of a pipe, nor for a carrier.
pub(super) fn open(at: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let calm = match flags.contains(OFlags::PATH) {
        true => OFlags::CLOEXEC,
        false => OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
    };
    let flags = flags | calm;
    openat2(at, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Refuses whatever is no regular file.
pub(super) fn regular(stat: &Stat) -> Result<(), FileErrorKind> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(FileErrorKind::IsDirectory),
        _ => Err(FileErrorKind::NotRegular),
    }
}

/// The permission bits.
pub(super) fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Whether the kernel makes the content up while it is read, so that its size tells nothing.
pub(super) fn is_made_up(file: &OwnedFd) -> rustix::io::Result<bool> {
    let kind = fstatfs(file)?.f_type as i64;
    Ok(kind == PROC || kind == SYSFS)
}

/// Whether it tells of the helper itself, which came from outside of the sandbox.
pub(super) fn is_own(file: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // What cannot be told is taken for the worst.
    link.map_or(true, |path| path.starts_with(format!("/proc/{}", std::process::id())))
}

/// The place of a file: a directory and a name in it that is no symbolic link.
pub(crate) struct Place {
    pub(crate) directory: OwnedFd,
    pub(crate) name: PathBuf,
    /// What is there now.
    pub(super) existing: Option<Stat>,
}

/// Finds the place that a path stands for, and makes the directories on the way to it.
pub(super) fn place(path: &Path) -> Result<Place, Stop> {
    let mut base = open(CWD, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let (parent, name) = split(&path)?;
        let directory = directory(&base, parent)?;
        let existing = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let is_link =
            existing.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        if !is_link {
            return Ok(Place { directory, name: name.to_owned(), existing });
        }
        let target = readlinkat(&directory, name, Vec::new())?;
        path = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
        base = directory;
    }
    Err(FileErrorKind::SymlinkLoop.into())
}

/// The directory and the name that a path ends with.
fn split(path: &Path) -> Result<(&Path, &Path), FileErrorKind> {
    let bytes = path.as_os_str().as_bytes();
    let last = path.components().next_back();
    match (last, path.parent()) {
        (Some(Component::Normal(name)), Some(parent))
            if !bytes.ends_with(b"/") && !bytes.ends_with(b"/.") =>
        {
            Ok((parent, Path::new(name)))
        }
        (None, _) => Err(FileErrorKind::NotFound),
        _ => Err(FileErrorKind::IsDirectory),
    }
}

/// Opens a directory, and makes what is missing of it.
pub(super) fn directory(base: &OwnedFd, path: &Path) -> Result<OwnedFd, Stop> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let wanted = OFlags::PATH | OFlags::DIRECTORY;
    match open(base, path, wanted) {
        Ok(directory) => return Ok(directory),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut reached = match path.has_root() {
        true => open(CWD, Path::new("/"), wanted)?,
        false => open(base, Path::new("."), wanted)?,
    };
    for part in path.components().filter(|part| *part != Component::RootDir) {
        let part: &Path = part.as_ref();
        match mkdirat(&reached, part, Mode::from_raw_mode(0o755 as RawMode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        reached = open(&reached, part, wanted)?;
    }
    Ok(reached)
}

/// Makes a directory, and those on the way to it, where they are missing.
pub(crate) fn make_directory(path: &Path) -> Result<(), Stop> {
    directory(&open(CWD, Path::new("/"), OFlags::PATH | OFlags::DIRECTORY)?, path).map(drop)
}

/// The metadata of an open file.
pub(super) fn stat(file: &OwnedFd) -> Result<Stat, Stop> {
    Ok(fstat(file)?)
}
