//! A small file of a home that is changed as a whole: by one writer at a time, and never seen half-written.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

/// How long another writer may take, and how often to look.
const TURN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Why a file of the home could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HomeFileError {
    /// The kernel refused.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody else is changing it.
    #[error("{} is being changed by another process; try again", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

/// A file that is replaced as a whole, so a reader sees either all of a change or nothing of it.
#[derive(Debug, Clone)]
pub struct HomeFile {
    path: PathBuf,
}

/// The right to replace the file; nobody else has it meanwhile.
#[derive(Debug)]
pub struct Turn {
    directory: File,
}

impl HomeFile {
    /// The file at `path`, which need not be there. Its directory must be.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for its turn to change the file, at most five seconds. A lock on the directory, so that there is no
    /// file to leave behind.
    ///
    /// # Errors
    /// When another writer takes longer, or the directory is not there.
    pub fn take_turn(&self) -> Result<Turn, HomeFileError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let directory = File::open(directory).map_err(|error| self.io("open the directory of", error))?;
        let deadline = Instant::now() + TURN;
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn { directory }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => sleep(PAUSE),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(HomeFileError::Busy { path: self.path.clone() });
                }
                Err(error) => return Err(self.io("lock", error)),
            }
        }
    }

    /// Puts `content` in its place, for its owner's eyes only, and on the disk before this returns.
    ///
    /// # Errors
    /// When the kernel refuses; the file is then as it was.
    pub fn replace(&self, turn: &Turn, content: &[u8]) -> Result<(), HomeFileError> {
        let draft = self.path.with_extension("new");
        let write = || {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)?;
            turn.directory.sync_all()
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            self.io("write", error)
        })
    }

    /// A failure of the kernel with this file.
    pub fn io(&self, step: &'static str, source: impl Into<io::Error>) -> HomeFileError {
        HomeFileError::Io { step, path: self.path.clone(), source: source.into() }
    }
}
