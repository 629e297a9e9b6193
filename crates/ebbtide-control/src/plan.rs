//! A purge in two steps: a plan, and what confirms exactly that plan.
//!
//! Who confirms has seen what is named; so nothing is ended that came later, and nothing at all if anything has changed:
//! the set is found anew in one look, and its hash has to be the plan's.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ebbtide_model::{Principal, SandboxRecord, State};
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::list::has_tags;
use crate::sandbox::Sandbox;
use crate::{Asked, Control, ControlError, Described, PurgeFilter, PurgedItem, purge};

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
        Ok(purge::end_and_wait(engine, named, asked.words(whose.caller())).await)
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
