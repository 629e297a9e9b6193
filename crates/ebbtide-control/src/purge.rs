//! Ending many sandboxes at once: a purge of one principal's, a shutdown of all.

use std::sync::Arc;

use ebbtide_model::{Invalid, Principal, SandboxId, TerminationReason};
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::list::has_tags;
use crate::sandbox::{Ending, Sandbox};
use crate::{Asked, ControlError, LedgerError, lifecycle};

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

/// What became of one sandbox that was to be purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// It has ended, and nothing of it is left.
    Destroyed,
    /// Somebody was faster.
    AlreadyGone,
    /// It is ending, and had not ended when the time for it was over. It goes on ending.
    RetryLater,
    /// That it is to end could not be recorded.
    Failed,
}

impl Purged {
    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::AlreadyGone => "already_gone",
            Self::RetryLater => "retry_later",
            Self::Failed => "failed",
        }
    }
}

/// One sandbox of a purge, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedItem {
    /// The sandbox.
    pub id: SandboxId,
    /// What became of it.
    pub outcome: Purged,
    /// Words for a person; may be empty.
    pub message: String,
}

/// A purge without a plan. It is also about those that end already, since its caller asks whether they are gone.
pub(crate) async fn purge(
    engine: &Arc<Engine>,
    principal: &Principal,
    filter: &PurgeFilter,
    dry_run: bool,
    asked: &Asked,
) -> Result<PurgeOutcome, ControlError> {
    filter.check()?;
    let matched = engine.select(|record| {
        record.principal == *principal && !record.state.is_terminal() && has_tags(record, &filter.tags)
    });
    let mut outcome = PurgeOutcome {
        matched: matched.iter().map(|sandbox| sandbox.id.clone()).collect(),
        ..PurgeOutcome::default()
    };
    if dry_run {
        return Ok(outcome);
    }
    for item in end_and_wait(engine, matched, asked.words(principal)).await {
        match item.outcome {
            Purged::Destroyed | Purged::AlreadyGone => {}
            Purged::RetryLater => outcome.retryable.push(item.id),
            Purged::Failed => outcome.failed.push(item.id),
        }
    }
    Ok(outcome)
}

/// Ends sandboxes side by side for who is named `by`, and waits until they are gone, with a bound.
pub(crate) async fn end_and_wait(
    engine: &Arc<Engine>,
    sandboxes: Vec<Arc<Sandbox>>,
    by: String,
) -> Vec<PurgedItem> {
    let ending = Ending { by: Some(by), ..Ending::new(TerminationReason::Purged) };
    let mut told = Vec::with_capacity(sandboxes.len());
    for sandbox in &sandboxes {
        told.push(match sandbox.state().is_terminal() {
            true => Told::Gone,
            false => tell(engine, sandbox, &ending)
                .await
                .map_or_else(|error| Told::Not(error.to_string()), |()| Told::Ending),
        });
    }
    fail_point!("purge.told.after");
    let ends = sandboxes.iter().zip(&told).filter(|(_, told)| matches!(told, Told::Ending));
    let late = settle(engine, ends.map(|(sandbox, _)| Arc::clone(sandbox)).collect()).await;
    let items = sandboxes.iter().zip(told).map(|(sandbox, told)| {
        let (outcome, message) = match told {
            Told::Gone => (Purged::AlreadyGone, String::new()),
            Told::Not(why) => (Purged::Failed, why),
            Told::Ending if late.iter().any(|late| Arc::ptr_eq(late, sandbox)) => {
                let message = sandbox.peek(|record| record.message.clone());
                (Purged::RetryLater, if message.is_empty() { "it is still ending".into() } else { message })
            }
            Told::Ending => (Purged::Destroyed, String::new()),
        };
        PurgedItem { id: sandbox.id.clone(), outcome, message }
    });
    items.collect()
}

/// What came of telling one to end.
enum Told {
    Ending,
    Gone,
    Not(String),
}

pub(crate) async fn shutdown(engine: &Arc<Engine>) -> Result<(), ControlError> {
    engine.refuse_creates();
    // What the ledger refuses to record is ended with the driver all the same.
    let shutdown = Ending::new(TerminationReason::Shutdown);
    let (mut ending, mut failed) = (Vec::new(), Vec::new());
    for sandbox in engine.select(|_| true) {
        let told = tell(engine, &sandbox, &shutdown).await;
        if told.is_ok() { &mut ending } else { &mut failed }.push(sandbox);
    }
    settle(engine, ending).await;
    engine.ask_within(engine.config.timing.settle, "shut down", engine.driver.shutdown()).await?;
    for sandbox in failed {
        // Logged, and counted below.
        let _ = tell(engine, &sandbox, &shutdown).await;
    }
    let waiting = engine.select(|_| true);
    for sandbox in &waiting {
        sandbox.retry.notify_one();
    }
    settle(engine, waiting).await;
    let count = engine.live().len();
    if count > 0 {
        return Err(ControlError::Unfinished { count });
    }
    engine.tasks.close().await;
    Ok(())
}

/// Tells one of many to end; its own task then does so beside the others.
async fn tell(engine: &Engine, sandbox: &Sandbox, ending: &Ending) -> Result<(), LedgerError> {
    lifecycle::end(engine, sandbox, ending)
        .await
        .inspect_err(|error| tracing::warn!(sandbox = %sandbox.id, %error, "cannot record its end"))
}

/// Waits until all have ended, up to [`crate::Timing::settle`]; answers with those that have not.
async fn settle(engine: &Engine, sandboxes: Vec<Arc<Sandbox>>) -> Vec<Arc<Sandbox>> {
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
