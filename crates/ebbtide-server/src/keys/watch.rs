//! Hears of changes of the keys' file, for the sake of calls that were let in before.

use std::future::pending;
use std::io;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;

/// What changes in a directory.
pub(super) struct Changes(pipe::Receiver);

impl Changes {
    /// Those of the directory that `file` is in: it is replaced as a whole, and may not be there yet.
    pub(super) fn beside(file: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, file.parent().unwrap_or(Path::new(".")), what)?;
        // Tokio reads any descriptor that can be polled as it reads a pipe.
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(events)?))
    }

    /// Waits for changes and takes all that are there. Which ones they are does not matter.
    pub(super) async fn next(&self) {
        if self.0.readable().await.is_err() {
            pending().await
        }
        let mut buffer = [0; 4096];
        while self.0.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}
