//! Taking away what was left behind: only what the audit has found again and again, and what it knows as this home's.
//!
//! The daemon goes first: what it still knows of it removes by its own means when it starts. What is left after that
//! belongs to nobody any more. Processes go before the control groups that they were in, and files last. What a process of
//! somebody else holds open is left, with the command that takes it away.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebbtide::{Home, HomeLocation, Target};
use ebbtide_control::LedgerError;
use ebbtide_control::ledger::{self, Repaired};
use ebbtide_linux::audit::{self, AuditReport, Found, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::examine;
use crate::context::Context;
use crate::daemon::DaemonLock;
use crate::failure::Failure;

/// How long a process may take to be gone after SIGKILL.
const DEATH_SECONDS: i64 = 10;

/// What was done about one thing.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// Why it is left.
    pub(super) detail: Option<String>,
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was removed.
    Removed,
    /// It went by itself, or the daemon removed it.
    Gone,
    /// It is still there.
    Left,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Gone => "gone already",
            Self::Left => "left",
        }
    }
}

/// Takes away what `report` has found, and says what became of each.
pub(super) async fn fix(
    context: &Context,
    location: &HomeLocation,
    home: &Home,
    report: &AuditReport,
) -> Result<Vec<Done>, Failure> {
    if report.is_clean() {
        return Ok(Vec::new());
    }
    // It sets its records right when it starts, and takes away what it knows.
    context.connect(&Target::Home(location.clone())).await?;
    let (_, still) = examine(home).await?;
    let mut done: Vec<Done> = report
        .leaks
        .iter()
        .filter(|leak| !still.leaks.contains(leak))
        .map(|gone| said(gone, Ok(Outcome::Gone)))
        .collect();
    let (processes, mut things): (Vec<&Found>, Vec<&Found>) =
        still.leaks.iter().partition(|leak| leak.kind == Kind::Process);
    for process in processes {
        done.push(said(process, kill(home, process).await));
    }
    // What is inside goes first.
    things.sort_by_key(|found| std::cmp::Reverse((found.kind == Kind::Cgroup, found.name.len())));
    for found in things {
        done.push(said(found, remove(home, found)));
    }
    Ok(done)
}

/// Sets a damaged ledger aside, and puts one in its place with all that can be read of it.
pub(super) async fn ledger(home: &Home) -> Result<Option<Repaired>, Failure> {
    let failed = |error: LedgerError| Failure::io("mend the ledger", io::Error::other(error));
    if !ledger::is_damaged(&home.ledger()).map_err(failed)? {
        return Ok(None);
    }
    // While it is ours no daemon can start.
    let _lock = DaemonLock::take_within(home, Duration::ZERO).await?;
    ledger::repair(&home.ledger()).map(Some).map_err(failed)
}

fn said(found: &Found, result: io::Result<Outcome>) -> Done {
    let (kind, name) = (found.kind, found.name.clone());
    match result {
        Ok(outcome) => Done { kind, name, outcome, detail: None },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Done { kind, name, outcome: Outcome::Gone, detail: None }
        }
        Err(error) => Done { kind, name, outcome: Outcome::Left, detail: Some(error.to_string()) },
    }
}

/// Kills a process that was found, and no other that has its number by now.
async fn kill(home: &Home, found: &Found) -> io::Result<Outcome> {
    let Some(pid) = found.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else {
        return Err(io::Error::other("its number is not known"));
    };
    let process: OwnedFd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Err(Errno::SRCH) => return Ok(Outcome::Gone),
        opened => opened?,
    };
    // Now that it is held: whatever has this number is the one that was found, or was not found again.
    let (_, again) = examine(home).await.map_err(|failure| io::Error::other(failure.to_string()))?;
    if !again.leaks.contains(found) {
        return Ok(Outcome::Gone);
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Err(Errno::SRCH) => return Ok(Outcome::Gone),
        sent => sent?,
    }
    let ended = spawn_blocking(move || {
        let limit = Timespec { tv_sec: DEATH_SECONDS, tv_nsec: 0 };
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))
    });
    match ended.await.map_err(io::Error::other)?? {
        0 => Err(io::Error::other(format!("it lives on {DEATH_SECONDS} s after SIGKILL"))),
        _ => Ok(Outcome::Removed),
    }
}

fn remove(home: &Home, found: &Found) -> io::Result<Outcome> {
    let path = PathBuf::from(&found.name);
    match found.kind {
        Kind::Cgroup => fs::remove_dir(&path)?,
        Kind::Directory if is_of(home, &path) => fs::remove_dir_all(&path)?,
        Kind::Socket | Kind::Log if is_of(home, &path) => fs::remove_file(&path)?,
        Kind::IdClaim => unclaim(&path)?,
        _ => audit::remove(found)?,
    }
    Ok(Outcome::Removed)
}

fn is_of(home: &Home, path: &Path) -> bool {
    let inside = |dir: &Path| path != dir && path.starts_with(dir);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    plain && (inside(home.run_dir()) || inside(home.state_dir()))
}

/// Removes the lock file of a range of user ids, which nobody may hold.
fn unclaim(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => fs::remove_file(path),
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("somebody holds it")),
        Err(error) => Err(error.into()),
    }
}
