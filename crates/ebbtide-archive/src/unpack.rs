//! A stream as a directory, whoever wrote the stream.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod,
    futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::{ArchiveError, MAX_PATH};

/// What may follow an entry's name in an extended header.
const MAX_EXTENSIONS: u64 = 64 * 1024;
/// How many of the entries that were left out are named.
const MAX_NAMED: usize = 100;

/// What an archive has become.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// How many entries there are now.
    pub entries: u64,
    /// How many bytes their files hold.
    pub bytes: u64,
    /// How many were left out: named pipes and devices.
    pub skipped: u64,
    /// Some of those.
    pub skipped_paths: Vec<PathBuf>,
}

/// Unpacks `archive` into the directory `root`.
///
/// Nothing is made, changed or linked to outside of `root`: no entry may be absolute, hold `..`, or lead through a
/// symbolic link, whether of the archive's own or there before. A symbolic link itself is made as it is, wherever it
/// points to. Modes lose set-user-id, set-group-id and the sticky bit; everything belongs to whoever unpacks. Files that
/// are there are replaced, directories are added to.
///
/// # Errors
/// At the first entry that may not be unpacked or cannot be; what came before it stays.
pub fn unpack(root: impl AsFd, archive: impl Read) -> Result<Unpacked, ArchiveError> {
    let mut unpacker = Unpacker { root: root.as_fd(), done: Unpacked::default(), directories: Vec::new() };
    let mut archive = Archive::new(archive);
    let entries = archive.entries().map_err(malformed)?.raw(true);
    let mut said = Said::default();
    for entry in entries {
        let mut entry = entry.map_err(malformed)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => said.path = Some(long(&mut entry)?),
            EntryType::GNULongLink => said.link = Some(long(&mut entry)?),
            EntryType::XHeader => said.extensions(&mut entry)?,
            EntryType::XGlobalHeader => {}
            kind => unpacker.entry(kind, &mut entry, std::mem::take(&mut said))?,
        }
    }
    unpacker.finish()
}

fn malformed(error: io::Error) -> ArchiveError {
    // The library's own errors have no number of the kernel; a stream that breaks off has a kind.
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            ArchiveError::Malformed(error.to_string())
        }
        _ => ArchiveError::Stream(error),
    }
}

/// The name of the next entry, or its target.
fn long<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveError> {
    let mut name = bounded(entry, MAX_PATH as u64 + 1)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded<R: Read>(entry: &mut Entry<'_, R>, most: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    entry.take(most + 1).read_to_end(&mut bytes).map_err(ArchiveError::Stream)?;
    if bytes.len() as u64 > most {
        return Err(ArchiveError::Malformed("a name without end".to_owned()));
    }
    Ok(bytes)
}

/// What was said of the next entry before it came.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<String>,
}

