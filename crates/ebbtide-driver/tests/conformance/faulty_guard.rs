//! Dead man's switches, pauses and processes that are ended, with one fault.

use std::time::Duration;

use ebbtide_driver::fake::FakeDriver;
use ebbtide_driver::{DeadMansSwitch, Driver, DriverError, Phase};
use ebbtide_model::{OwnerProcess, SandboxId, StopOptions};

use crate::fault::Fault;

/// Field 22 of a process's `stat` is when it started, field 4 is its parent; no name here has a space.
fn stat(pid: u32, field: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.split(' ').nth(field - 1)?.parse().ok()
}

fn started(pid: u32) -> Option<OwnerProcess> {
    Some(OwnerProcess { pid, start_time: stat(pid, 22)? })
}

fn child_of(parent: u32) -> Option<OwnerProcess> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| stat(*pid, 4) == Some(parent.into())).and_then(started)
}

/// The switch with what is not carried out taken from it.
pub(crate) fn switch(fault: Fault, switch: DeadMansSwitch) -> DeadMansSwitch {
    const DEAD: OwnerProcess = OwnerProcess { pid: u32::MAX, start_time: 0 };
    match (fault, switch) {
        (Fault::OwnerIgnored, DeadMansSwitch::Process { .. })
        | (Fault::DaemonMayGo, DeadMansSwitch::Daemon { .. }) => DeadMansSwitch::Off,
        (Fault::OwnerGraceIgnored, DeadMansSwitch::Process { process, .. }) => {
            DeadMansSwitch::Process { process, grace: Duration::ZERO }
        }
        (Fault::OwnerTakenForDead, DeadMansSwitch::Process { grace, .. })
        | (Fault::AttentionUnnoticed, DeadMansSwitch::Daemon { grace }) => {
            DeadMansSwitch::Process { process: DEAD, grace }
        }
        (Fault::StartTimeOfOwnerIgnored, DeadMansSwitch::Process { process, grace }) => {
            DeadMansSwitch::Process { process: started(process.pid).unwrap_or(process), grace }
        }
        (Fault::ForkedChildTakenForOwner, DeadMansSwitch::Process { process, grace }) => {
            DeadMansSwitch::Process { process: child_of(process.pid).unwrap_or(process), grace }
        }
        (Fault::DaemonGraceIgnored, DeadMansSwitch::Daemon { .. }) => {
            DeadMansSwitch::Daemon { grace: Duration::ZERO }
        }
        (_, switch) => switch,
    }
}

pub(crate) async fn guard(
    inner: &FakeDriver,
    fault: Fault,
    id: &SandboxId,
    asked: DeadMansSwitch,
) -> Result<(), DriverError> {
    match (fault, asked) {
        (Fault::AnotherOwnerIgnored, DeadMansSwitch::Process { .. })
        | (Fault::SwitchStaysOn, DeadMansSwitch::Off)
        | (Fault::AttentionNotTakenUp | Fault::GuardDoesNotLetItStay, DeadMansSwitch::Daemon { .. }) => {
            Ok(())
        }
        _ => match inner.guard(id, switch(fault, asked)).await {
            Err(DriverError::NotRunning(_)) if fault == Fault::GuardAfterTheEndAccepted => Ok(()),
            result => result,
        },
    }
}

pub(crate) async fn pause(inner: &FakeDriver, fault: Fault, id: &SandboxId) -> Result<(), DriverError> {
    match fault {
        Fault::PauseDoesNothing | Fault::PauseInNameOnly => return Ok(()),
        Fault::PauseForgetsTheOwner => inner.guard(id, DeadMansSwitch::Off).await?,
        _ => {}
    }
    let is_paused = inner.list().await?.iter().any(|one| one.id == *id && one.phase == Phase::Paused);
    if fault == Fault::PauseAgainThaws && is_paused {
        return inner.resume(id).await;
    }
    match inner.pause(id).await {
        Err(DriverError::NotRunning(_)) if fault == Fault::PauseAfterTheEndAccepted => Ok(()),
        result => result,
    }
}

pub(crate) async fn resume(inner: &FakeDriver, fault: Fault, id: &SandboxId) -> Result<(), DriverError> {
    match fault {
        Fault::ResumeDoesNothing => Ok(()),
        _ => inner.resume(id).await,
    }
}

pub(crate) async fn end_processes(
    inner: &FakeDriver,
    fault: Fault,
    id: &SandboxId,
) -> Result<(), DriverError> {
    match fault {
        Fault::EndedProcessesLiveOn => Ok(()),
        Fault::EndedProcessesEndTheSandbox => inner.stop(id, StopOptions::NOW).await,
        _ => inner.end_processes(id).await,
    }
}
