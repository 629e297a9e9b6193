//! The lock that makes a daemon the only one of its home, for as long as it lives.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ebbtide::Home;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::DaemonError;

const PAUSE: Duration = Duration::from_millis(10);

/// Held by the daemon of a home. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DaemonLock {
    file: File,
    path: PathBuf,
}

impl DaemonLock {
    /// Takes it; waits for at most `limit` while another process holds it.
    pub(crate) async fn take_within(home: &Home, limit: Duration) -> Result<Self, DaemonError> {
        Self::take_unless(home, limit, || false).await?.ok_or_else(|| Self::held_by_another(home))
    }

    /// Takes it, or finds that the one who holds it can be called: it is not going, it was just coming.
    pub(crate) async fn take_unless_served(
        home: &Home,
        limit: Duration,
    ) -> Result<Option<Self>, DaemonError> {
        Self::take_unless(home, limit, || UnixStream::connect(home.socket()).is_ok()).await
    }

    async fn take_unless(
        home: &Home,
        limit: Duration,
        needless: impl Fn() -> bool,
    ) -> Result<Option<Self>, DaemonError> {
        let path = home.daemon_lock();
        let failed = |error: io::Error| DaemonError::io(format!("lock {}", path.display()), error);
        let deadline = Instant::now() + limit;
        let lock = loop {
            let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let lock = Self { file, path: path.clone() };
                    // A file that was removed with its home while it was being locked excludes nobody.
                    if lock.is_in_place() {
                        break lock;
                    }
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) if needless() => return Ok(None),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(Self::held_by_another(home)),
                Err(error) => return Err(failed(error.into())),
            }
        };
        lock.file.set_len(0).and_then(|()| writeln!(&lock.file, "{}", std::process::id())).map_err(failed)?;
        Ok(Some(lock))
    }

    fn held_by_another(home: &Home) -> DaemonError {
        let pid = std::fs::read_to_string(home.daemon_lock()).unwrap_or_default();
        let pid = Some(pid.trim()).filter(|pid| !pid.is_empty()).unwrap_or("unknown").to_owned();
        DaemonError::Locked { state_dir: home.state_dir().to_owned(), pid }
    }

    /// Whether the home still is where it was: the lock's path names the file that we hold.
    pub(crate) fn is_in_place(&self) -> bool {
        let Ok(held) = self.file.metadata() else { return false };
        std::fs::metadata(&self.path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()))
    }
}

#[cfg(test)]
mod tests {
    use ebbtide::HomeLocation;

    use super::*;

    #[tokio::test]
    async fn only_one_daemon_holds_a_home_and_the_other_learns_who() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeLocation::new(dir.path().join("home"), dir.path().join("run")).open().unwrap();
        let first = DaemonLock::take_within(&home, Duration::ZERO).await.unwrap();
        let second = DaemonLock::take_within(&home, Duration::ZERO).await.unwrap_err();
        assert!(matches!(second, DaemonError::Locked { pid, .. } if pid == std::process::id().to_string()));
        let waiting = DaemonLock::take_within(&home, Duration::from_secs(5));
        let (_, third) = tokio::join!(async { drop(first) }, waiting);
        third.unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_is_just_coming_is_waited_for_until_it_can_be_called() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeLocation::new(dir.path().join("home"), dir.path().join("run")).open().unwrap();
        let _coming = DaemonLock::take_within(&home, Duration::ZERO).await.unwrap();
        let second = DaemonLock::take_unless_served(&home, PAUSE).await;
        assert!(matches!(second, Err(DaemonError::Locked { .. })));
        let _listening = std::os::unix::net::UnixListener::bind(home.socket()).unwrap();
        let second = DaemonLock::take_unless_served(&home, Duration::from_secs(5)).await;
        assert!(second.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_home_that_moved_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeLocation::new(dir.path().join("home"), dir.path().join("run")).open().unwrap();
        let lock = DaemonLock::take_within(&home, Duration::ZERO).await.unwrap();
        assert!(lock.is_in_place());
        std::fs::rename(home.state_dir(), dir.path().join("elsewhere")).unwrap();
        assert!(!lock.is_in_place());
        std::fs::create_dir(home.state_dir()).unwrap();
        std::fs::write(home.daemon_lock(), "").unwrap();
        assert!(!lock.is_in_place(), "another home in its place is not ours");
    }
}