impl Said {
    fn extensions<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ArchiveError> {
        let bytes = bounded(entry, MAX_EXTENSIONS)?;
        for extension in PaxExtensions::new(&bytes) {
            let extension = extension.map_err(malformed)?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(String::from_utf8_lossy(value).into_owned()),
                _ => {}
            }
        }
        Ok(())
    }
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    done: Unpacked,
    /// Directories with the mode and the time that they get in the end: until then things must go into them.
    directories: Vec<(PathBuf, Mode, u64)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(
        &mut self,
        kind: EntryType,
        entry: &mut Entry<'_, R>,
        said: Said,
    ) -> Result<(), ArchiveError> {
        let raw = said.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = relative(&raw)?;
        let header = entry.header();
        let size = header.entry_size().map_err(malformed)?;
        if said.size.is_some_and(|said| said != size.to_string()) {
            return Err(ArchiveError::refused(&raw, "has two sizes"));
        }
        let mode = Mode::from_raw_mode((header.mode().map_err(malformed)? & 0o777) as RawMode);
        let changed = header.mtime().map_err(malformed)?;
        let link = || -> Result<Vec<u8>, ArchiveError> {
            let target = said.link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
            if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
                return Err(ArchiveError::refused(&raw, "is a link to nothing that can be"));
            }
            Ok(target)
        };
        match kind {
            EntryType::Directory => self.directory(path, mode, changed)?,
            EntryType::Symlink => self.symlink(&path, &link()?)?,
            EntryType::Link => self.hard_link(&path, &link()?)?,
            EntryType::Regular | EntryType::Continuous => {
                self.file(&path, mode, changed, size, entry)?;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                self.done.skipped += 1;
                if self.done.skipped_paths.len() < MAX_NAMED {
                    self.done.skipped_paths.push(path);
                }
                return Ok(());
            }
            _ => return Err(ArchiveError::refused(&raw, "is of a kind that is not known")),
        }
        self.done.entries += 1;
        Ok(())
    }

    fn directory(&mut self, path: PathBuf, mode: Mode, changed: u64) -> Result<(), ArchiveError> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let (parent, name) = self.place(&path)?;
        match mkdirat(&parent, &name, Mode::RWXU) {
            Ok(()) => self.directories.push((path, mode, changed)),
            Err(Errno::EXIST) => {
                let is_directory = existing(&parent, &name)
                    .map_err(|errno| ArchiveError::file(path.as_path(), errno))?
                    .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
                if !is_directory {
                    return Err(ArchiveError::file(path, Errno::NOTDIR));
                }
            }
            Err(errno) => return Err(ArchiveError::file(path, errno)),
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &Path,
        mode: Mode,
        changed: u64,
        size: u64,
        content: &mut Entry<'_, R>,
    ) -> Result<(), ArchiveError> {
        let failed = |errno: Errno| ArchiveError::file(path, errno);
        let (parent, name) = self.place(path)?;
        make_room(&parent, &name).map_err(failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?);
        let copied = copy(content, &mut file).map_err(|error| match error {
            Side::Stream(error) => ArchiveError::Stream(error),
            Side::File(error) => ArchiveError::file(path, error),
        })?;
        if copied != size {
            return Err(ArchiveError::Malformed(format!("it ends within {path:?}")));
        }
        fchmod(&file, mode).map_err(failed)?;
        futimens(&file, &times(changed)).map_err(failed)?;
        self.done.bytes += copied;
        Ok(())
    }

    fn symlink(&self, path: &Path, target: &[u8]) -> Result<(), ArchiveError> {
        let failed = |errno: Errno| ArchiveError::file(path, errno);
        let (parent, name) = self.place(path)?;
        make_room(&parent, &name).map_err(failed)?;
        symlinkat(OsStr::from_bytes(target), &parent, &name).map_err(failed)
    }

    fn hard_link(&self, path: &Path, target: &[u8]) -> Result<(), ArchiveError> {
        let failed = |errno: Errno| ArchiveError::file(path, errno);
        let target = relative(target)?;
        let (from, file) = self.place(&target)?;
        let stat = statat(&from, &file, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ArchiveError::refused(path.as_os_str().as_bytes(), "is a hard link to no file"));
        }
        let (parent, name) = self.place(path)?;
        let there = existing(&parent, &name).map_err(failed)?;
        if there.is_some_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        make_room(&parent, &name).map_err(failed)?;
        linkat(&from, &file, &parent, &name, AtFlags::empty()).map_err(failed)
    }

    /// The directory that an entry goes into, and its name there. Directories that the archive does not name are made.
    fn place(&self, path: &Path) -> Result<(OwnedFd, PathBuf), ArchiveError> {
        let failed = |errno: Errno| match errno {
            Errno::LOOP | Errno::XDEV => ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "leads through a symbolic link, which could lead anywhere",
            ),
            errno => ArchiveError::file(path, errno),
        };
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(ArchiveError::refused(
                path.as_os_str().as_bytes(),
                "names no place in the directory",
            ));
        };
        let directory = match self.open(parent) {
            Err(Errno::NOENT) => {
                self.make_all(parent).map_err(failed)?;
                self.open(parent)
            }
            directory => directory,
        };
        Ok((directory.map_err(failed)?, PathBuf::from(name)))
    }

    /// Opens a directory below the root. It is the kernel that holds the path to that.
    fn open(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(self.root, path, flags, Mode::empty(), within)
    }

    fn make_all(&self, path: &Path) -> rustix::io::Result<()> {
        let mut made = PathBuf::new();
        for part in path.components() {
            let parent = self.open(&made)?;
            match mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755 as RawMode)) {
                Ok(()) | Err(Errno::EXIST) => made.push(part),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Gives the directories their modes and times, the innermost first.
    fn finish(self) -> Result<Unpacked, ArchiveError> {
        for (path, mode, changed) in self.directories.iter().rev() {
            let failed = |errno: Errno| ArchiveError::file(path.as_path(), errno);
            match self.open(path) {
                Ok(directory) => {
                    fchmod(&directory, *mode).map_err(failed)?;
                    futimens(&directory, &times(*changed)).map_err(failed)?;
                }
                // A later entry has put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(self.done)
    }
}

/// The path of an entry as parts that stay where they are.
fn relative(raw: &[u8]) -> Result<PathBuf, ArchiveError> {
    let refused = |problem| Err(ArchiveError::refused(raw, problem));
    if raw.len() > MAX_PATH {
        return refused("has a name that is too long");
    }
    if raw.contains(&0) {
        return refused("has a NUL byte in its name");
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return refused("has an absolute path"),
            Component::ParentDir => return refused("leads out of the directory"),
        }
    }
    Ok(path)
}

fn existing(parent: &OwnedFd, name: &Path) -> rustix::io::Result<Option<Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Takes away what is there, unless it is a directory. So nothing is ever written through what was there.
fn make_room(parent: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn times(changed: u64) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    // What is beyond the clock's range would be refused by the file system.
    let seconds = i64::try_from(changed).unwrap_or(0).min(1 << 40);
    Timestamps { last_access: omit, last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 } }
}

/// Which side of a copy failed.
enum Side {
    Stream(io::Error),
    File(io::Error),
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<u64, Side> {
    use std::io::Write as _;
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => {
                to.write_all(&buffer[..read]).map_err(Side::File)?;
                copied += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Side::Stream(error)),
        }
    }
}
