//! Who is told when a log grows: one inotify for all readers, since a user may have only few, and a watch for each
//! log that somebody reads.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebbtide_driver::DriverError;
use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The watches of a driver, and the task that hears what they tell.
pub(crate) struct LogWatches {
    watches: Arc<Watches>,
    task: AbortHandle,
}

struct Watches {
    inotify: AsyncFd<OwnedFd>,
    /// By the kernel's number for the watch, which is the same for the same file.
    watched: Mutex<HashMap<i32, watch::Sender<()>>>,
}

impl LogWatches {
    /// Needs a tokio runtime.
    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the descriptor")]
    pub(crate) fn new() -> Result<Self, DriverError> {
        let failed =
            |error: io::Error| DriverError::io("make an inotify (see fs.inotify.max_user_instances)", error);
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags).map_err(|error| failed(error.into()))?;
        // SAFETY: the descriptor is owned by the AsyncFd, so it is open for as long as it is registered.
        let inotify = unsafe { AsyncFd::register(inotify) }.map_err(|error| failed(error.into()))?;
        let watches = Arc::new(Watches { inotify, watched: Mutex::default() });
        let task = tokio::spawn(Arc::clone(&watches).pass_on()).abort_handle();
        Ok(Self { watches, task })
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.watches.watched().len()
    }

    /// Watches a log; `None` if it is not there.
    pub(super) fn watch(&self, path: &Path) -> Result<Option<Watch>, DriverError> {
        let mut watched = self.watches.watched();
        match inotify::add_watch(&self.watches.inotify, path, inotify::WatchFlags::MODIFY) {
            Ok(number) => {
                let changes = watched.entry(number).or_default().subscribe();
                Ok(Some(Watch { changes, number, watches: Arc::clone(&self.watches) }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(DriverError::io(
                format!("watch {} (see fs.inotify.max_user_watches)", path.display()),
                error,
            )),
        }
    }
}

impl Drop for LogWatches {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    fn watched(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on(self: Arc<Self>) {
        loop {
            let read = match self.inotify.readable().await {
                Ok(mut ready) => ready.try_io(|inotify| self.read(inotify.get_ref())),
                Err(error) => Ok(Err(error)),
            };
            if let Ok(Err(error)) = read {
                tracing::error!(%error, "logs are not watched any more");
                return;
            }
        }
    }

    /// Tells the readers of every log that has changed.
    fn read(&self, inotify: &OwnedFd) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let event = reader.next()?;
            let watched = self.watched();
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                watched.values().for_each(|log| log.send_replace(()));
            } else if let Some(log) = watched.get(&event.wd()) {
                log.send_replace(());
            }
        }
    }
}

/// Tells when one log has changed.
pub(super) struct Watch {
    changes: watch::Receiver<()>,
    number: i32,
    watches: Arc<Watches>,
}

impl Watch {
    /// Whatever has changed up to now is known.
    pub(super) fn mark_unchanged(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits for a change that is not known. Safe to drop at the await.
    pub(super) async fn changed(&mut self) -> Result<(), DriverError> {
        let gone = || DriverError::Unavailable("logs are not watched any more".to_owned());
        self.changes.changed().await.map_err(|_| gone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.watches.watched();
        // The last reader is this one.
        if watched.get(&self.number).is_some_and(|log| log.receiver_count() == 1) {
            watched.remove(&self.number);
            // It may have gone with its file.
            let _ = inotify::remove_watch(&self.watches.inotify, self.number);
        }
    }
}
