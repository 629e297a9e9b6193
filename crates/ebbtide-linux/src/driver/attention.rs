//! The sandboxes that this driver attends to: one open connection to the init of each. The kernel closes them with the
//! daemon, whatever it dies of, and that starts the grace in each init. A daemon that stands still keeps them open, so each
//! init is told again and again that somebody is there.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ebbtide_driver::{DeadMansSwitch, DriverError};
use ebbtide_model::{OwnerProcess, ProcessStat, SandboxId};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use super::Inner;
use super::packets::Packets;
use crate::protocol::{FromInit, Switch, ToInit};

/// The least time between two words to an init that somebody is there.
const AGAIN: Duration = Duration::from_secs(3);

/// The connection of one sandbox. The lock is held while its init is asked, so that the connection that is kept is the
/// one that the init knows.
type Kept = Arc<AsyncMutex<Option<Held>>>;

/// A connection that is held open, by the task that says so on it; closed when this is dropped.
struct Held(JoinHandle<()>);

impl Held {
    fn new(connection: Packets, grace: Duration) -> Self {
        Self(tokio::spawn(async move {
            let again = ToInit::Guard(Switch::Connection { grace });
            // One word at a time: an init that stands still is told no more until it has answered.
            while connection.send(&again, &[]).await.is_ok() && connection.receive::<FromInit>().await.is_ok()
            {
                tokio::time::sleep((grace / 3).max(AGAIN)).await;
            }
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
pub(super) struct Attention(Mutex<HashMap<SandboxId, Kept>>);

impl Attention {
    fn of(&self, id: &SandboxId) -> Kept {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default())
    }

    /// Keeps the connection by which a sandbox was started.
    pub(super) async fn keep(&self, id: &SandboxId, connection: Packets, grace: Duration) {
        // One that is there by now is of a guard that came later.
        self.of(id).lock().await.get_or_insert_with(|| Held::new(connection, grace));
    }

    /// Forgets a sandbox that is gone.
    pub(super) fn forget(&self, id: &SandboxId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Inner {
    pub(super) async fn guard(&self, id: &SandboxId, switch: DeadMansSwitch) -> Result<(), DriverError> {
        let init = self.connect(id)?;
        let kept = self.attention.of(id);
        let mut kept = kept.lock().await;
        let (wire, pidfd) = for_init(switch)?;
        let asked = self.ask_to(id, &init, &ToInit::Guard(wire), pidfd.as_slice()).await;
        if asked.is_ok() {
            // An earlier connection is closed now that the init no longer minds.
            *kept = match switch {
                DeadMansSwitch::Daemon { grace } => Some(Held::new(init, grace)),
                DeadMansSwitch::Off | DeadMansSwitch::Process { .. } => None,
            };
        }
        asked
    }

    /// Asks an init for something that it does or refuses.
    pub(super) async fn ask_to(
        &self,
        id: &SandboxId,
        init: &Packets,
        message: &ToInit,
        fds: &[OwnedFd],
    ) -> Result<(), DriverError> {
        match self.ask(id, init, message, fds).await?.0 {
            FromInit::Done => Ok(()),
            FromInit::NotRunning => Err(DriverError::NotRunning(id.clone())),
            FromInit::PauseFailed(errno) => Err(DriverError::io(
                format!("sandbox {id} runs on, it could not be paused (try again): freeze its processes"),
                std::io::Error::from_raw_os_error(errno),
            )),
            other => Err(DriverError::Protocol(format!("{other:?}"))),
        }
    }
}

/// A switch as an init understands it, with the owner's pidfd if that lives.
pub(super) fn for_init(switch: DeadMansSwitch) -> Result<(Switch, Option<OwnedFd>), DriverError> {
    Ok(match switch {
        DeadMansSwitch::Off => (Switch::Off, None),
        DeadMansSwitch::Daemon { grace } => (Switch::Connection { grace }, None),
        DeadMansSwitch::Process { process, grace } => match open_owner(process) {
            Ok(Some(pidfd)) => (Switch::Process { grace }, Some(pidfd)),
            Ok(None) => (Switch::Dead { grace }, None),
            // It may well live.
            Err(error) => return Err(DriverError::NoRoom { what: format!("look at the owner: {error}") }),
        },
    })
}

/// A descriptor of the owner, if it lives and is the process that was meant.
fn open_owner(owner: OwnerProcess) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(owner.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Read after the open: from here on the descriptor stands for the process whose start time this is.
    let stat = match std::fs::read_to_string(format!("/proc/{}/stat", owner.pid)) {
        Ok(stat) => stat,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = ProcessStat::parse(&stat).is_some_and(|stat| stat.start_time == owner.start_time);
    Ok(same.then_some(pidfd))
}
