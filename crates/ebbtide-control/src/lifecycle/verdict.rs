//! Which terminal state a sandbox comes to, and with which exit code: one function of what is known.

use ebbtide_driver::{EndCause, EndReport};
use ebbtide_model::{Event, ExitStatus, SandboxRecord, TerminationReason};

/// What SIGKILL makes of an exit code.
const KILLED: ExitStatus = ExitStatus::Signal(9);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) event: Event,
    pub(super) exit_code: Option<i32>,
}

/// COMPLETED where the exit code is known (an idle sandbox has run as asked, and counts as 0), and without one where somebody
/// called it off before it ran: nothing has failed then. FAILED where the exit code cannot be known: it could not be made, or
/// what ended it took the answer along.
///
/// `killed` says that an earlier destroy may have ended it. An exit code that came before a destroy is in the record
/// by then, so where there is none that destroy killed it.
pub(super) fn of(record: &SandboxRecord, report: Option<&EndReport>, killed: bool) -> Verdict {
    let exit_code = match record.reason {
        Some(
            TerminationReason::CreateFailed
            | TerminationReason::InitKilled
            | TerminationReason::HostRestarted
            | TerminationReason::Reconciled,
        ) => None,
        _ => known(record, report, killed),
    };
    let called_off = record.started_at.is_none() && is_wish(record.reason);
    let known = exit_code.is_some() || called_off;
    let event = if known { Event::Released } else { Event::ReleasedUnknown };
    Verdict { event, exit_code }
}

fn known(record: &SandboxRecord, report: Option<&EndReport>, killed: bool) -> Option<i32> {
    if record.exit_code.is_some() {
        return record.exit_code;
    }
    let idle = record.idles();
    match report {
        Some(EndReport { cause: EndCause::InitKilled, .. }) => None,
        Some(EndReport { exit: Some(exit), .. }) => Some(exit.code()),
        _ if idle => Some(0),
        None if killed && record.started_at.is_some() => Some(KILLED.code()),
        _ => None,
    }
}

/// Whether somebody asked for the end.
fn is_wish(reason: Option<TerminationReason>) -> bool {
    use TerminationReason::{Purged, SessionClosed, Stopped};
    matches!(reason, Some(Stopped | SessionClosed | Purged))
}
