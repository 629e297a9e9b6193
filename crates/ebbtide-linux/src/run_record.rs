//! The record that an init keeps of its sandbox, readable after everything else of it is gone.
//!
//! The file is opened by the launcher before the init enters its namespaces; nothing inside can name it. Each
//! state is one write of a fixed size, so that a reader never sees half of one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ebbtide_driver::EndReport;
use serde::{Deserialize, Serialize};

const SIZE: usize = 64;

/// How far a sandbox has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunRecord {
    /// It has not been given its request.
    Empty,
    /// It runs.
    Started(Run),
    /// It runs, and its payload is frozen.
    Paused(Run),
    /// It has been asked to end and has been given time for it.
    Stopping(Run),
    /// It has ended.
    Ended(End),
}

/// What is known of a sandbox that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) has_main: bool,
    /// How many mounts it has.
    pub(crate) mounts: u32,
    /// How its main command ended, where it stays nevertheless. Last, and absent as zeros are read: an init of an earlier
    /// version does not write it.
    pub(crate) main_end: Option<EndReport>,
}

/// What is known of one that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) report: EndReport,
    /// How many processes its end has found, with its init.
    pub(crate) processes: u32,
    pub(crate) mounts: u32,
}

impl RunRecord {
    /// How many mounts it has, or had.
    pub(crate) fn mounts(&self) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Started(run) | Self::Paused(run) | Self::Stopping(run) => run.mounts,
            Self::Ended(end) => end.mounts,
        }
    }

    /// How its main command ended, where it stays nevertheless.
    pub(crate) fn main_end(&self) -> Option<EndReport> {
        match self {
            Self::Started(run) | Self::Paused(run) | Self::Stopping(run) => run.main_end,
            Self::Empty | Self::Ended(_) => None,
        }
    }

    /// Writes the record over whatever is there.
    pub(crate) fn write(&self, file: impl AsFd) -> io::Result<()> {
        let mut bytes = [0; SIZE];
        bytes[0] = 1;
        postcard::to_slice(self, &mut bytes[1..]).map_err(io::Error::other)?;
        rustix::io::pwrite(file, &bytes, 0)?;
        Ok(())
    }

    /// Reads the record at `path`. One that is not there, or that nobody has written yet, is empty.
    ///
    /// # Errors
    /// When nothing can be said of it, for want of descriptors say: it must not be taken for one that is empty.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = [0; SIZE];
        match File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
            Ok(()) if bytes[0] == 1 => Ok(postcard::from_bytes(&bytes[1..]).unwrap_or(Self::Empty)),
            Ok(()) => Ok(Self::Empty),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                Ok(Self::Empty)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ebbtide_driver::EndCause;
    use ebbtide_model::ExitStatus;

    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_not_one_that_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunRecord::read(&dir.path().join("exit")).unwrap(), RunRecord::Empty);
        // As with no descriptors left: the kernel does not say what is in it.
        RunRecord::read(dir.path()).unwrap_err();
    }

    #[test]
    fn the_last_written_record_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        assert_eq!(RunRecord::read(&path).unwrap(), RunRecord::Empty);
        let file = File::create(&path).unwrap();
        assert_eq!(RunRecord::read(&path).unwrap(), RunRecord::Empty);
        let exit = Some(ExitStatus::Signal(9));
        let report = EndReport { cause: EndCause::LifetimeExpired, exit, at: SystemTime::now() };
        for record in [
            RunRecord::Started(Run { has_main: true, mounts: 30, main_end: None }),
            RunRecord::Paused(Run { has_main: true, mounts: 30, main_end: None }),
            RunRecord::Stopping(Run { has_main: true, mounts: u32::MAX, main_end: Some(report) }),
            RunRecord::Ended(End { report, processes: u32::MAX, mounts: u32::MAX }),
        ] {
            record.write(&file).unwrap();
            assert_eq!(RunRecord::read(&path).unwrap(), record);
        }
        std::fs::write(&path, [255; SIZE]).unwrap();
        assert_eq!(RunRecord::read(&path).unwrap(), RunRecord::Empty);
    }

    #[test]
    fn a_record_of_an_earlier_version_is_of_one_whose_main_command_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        let mut bytes = [0; SIZE];
        // Version, kind, a main command, 30 mounts.
        bytes[..4].copy_from_slice(&[1, 1, 1, 30]);
        std::fs::write(&path, bytes).unwrap();
        let run = Run { has_main: true, mounts: 30, main_end: None };
        assert_eq!(RunRecord::read(&path).unwrap(), RunRecord::Started(run));
    }
}
