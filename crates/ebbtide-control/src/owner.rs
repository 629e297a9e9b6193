//! When the processes that own sandboxes end. The one place of this crate that knows an operating system.

use std::io;

use async_trait::async_trait;
use ebbtide_model::{OwnerProcess, ProcessStat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::unix::pipe::Receiver;

/// Tells when the processes that own sandboxes end.
#[async_trait]
pub trait Owners: Send + Sync {
    /// Waits until a process has ended, by whatever cause; at once where its id is another's by now. Safe to drop at
    /// the await.
    ///
    /// # Errors
    /// When it cannot be watched at the moment: it may well live.
    async fn ended(&self, process: OwnerProcess) -> io::Result<()>;

    /// Whether a process has ended for sure. Where the answer cannot be read, it has not: unknown is not dead.
    fn is_gone(&self, process: OwnerProcess) -> bool;
}

/// The processes of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalProcesses;

#[async_trait]
impl Owners for LocalProcesses {
    async fn ended(&self, process: OwnerProcess) -> io::Result<()> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pidfd = match pid.map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK)) {
            Some(Ok(pidfd)) => pidfd,
            None | Some(Err(Errno::SRCH)) => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
        };
        // The descriptor is open, so from here on the number cannot become another's unnoticed.
        if self.is_gone(process) {
            return Ok(());
        }
        // It becomes readable when the process has ended, which is all that is asked of it; nothing is ever read.
        Receiver::from_owned_fd_unchecked(pidfd)?.readable().await
    }

    fn is_gone(&self, process: OwnerProcess) -> bool {
        match std::fs::read_to_string(format!("/proc/{}/stat", process.pid)) {
            Ok(stat) => is_another(&stat, process).unwrap_or(false),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Whether `stat` is of a dead process or of a later one with the same id; `None` where it cannot be read.
fn is_another(stat: &str, owner: OwnerProcess) -> Option<bool> {
    let stat = ProcessStat::parse(stat)?;
    Some(stat.has_ended() || stat.start_time != owner.start_time)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn process(pid: u32) -> OwnerProcess {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        OwnerProcess { pid, start_time: ProcessStat::parse(&stat).unwrap().start_time }
    }

    fn me() -> OwnerProcess {
        process(std::process::id())
    }

    fn is_gone(process: OwnerProcess) -> bool {
        LocalProcesses.is_gone(process)
    }

    #[test]
    fn a_living_owner_is_not_gone() {
        assert!(!is_gone(me()));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_owner() {
        assert!(is_gone(OwnerProcess { start_time: me().start_time + 1, ..me() }));
        assert!(is_gone(OwnerProcess { pid: i32::MAX as u32, start_time: 1 }));
    }

    #[test]
    fn what_cannot_be_read_is_not_dead() {
        assert_eq!(is_another("1 (x) S 1", me()), None);
        assert_eq!(is_another("", me()), None);
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_heard_although_nobody_has_waited_for_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = process(child.id());
        let watch = tokio::spawn(async move { LocalProcesses.ended(process).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!watch.is_finished());
        child.kill().unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch).await.unwrap().unwrap().unwrap();
        child.wait().unwrap();
        LocalProcesses.ended(process).await.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_process_has_not_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_raw(child.id() as i32).unwrap();
        let process = process(child.id());
        rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
        let ended = tokio::time::timeout(Duration::from_millis(200), LocalProcesses.ended(process)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ended.is_err(), "{ended:?}");
    }
}
