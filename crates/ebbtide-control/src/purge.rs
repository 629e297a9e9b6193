//! Ending many sandboxes at once: a purge of one principal's, a shutdown of all.

use std::sync::Arc;

use ebbtide_model::{Invalid, Principal, SandboxId, SandboxRecord, TerminationReason};
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::list::has_tags;
use crate::sandbox::{Ending, Sandbox};
use crate::{ControlError, LedgerError};

/// Which sandboxes a purge ends: those with all of `tags`. Without tags `all` must be set, so that an empty list
/// never ends everything by accident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// All of these tags.
    pub tags: Vec<String>,
    /// Every sandbox of the caller (that has the tags, if there are any).
    pub all: bool,
}

impl PurgeFilter {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.tags.is_empty() && !self.all {
            return Err(Invalid::new("tags", "name no sandboxes", "one tag or more, or all"));
        }
        Ok(())
    }
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// Those that it was about.
    pub matched: Vec<SandboxId>,
    /// Those of them that could not be told to end.
    pub failed: Vec<SandboxId>,
    /// Those of them that are ending and had not ended when the time for it was over. They go on ending.
    pub retryable: Vec<SandboxId>,
}

pub(crate) async fn purge(
    engine: &Arc<Engine>,
    principal: &Principal,
    filter: &PurgeFilter,
    dry_run: bool,
) -> Result<PurgeOutcome, ControlError> {
    filter.check()?;
    let wanted = |record: &SandboxRecord| {
        record.principal == *principal && !record.state.is_terminal() && has_tags(record, &filter.tags)
    };
    let matched = engine.select(wanted);
    let mut outcome = PurgeOutcome { matched: ids(&matched), ..PurgeOutcome::default() };
    if dry_run {
        return Ok(outcome);
    }
    let by = Some(principal.to_string());
    let (ending, failed) = end_all(engine, matched, &Ending { by, ..Ending::new(TerminationReason::Purged) });
    outcome.failed = ids(&failed);
    outcome.retryable = ids(&settle(engine, ending).await);
    Ok(outcome)
}

pub(crate) async fn shutdown(engine: &Arc<Engine>) -> Result<(), ControlError> {
    engine.refuse_creates();
    // What the ledger refuses to record is ended with the driver all the same.
    let shutdown = Ending::new(TerminationReason::Shutdown);
    let (ending, failed) = end_all(engine, engine.select(|_| true), &shutdown);
    settle(engine, ending).await;
    engine.ask_within(engine.config.timing.settle, "shut down", engine.driver.shutdown()).await?;
    let (again, _) = end_all(engine, failed, &shutdown);
    let mut waiting = engine.select(|_| true);
    for sandbox in &waiting {
        sandbox.retry.notify_one();
    }
    waiting.extend(again);
    settle(engine, waiting).await;
    let count = engine.live().len();
    if count > 0 {
        return Err(ControlError::Unfinished { count });
    }
    engine.tasks.close().await;
    Ok(())
}

/// Records that a sandbox is ending, or that it has less time to do so.
pub(crate) fn end(engine: &Engine, sandbox: &Sandbox, ending: &Ending) -> Result<(), LedgerError> {
    sandbox.begin_ending(&engine.store, ending)?;
    sandbox.shorten(&engine.store, ending.grace)?;
    Ok(())
}

/// Tells each to end at once; their own tasks then do so side by side. Answers with those that are ending and those
/// whose ending could not be recorded.
fn end_all(
    engine: &Engine,
    sandboxes: Vec<Arc<Sandbox>>,
    ending: &Ending,
) -> (Vec<Arc<Sandbox>>, Vec<Arc<Sandbox>>) {
    sandboxes.into_iter().partition(|sandbox| match end(engine, sandbox, ending) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(sandbox = %sandbox.id, %error, "cannot record its end");
            false
        }
    })
}

/// Waits until all have ended, up to [`crate::Timing::settle`]; answers with those that have not.
pub(crate) async fn settle(engine: &Engine, sandboxes: Vec<Arc<Sandbox>>) -> Vec<Arc<Sandbox>> {
    let deadline = Instant::now() + engine.config.timing.settle;
    let mut late = Vec::new();
    for sandbox in sandboxes {
        let mut changes = sandbox.changes();
        let ended = changes.wait_for(|record| record.state.is_terminal());
        if timeout_at(deadline, ended).await.is_err() {
            late.push(sandbox);
        }
    }
    late
}

fn ids(sandboxes: &[Arc<Sandbox>]) -> Vec<SandboxId> {
    sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect()
}
