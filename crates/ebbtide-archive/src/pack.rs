//! A directory as a stream.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::{ArchiveError, MAX_PATH, attributes};

/// The deepest nesting. Each level holds a descriptor.
const MAX_DEPTH: usize = 256;
/// The longest name that a header itself holds.
const SHORT: usize = 100;
/// File systems whose files are made up as they are read: proc, sysfs. Their content is no part of a directory.
const MADE_UP: [u64; 2] = [0x9fa0, 0x6265_6572];

/// Writes what is in `root` to `out`, sorted by name, and after it the end of the archive.
///
/// Directories, regular files (with hard links among them), symbolic links and named pipes; no sockets and devices, which
/// mean nothing elsewhere. Modes and times of change, no owners. What vanishes meanwhile is left out.
///
/// # Errors
/// When something cannot be read, shrinks meanwhile, or is nested too deeply; or when `out` takes no more.
pub fn pack(root: impl AsFd, out: impl Write) -> Result<(), ArchiveError> {
    pack_with(root.as_fd(), out, false)
}

/// As [`pack`], with owners, and with the extended attributes that mean the same elsewhere: `user.*` and
/// `security.capability`. The same directory gives the same bytes.
///
/// # Errors
/// As [`pack`].
pub fn pack_root(root: impl AsFd, out: impl Write) -> Result<(), ArchiveError> {
    pack_with(root.as_fd(), out, true)
}

fn pack_with(root: BorrowedFd<'_>, out: impl Write, owned: bool) -> Result<(), ArchiveError> {
    let mut packer = Packer { out: Builder::new(out), links: HashMap::new(), owned };
    let stat = fstat(root).map_err(|errno| ArchiveError::file(".", errno))?;
    packer.attributes(root, Path::new("."))?;
    packer.entry(EntryType::Directory, Path::new("."), &stat, &[], &mut io::empty())?;
    packer.directory(root, Path::new(""), 0)?;
    packer.out.into_inner().and_then(|mut out| out.flush()).map_err(ArchiveError::Stream)
}

struct Packer<W: Write> {
    out: Builder<W>,
    /// Where each file with several names was packed, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// Whether owners and extended attributes are kept.
    owned: bool,
}

impl<W: Write> Packer<W> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let failed = |errno: Errno| ArchiveError::file(path, errno);
        if depth > MAX_DEPTH {
            return Err(ArchiveError::refused(path.as_os_str().as_bytes(), "is nested too deeply"));
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        names.iter().try_for_each(|name| self.one(directory, name, path, depth))
    }

    fn one(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CString,
        parent: &Path,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let path = parent.join(OsStr::from_bytes(name.to_bytes()));
        let failed = |errno: Errno| ArchiveError::file(path.as_path(), errno);
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat.map_err(failed)?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let Some(below) = open(directory, name, OFlags::DIRECTORY).map_err(failed)? else {
                    return Ok(());
                };
                self.attributes(below.as_fd(), &path)?;
                self.entry(EntryType::Directory, &path, &stat, &[], &mut io::empty())?;
                let kind = fstatfs(&below).map_err(failed)?.f_type as u64;
                if MADE_UP.contains(&kind) { Ok(()) } else { self.directory(below.as_fd(), &path, depth + 1) }
            }
            FileType::RegularFile => match open(directory, name, OFlags::empty()).map_err(failed)? {
                Some(file) => self.file(file, path),
                None => Ok(()),
            },
            FileType::Symlink => match readlinkat(directory, name, Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                target => {
                    let target = target.map_err(failed)?;
                    self.entry(EntryType::Symlink, &path, &stat, target.as_bytes(), &mut io::empty())
                }
            },
            FileType::Fifo => self.entry(EntryType::Fifo, &path, &stat, &[], &mut io::empty()),
            _ => Ok(()),
        }
    }

    fn file(&mut self, file: OwnedFd, path: PathBuf) -> Result<(), ArchiveError> {
        // Looked at once more: it may be another by now.
        let stat = fstat(&file).map_err(|errno| ArchiveError::file(path.as_path(), errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let inode = (stat.st_dev as u64, stat.st_ino as u64);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                let first = first.clone();
                return self.entry(
                    EntryType::Link,
                    &path,
                    &stat,
                    first.as_os_str().as_bytes(),
                    &mut io::empty(),
                );
            }
            self.links.insert(inode, path.clone());
        }
        self.attributes(file.as_fd(), &path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut content = Exactly { inner: File::from(file), left: size, failure: None };
        let packed = self.entry(EntryType::Regular, &path, &stat, &[], &mut content);
        match content.failure {
            Some(failure) => Err(ArchiveError::file(path, failure)),
            None => packed,
        }
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &Path,
        stat: &Stat,
        link: &[u8],
        content: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let name = path.as_os_str().as_bytes();
        if name.len() > MAX_PATH {
            return Err(ArchiveError::file(path, Errno::NAMETOOLONG));
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        let owner = if self.owned { (stat.st_uid, stat.st_gid) } else { (0, 0) };
        header.set_uid(owner.0.into());
        header.set_gid(owner.1.into());
        header.set_size(if kind == EntryType::Regular {
            u64::try_from(stat.st_size).unwrap_or(0)
        } else {
            0
        });
        let write = || {
            self.long(EntryType::GNULongLink, link)?;
            self.long(EntryType::GNULongName, name)?;
            let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
            let (name, link) = (&name[..name.len().min(SHORT)], &link[..link.len().min(SHORT)]);
            gnu.name[..name.len()].copy_from_slice(name);
            gnu.linkname[..link.len()].copy_from_slice(link);
            header.set_cksum();
            self.out.append(&header, content)
        };
        write().map_err(ArchiveError::Stream)
    }

    /// An entry before the entry proper, with the extended attributes of what that is about.
    fn attributes(&mut self, file: BorrowedFd<'_>, path: &Path) -> Result<(), ArchiveError> {
        if !self.owned {
            return Ok(());
        }
        let records = attributes::records(file).map_err(|errno| ArchiveError::file(path, errno))?;
        if records.is_empty() {
            return Ok(());
        }
        let written = self.before(EntryType::XHeader, b"././@PaxHeader", &records);
        written.map_err(ArchiveError::Stream)
    }

    /// An entry before the entry proper, for a name that does not fit that.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        if name.len() <= SHORT {
            return Ok(());
        }
        self.before(kind, b"././@LongLink", &[name, &[0]].concat())
    }

    fn before(&mut self, kind: EntryType, name: &[u8], content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
        gnu.name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        self.out.append(&header, content)
    }
}

/// Opens without following a link or waiting for anybody; `None` if it is gone, or something else by now.
fn open(directory: BorrowedFd<'_>, name: &CString, flags: OFlags) -> rustix::io::Result<Option<OwnedFd>> {
    let flags =
        flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// As much of a file as its header says; less is an error, which would else go unnoticed.
struct Exactly {
    inner: File,
    left: u64,
    failure: Option<io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = match self.inner.read(&mut buffer[..most]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has shrunk while it was read")),
            read => read,
        };
        match read {
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::from(error.kind());
                self.failure = Some(error);
                Err(told)
            }
        }
    }
}
