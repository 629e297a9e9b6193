//! A directory as a tar stream, from inside: the code is that of the command line outside.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ebbtide_archive::ArchiveError;
use ebbtide_driver::FileErrorKind;
use rustix::fs::{CWD, OFlags};

use super::{Stop, lookup, opened};
use crate::protocol::{self, Commit};

/// What is gathered before it is written to the pipe.
const BUFFER: usize = 128 * 1024;

/// Sends a directory; answers how many bytes the stream had.
pub(super) fn pack(path: &str, control: &OwnedFd, content: File) -> Result<u64, Stop> {
    let directory = lookup::open(CWD, Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY)?;
    if lookup::is_made_up(&directory)? {
        return Err(FileErrorKind::NotRegular.into());
    }
    opened(control, 0, lookup::permissions(&lookup::stat(&directory)?))?;
    let mut counted = Counted { inner: content, bytes: 0 };
    ebbtide_archive::pack(&directory, BufWriter::with_capacity(BUFFER, &mut counted)).map_err(stop)?;
    Ok(counted.bytes)
}

/// Takes what a directory is to hold; answers how many bytes the stream had.
pub(super) fn unpack(path: &str, control: &OwnedFd, content: File) -> Result<u64, Stop> {
    let here = lookup::open(CWD, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    let directory = lookup::directory(&here, Path::new(path))?;
    opened(control, 0, 0)?;
    let mut counted = Counted { inner: content, bytes: 0 };
    ebbtide_archive::unpack(&directory, &mut counted).map_err(stop)?;
    // What follows the end of an archive is padding.
    io::copy(&mut counted, &mut io::sink())?;
    let (Commit { bytes }, _) = protocol::receive(control).map_err(|_| Stop::Abandoned)?;
    if bytes == counted.bytes {
        return Ok(bytes);
    }
    Err(FileErrorKind::Truncated { expected: bytes, found: counted.bytes }.into())
}

fn stop(error: ArchiveError) -> Stop {
    match error {
        ArchiveError::File { path, source } => match source.raw_os_error() {
            Some(errno) => Stop::Inside(path, FileErrorKind::from_errno(errno)),
            None => Stop::Inside(path, FileErrorKind::Archive(source.to_string())),
        },
        ArchiveError::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe => Stop::Abandoned,
        error => Stop::Inside(PathBuf::new(), FileErrorKind::Archive(error.to_string())),
    }
}

struct Counted {
    inner: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
