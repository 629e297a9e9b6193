//! The life of one sandbox, as one task that goes through named steps.
//!
//! create: *intent* (recorded by the call) → *prepare* (its image) → *admit* (its turn) → *resolve* → *driver* (made) →
//!         *running*
//! stop:   *ending* (recorded by the call) → *driver* (asked to stop, waited for) → *destroy* → *tombstone*
//!
//! The task is the guard too: whatever a create has come to, the task goes on to the ending, so what a failed step
//! made is destroyed before the record says FAILED. A crash, or the death of the task itself, leaves a record that
//! is not terminal, from which reconcile goes on at the right step. Requests only ever record an ending and leave;
//! no client that goes away takes a clean-up with it.
//!
//! An ending does not wait for a ledger that cannot be written (a full disk, say): init is told, which ends the sandbox whatever
//! becomes of the daemon and keeps how it ended, and the ledger hears of it once it listens, before init's word is destroyed.

mod command;
mod create;
mod ending;
mod prepare;
mod verdict;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::clean_up;
use tokio::sync::Notify;

use crate::LedgerError;
use crate::Timing;
use crate::engine::Engine;
use crate::sandbox::{Ending, Sandbox};

pub(crate) use create::{check, intent};

/// Where in its life a sandbox is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It is to be made.
    Create {
        /// A daemon before this one may have begun.
        resumed: bool,
    },
    /// It runs, or has ended by itself.
    Watch,
    /// It is ending, and a daemon before this one may have come as far as the tombstone.
    End,
}

/// Takes a sandbox through its life, up to the tombstone.
pub(crate) async fn drive(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, begin: Begin) {
    if let Begin::Create { resumed } = begin {
        create::run(engine, sandbox, resumed).await;
    }
    let report = watch::until_ending(engine, sandbox).await;
    ending::release(engine, sandbox, report, begin == Begin::End).await;
}

/// Ends a sandbox for somebody who asks for it, or shortens the grace of one that is ending.
///
/// # Errors
/// The ledger's, where it does not take that and there is no init yet that would. Nothing is ended then.
pub(crate) async fn end(engine: &Engine, sandbox: &Sandbox, ending: &Ending) -> Result<(), LedgerError> {
    if let Err(error) = sandbox.begin_ending(&engine.store, ending) {
        let ask = clean_up::ask_to_end(engine.driver.as_ref(), &sandbox.id, ending.grace);
        if !matches!(engine.ask("stop a sandbox", ask).await, Ok(true)) {
            return Err(error);
        }
        tracing::warn!(%error, "cannot record its end; its init has been told");
        sandbox.begin_ending_unrecorded(ending);
    }
    sandbox.shorten(&engine.store, ending.grace);
    Ok(())
}

/// Ends a sandbox for a reason that is nobody's wish.
pub(crate) fn must_end(engine: &Engine, sandbox: &Sandbox, ending: &Ending) {
    if let Err(error) = sandbox.begin_ending(&engine.store, ending) {
        tracing::warn!(%error, "cannot record its end; it ends all the same");
        sandbox.begin_ending_unrecorded(ending);
    }
}

/// Tries `write` until the ledger takes it.
pub(crate) async fn must_write(
    engine: &Engine,
    sandbox: &Sandbox,
    what: &str,
    write: impl Fn() -> Result<(), LedgerError>,
) {
    let mut backoff = Backoff::new(&engine.config.timing);
    while let Err(error) = write() {
        complain(sandbox, what, &error);
        backoff.wait(&sandbox.retry).await;
    }
}

fn complain(sandbox: &Sandbox, what: &str, error: &dyn std::error::Error) {
    tracing::warn!(%error, "cannot {what}; trying again");
    sandbox.note(&format!("cannot {what}: {error}; trying again"));
}

/// The pauses between repetitions: twice as long each time, up to a bound.
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self { next: timing.retry_first, most: timing.retry_most }
    }

    /// Waits for the next turn; `early` brings it forward.
    pub(crate) async fn wait(&mut self, early: &Notify) {
        let _ = tokio::time::timeout(self.next, early.notified()).await;
        self.next = (self.next * 2).min(self.most);
    }

    /// Waits for the next turn.
    pub(crate) async fn pause(&mut self) {
        self.wait(&Notify::new()).await;
    }
}
