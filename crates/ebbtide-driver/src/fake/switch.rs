//! The dead man's switch of a simulated sandbox.

use std::sync::Weak;
use std::time::Duration;

use ebbtide_model::{OwnerProcess, ProcessStat};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::sandbox::LONGEST;
use crate::{DeadMansSwitch, EndCause};

/// How often init looks at whoever has to be alive.
const INTERVAL: Duration = Duration::from_millis(20);

/// A switch, and the driver that set it, as far as that is still there.
#[derive(Clone)]
pub(super) struct Armed {
    pub(super) switch: DeadMansSwitch,
    pub(super) driver: Weak<()>,
    /// Until when it stays after its main command's end, of which the cause is, unless another switch is set.
    pub(super) stays: Option<(Instant, EndCause)>,
}

/// Waits until the switch that holds by then ends the sandbox.
pub(super) async fn fired(mut armed: watch::Receiver<Armed>) -> EndCause {
    loop {
        let now = armed.borrow_and_update().clone();
        tokio::select! {
            cause = now.fired() => return cause,
            changed = armed.changed() => if changed.is_err() {
                std::future::pending().await
            },
        }
    }
}

impl Armed {
    async fn fired(&self) -> EndCause {
        let stayed = async {
            match self.stays {
                Some((until, cause)) => {
                    sleep_until(until).await;
                    cause
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            cause = stayed => cause,
            cause = self.let_go() => cause,
        }
    }

    async fn let_go(&self) -> EndCause {
        let (cause, grace) = match self.switch {
            DeadMansSwitch::Off => return std::future::pending().await,
            DeadMansSwitch::Process { process, grace } => {
                while is_alive(process) {
                    sleep(INTERVAL).await;
                }
                (EndCause::OwnerGone, grace)
            }
            DeadMansSwitch::Daemon { grace } => {
                while self.driver.strong_count() > 0 {
                    sleep(INTERVAL).await;
                }
                (EndCause::DaemonGone, grace)
            }
        };
        sleep(grace.min(LONGEST)).await;
        cause
    }
}

/// Whether the process is there, is not a zombie, and is not a later one with the same id.
fn is_alive(owner: OwnerProcess) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", owner.pid)) else { return false };
    ProcessStat::parse(&stat).is_some_and(|stat| !stat.has_ended() && stat.start_time == owner.start_time)
}
