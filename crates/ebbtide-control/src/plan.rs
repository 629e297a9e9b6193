//! A purge in two steps: a plan, and what confirms exactly that plan.
//!
//! Who confirms has seen what is named; so nothing is ended that came later, and nothing at all if anything has changed:
//! the set is found anew in one look, and its hash has to be the plan's. Whose each sandbox is, is checked once more at
//! the moment at which it is told to end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ebbtide_model::{Principal, SandboxId, SandboxRecord, State, TerminationReason};
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::list::has_tags;
use crate::sandbox::{Ending, Sandbox};
use crate::{Asked, Control, ControlError, Described, PurgeFilter, purge};

/// Whose sandboxes a purge is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The caller's.
    Own(Principal),
    /// Those of all, by the wish of this one.
    Everybodys(Principal),
}

impl Whose {
    fn includes(&self, record: &SandboxRecord) -> bool {
        match self {
            Self::Own(principal) => record.principal == *principal,
            Self::Everybodys(_) => true,
        }
    }

    fn caller(&self) -> &Principal {
        match self {
            Self::Own(principal) | Self::Everybodys(principal) => principal,
        }
    }
}

/// What a purge would end.
#[derive(Debug, Clone, PartialEq)]
pub struct PurgePlan {
    /// Stands for exactly these sandboxes.
    pub hash: String,
    /// They, by age.
    pub sandboxes: Vec<Described>,
}

/// What became of one sandbox of a plan.
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

/// One sandbox of a plan, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedItem {
    /// The sandbox.
    pub id: SandboxId,
    /// What became of it.
    pub outcome: Purged,
    /// Words for a person; may be empty.
    pub message: String,
}

impl Control {
    /// What a purge would end. Nothing is done.
    ///
    /// # Errors
    /// When the filter names none.
    pub fn plan_purge(&self, whose: &Whose, filter: &PurgeFilter) -> Result<PurgePlan, ControlError> {
        filter.check()?;
        let named = look(self.engine(), whose, filter);
        let sandboxes: Vec<_> = named.iter().map(|sandbox| Described::live(sandbox)).collect();
        Ok(PurgePlan { hash: hash(&named), sandboxes })
    }

    /// Ends what a plan names, at once, and waits until it is gone.
    ///
    /// # Errors
    /// [`ControlError::PlanStale`], with no effect, where `hash` is of another set than the one that the filter names
    /// now. What fails for one sandbox is in its outcome.
    pub async fn confirm_purge(
        &self,
        whose: &Whose,
        filter: &PurgeFilter,
        hash: &str,
        asked: &Asked,
    ) -> Result<Vec<PurgedItem>, ControlError> {
        filter.check()?;
        let engine = self.engine();
        let named = look(engine, whose, filter);
        if self::hash(&named) != hash {
            return Err(ControlError::PlanStale { count: named.len() });
        }
        fail_point!("purge.look.after");
        let ending =
            Ending { by: Some(asked.words(whose.caller())), ..Ending::new(TerminationReason::Purged) };
        let told: Vec<_> = named.iter().map(|sandbox| tell(engine, whose, sandbox, &ending)).collect();
        fail_point!("purge.told.after");
        let late = purge::settle(engine, named.clone()).await;
        let is_late = |sandbox: &Arc<Sandbox>| late.iter().any(|late| Arc::ptr_eq(late, sandbox));
        let items = named.iter().zip(told).map(|(sandbox, told)| {
            let (outcome, message) = match told {
                Told::Gone => (Purged::AlreadyGone, String::new()),
                Told::Not(why) => (Purged::Failed, why),
                Told::Ending if is_late(sandbox) => {
                    let message = sandbox.peek(|record| record.message.clone());
                    (
                        Purged::RetryLater,
                        if message.is_empty() { "it is still ending".into() } else { message },
                    )
                }
                Told::Ending => (Purged::Destroyed, String::new()),
            };
            PurgedItem { id: sandbox.id.clone(), outcome, message }
        });
        Ok(items.collect())
    }
}

/// The sandboxes that a filter names now, by age: those that nothing ends yet.
fn look(engine: &Engine, whose: &Whose, filter: &PurgeFilter) -> Vec<Arc<Sandbox>> {
    engine.select(|record| {
        whose.includes(record)
            && !record.state.is_terminal()
            && record.state != State::Terminating
            && has_tags(record, &filter.tags)
    })
}

/// SHA-256 over what makes a set the same: which sandboxes they are.
fn hash(named: &[Arc<Sandbox>]) -> String {
    let mut hash = Sha256::new();
    for sandbox in named {
        let created = sandbox.peek(|record| record.created_at);
        let created = created.duration_since(UNIX_EPOCH).unwrap_or_default();
        hash.update(format!("{} {}\n", sandbox.id, created.as_millis()));
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What came of telling one to end.
enum Told {
    Ending,
    Gone,
    Not(String),
}

fn tell(engine: &Engine, whose: &Whose, sandbox: &Sandbox, ending: &Ending) -> Told {
    if sandbox.peek(|record| record.state.is_terminal()) {
        return Told::Gone;
    }
    if !sandbox.peek(|record| whose.includes(record)) {
        return Told::Not("it belongs to somebody else".to_owned());
    }
    match purge::end(engine, sandbox, ending) {
        Ok(()) => Told::Ending,
        Err(error) => {
            tracing::warn!(sandbox = %sandbox.id, %error, "cannot record its end");
            Told::Not(error.to_string())
        }
    }
}
