//! Notices that the home has been deleted or moved away under the daemon.
//!
//! The kernel does not tell of a removed directory while files of it are open, and the ledger always is; it does
//! tell of each file that goes. So any such event, and the clock for what no event tells (a parent that was
//! moved), lead to one question: is our lock still where it was?

use std::io;
use std::time::Duration;

use ebbtide::Home;
use ebbtide_control::Control;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::time::sleep;
use tracing::{error, warn};

use super::lock::DaemonLock;

const CHECK: Duration = Duration::from_secs(10);
/// How long the removal of a home's files may take, from one of them to the last.
const WHOLE_HOME: Duration = Duration::from_secs(1);

/// Resolves when the home is gone.
pub(crate) async fn gone(home: &Home, lock: &DaemonLock) {
    let events =
        events(home).inspect_err(|error| warn!(%error, "cannot watch the home; looking now and then")).ok();
    while lock.is_in_place() {
        let changed = async {
            match &events {
                Some(events) => changed(events).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = sleep(CHECK) => {}
        }
    }
}

/// Has the ledger put back whenever its files are not where they were. Goes on until it is dropped.
pub(crate) async fn keep_ledger(home: Home, control: Control) {
    let events = events(&home).ok();
    loop {
        let changed = async {
            match &events {
                Some(events) => changed(events).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Whoever removes the whole home is not to find new files in it.
            () = changed => sleep(WHOLE_HOME).await,
            () = sleep(CHECK) => {}
        }
        if !home.daemon_lock().exists() {
            continue;
        }
        match control.keep_ledger_in_place().await {
            Ok(false) => {}
            Ok(true) => {
                error!("the ledger was deleted, moved or replaced under the daemon; it has been put back")
            }
            Err(failure) => {
                error!(%failure, "the ledger was deleted, moved or replaced; trying again to put it back")
            }
        }
    }
}

/// The events as a stream of bytes. Tokio reads any descriptor that can be polled as it reads a pipe.
fn events(home: &Home) -> io::Result<pipe::Receiver> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&events, home.state_dir(), what)?;
    pipe::Receiver::from_owned_fd_unchecked(events)
}

/// Waits for an event and takes all that are there. Which one it was does not matter.
async fn changed(events: &pipe::Receiver) {
    let mut buffer = [0; 4096];
    if events.readable().await.is_err() {
        std::future::pending().await
    }
    while events.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
}

#[cfg(test)]
mod tests {
    use ebbtide::HomeLocation;
    use tokio::time::timeout;

    use super::*;

    async fn noticed(remove: impl FnOnce(&Home)) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeLocation::new(dir.path().join("a/home"), dir.path().join("run")).open().unwrap();
        let lock = DaemonLock::take_within(&home, Duration::ZERO).await.unwrap();
        let _open = std::fs::File::create(home.ledger()).unwrap();
        let watching = gone(&home, &lock);
        tokio::pin!(watching);
        assert!(timeout(Duration::from_millis(100), watching.as_mut()).await.is_err(), "too early");
        remove(&home);
        timeout(CHECK / 2, watching).await.is_ok()
    }

    #[tokio::test]
    async fn a_deleted_home_is_noticed_although_its_files_are_open() {
        assert!(noticed(|home| std::fs::remove_dir_all(home.state_dir()).unwrap()).await);
    }

    #[tokio::test]
    async fn a_moved_home_is_noticed() {
        assert!(
            noticed(|home| std::fs::rename(home.state_dir(), home.state_dir().with_extension("x")).unwrap())
                .await
        );
    }

    #[tokio::test]
    async fn other_files_may_come_and_go() {
        let files = |home: &Home| {
            std::fs::write(home.state_dir().join("x"), "").unwrap();
            std::fs::remove_file(home.state_dir().join("x")).unwrap();
        };
        assert!(!noticed(files).await);
    }
}
