//! While a sandbox runs: waits for whatever ends it.
//!
//! Its own init holds its lifetime and its owner; of those is only heard here what happened. Two deadlines are the
//! daemon's alone, since they need to know what goes on: that of a sandbox that is kept, and that of one that is idle.

use std::sync::Arc;

use ebbtide_driver::{DriverError, EndCause, EndReport, MainEnded};
use ebbtide_model::{ExitStatus, TerminationReason};

use super::{Backoff, must_end};
use crate::engine::Engine;
use crate::sandbox::{Ending, Sandbox};
use crate::{idle, keep};

/// What there is to deal with.
enum Heard {
    Driver(Result<EndReport, DriverError>),
    MainEnded(Result<MainEnded, DriverError>),
    KeptLongEnough,
    IdleLongEnough,
}

/// Waits until a running or frozen sandbox is ending, by a request or by itself, and then answers with its report.
pub(super) async fn until_ending(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Option<EndReport> {
    let mut changes = sandbox.changes();
    let mut backoff = Backoff::new(&engine.config.timing);
    let mut awaits_main_end = true;
    while sandbox.state().is_alive() {
        let heard = tokio::select! {
            biased;
            _ = changes.wait_for(|record| !record.state.is_alive()) => return None,
            answer = engine.driver.ended(&sandbox.id) => Heard::Driver(answer),
            answer = engine.driver.main_ended(&sandbox.id),
                if awaits_main_end && sandbox.peek(keep::awaits_main_end) => Heard::MainEnded(answer),
            () = keep::expired(sandbox) => Heard::KeptLongEnough,
            () = idle::due(sandbox) => Heard::IdleLongEnough,
        };
        let answer = match heard {
            Heard::Driver(answer) => answer,
            Heard::MainEnded(Ok(ended)) => {
                let reason = reason(ended.report.cause, sandbox);
                match keep::at_main_end(engine, sandbox, reason, &ended).await {
                    Ok(true) => {}
                    Ok(false) => return Some(ended.report),
                    Err(error) => {
                        tracing::warn!(%error, "cannot deal with the end of its main command; trying again");
                        backoff.wait(&sandbox.retry).await;
                    }
                }
                continue;
            }
            // It does not stay: its end is heard of as any other's.
            Heard::MainEnded(Err(DriverError::NotRunning(_) | DriverError::NotFound(_))) => {
                awaits_main_end = false;
                continue;
            }
            Heard::MainEnded(Err(error)) => Err(error),
            Heard::KeptLongEnough => {
                must_end(engine, sandbox, &keep::expiry(sandbox));
                return None;
            }
            Heard::IdleLongEnough => {
                if let Err(error) = idle::act(engine, sandbox).await {
                    tracing::warn!(%error, "cannot deal with its idleness; trying again");
                    backoff.wait(&sandbox.retry).await;
                }
                continue;
            }
        };
        match answer {
            Ok(report) => {
                let ending = Ending {
                    exit_code: report.exit.map(ExitStatus::code),
                    ..Ending::new(reason(report.cause, sandbox))
                };
                must_end(engine, sandbox, &ending);
                return Some(report);
            }
            Err(DriverError::NotFound(_)) if is_lost(engine, sandbox).await => {
                let ending = Ending::new(TerminationReason::Reconciled)
                    .with_message("it was running and is gone, with whatever would say how it ended");
                must_end(engine, sandbox, &ending);
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot wait for its end; trying again");
                backoff.wait(&sandbox.retry).await;
            }
        }
    }
    None
}

/// Whether the driver is sure that it does not have the sandbox. Unknown is not dead.
async fn is_lost(engine: &Engine, sandbox: &Sandbox) -> bool {
    let listed = engine.ask("list its sandboxes", engine.driver.list()).await;
    listed.is_ok_and(|existing| existing.iter().all(|existing| existing.id != sandbox.id))
}

fn reason(cause: EndCause, sandbox: &Sandbox) -> TerminationReason {
    match cause {
        EndCause::MainExited => TerminationReason::MainExited,
        EndCause::Stopped => TerminationReason::Stopped,
        EndCause::LifetimeExpired => TerminationReason::LifetimeExpired,
        EndCause::OwnerGone => TerminationReason::OwnerGone,
        // Its grace was over, or as good as over, and no daemon was there to say so.
        EndCause::DaemonGone if sandbox.peek(|record| record.ownership.is_orphaned()) => {
            TerminationReason::OwnerGone
        }
        EndCause::DaemonGone => TerminationReason::DaemonGone,
        EndCause::OutOfMemory => TerminationReason::OutOfMemory,
        EndCause::InitKilled => TerminationReason::InitKilled,
        EndCause::HostShutdown => TerminationReason::HostRestarted,
    }
}
