//! A file's content, from inside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use ebbtide_driver::FileErrorKind;
use rustix::fs::{CWD, OFlags};

use super::{Stop, lookup, opened};

/// The most that is read of a file that the kernel makes up. Such a one can be endless: a process's `pagemap` has
/// hundreds of GB.
const MADE_UP_MAX: u64 = 4 << 20;

/// Sends the content of a regular file; answers how many bytes there were.
pub(super) fn read(path: &str, control: &OwnedFd, mut content: File) -> Result<u64, Stop> {
    let file = lookup::open(CWD, Path::new(path), OFlags::RDONLY)?;
    let stat = lookup::stat(&file)?;
    lookup::regular(&stat)?;
    let mode = lookup::permissions(&stat);
    if lookup::is_made_up(&file)? {
        let made_up = read_made_up(file)?;
        opened(control, made_up.len() as u64, mode)?;
        content.write_all(&made_up).map_err(pipe_error)?;
        return Ok(made_up.len() as u64);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    opened(control, size, mode)?;
    // No more than there was: a file that somebody appends to all the time has an end.
    io::copy(&mut File::from(file).take(size), &mut content).map_err(pipe_error)
}

fn read_made_up(file: OwnedFd) -> Result<Vec<u8>, Stop> {
    if lookup::is_own(&file) {
        return Err(FileErrorKind::PermissionDenied.into());
    }
    // Always the same room: some of these files refuse to be read in odd lengths.
    let (mut file, mut bytes, mut buffer) = (File::from(file), Vec::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            // A file that waits for news (`/proc/kmsg`) has none.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if bytes.len() as u64 > MADE_UP_MAX {
            return Err(FileErrorKind::TooLarge { size: None, max: MADE_UP_MAX }.into());
        }
    }
}

/// A pipe that nobody reads any more means that nobody wants the rest.
fn pipe_error(error: io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe { Stop::Abandoned } else { error.into() }
}
