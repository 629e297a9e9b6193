//! The files of an image on its way in: below a directory, or in a tar archive that is read in place.
//!
//! Nothing is unpacked and nothing written to get at a file. Of an archive only the places of its entries are
//! remembered, so a file is read from where it lies, as often as needed, and by several threads.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::LoadError;
use super::tar_index::TarIndex;

/// Where the files are.
pub(super) struct Files {
    /// What the user calls it.
    pub(super) label: String,
    place: Place,
}

enum Place {
    Directory(OwnedFd),
    Tar(TarIndex),
}

impl Files {
    /// Those below a directory.
    pub(super) fn directory(path: &Path) -> Result<Self, LoadError> {
        let label = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            openat(CWD, path, flags, Mode::empty()).map_err(|errno| LoadError::read(&label, errno))?;
        Ok(Self { label, place: Place::Directory(directory) })
    }

    /// Those in an archive.
    pub(super) fn tar(label: String, index: TarIndex) -> Self {
        Self { label, place: Place::Tar(index) }
    }

    /// A regular file, if there is one by this path.
    pub(super) fn find(&self, path: &str) -> Result<Option<Part>, LoadError> {
        let directory = match &self.place {
            Place::Tar(index) => return Ok(index.find(path)),
            Place::Directory(directory) => directory,
        };
        // A pipe that somebody has put there must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let read = |error: io::Error| LoadError::read(format!("{}: {path}", self.label), error);
        let file = match openat2(directory, path, flags, Mode::empty(), ResolveFlags::BENEATH) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(read(errno.into())),
        };
        let metadata = file.metadata().map_err(read)?;
        Ok(metadata.is_file().then(|| Part::new(Arc::new(file), 0, metadata.len())))
    }

    /// A file that has to be there.
    pub(super) fn get(&self, path: &str) -> Result<Part, LoadError> {
        self.find(path)?
            .ok_or_else(|| LoadError::Missing { archive: self.label.clone(), path: path.to_owned() })
    }

    /// A small file that has to be there, whole.
    pub(super) fn small(&self, path: &str, most: u64) -> Result<Vec<u8>, LoadError> {
        let part = self.get(path)?;
        if part.size() > most {
            let what = format!("{}: {path}", self.label);
            return Err(LoadError::TooLarge { what, limit: most });
        }
        part.whole().map_err(|error| LoadError::read(format!("{}: {path}", self.label), error))
    }
}

/// A stretch of a file. Reading it moves nothing that others see.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    /// `size` bytes from `at` on.
    pub(super) fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self { file, at, end: at.saturating_add(size) }
    }

    /// How many bytes are left.
    pub(super) fn size(&self) -> u64 {
        self.end - self.at
    }

    /// The file that it is a stretch of.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The first bytes, fewer at the end.
    pub(super) fn head(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.clone().take(bytes.min(self.size())).read_to_end(&mut head)?;
        Ok(head)
    }

    /// All of it; the caller has looked at the size.
    pub(super) fn whole(&self) -> io::Result<Vec<u8>> {
        self.head(self.size())
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.size()).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"));
        }
        self.at += read as u64;
        Ok(read)
    }
}
