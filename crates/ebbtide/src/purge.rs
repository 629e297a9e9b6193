//! Ending a set of sandboxes: first the plan, then exactly that.

use std::fmt;

use ebbtide_proto::ebbtide::v1 as own;

use crate::{Client, Description, Error};

/// Which sandboxes to purge.
///
/// ```
/// use ebbtide::PurgeFilter;
///
/// let mine = PurgeFilter::tagged(["nightly"]);
/// assert!(!mine.all && !mine.all_owners);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// Those that have all of these tags.
    pub tags: Vec<String>,
    /// Every one; needed where there is no tag.
    pub all: bool,
    /// Of every principal, not only the caller's own. Only for root, on the daemon's own machine.
    pub all_owners: bool,
}

impl PurgeFilter {
    /// Those that have all of these tags.
    pub fn tagged(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { tags: tags.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    fn into_message(self) -> own::PlanPurgeRequest {
        let Self { tags, all, all_owners } = self;
        own::PlanPurgeRequest { tags, all, all_owners }
    }
}

/// What a purge would end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgePlan {
    /// Stands for exactly this set.
    pub hash: String,
    /// The sandboxes.
    pub sandboxes: Vec<Description>,
}

/// What became of one sandbox in a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// The sandbox.
    pub id: String,
    /// What became of it.
    pub outcome: PurgeOutcome,
    /// Why, for a person; may be empty.
    pub message: String,
}

/// What became of a sandbox that was to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PurgeOutcome {
    /// It has ended, and everything that it held is released.
    Destroyed,
    /// Somebody or something else had ended it by then.
    AlreadyGone,
    /// It could not be ended at the moment.
    RetryLater,
    /// It could not be ended.
    Failed,
}

impl PurgeOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Destroyed, Self::AlreadyGone, Self::RetryLater, Self::Failed];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::AlreadyGone => "already_gone",
            Self::RetryLater => "retry_later",
            Self::Failed => "failed",
        }
    }

    /// Whether it is gone.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Destroyed | Self::AlreadyGone)
    }
}

impl fmt::Display for PurgeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Client {
    /// What a purge would end. Nothing is done.
    ///
    /// ```no_run
    /// # async fn example(client: ebbtide::Client) -> Result<(), ebbtide::Error> {
    /// use ebbtide::PurgeFilter;
    ///
    /// let nightly = PurgeFilter::tagged(["nightly"]);
    /// let plan = client.plan_purge(nightly.clone()).await?;
    /// println!("{} would end", plan.sandboxes.len());
    /// for purged in client.confirm_purge(nightly, &plan.hash).await? {
    ///     println!("{}: {}", purged.id, purged.outcome);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the call fails.
    pub async fn plan_purge(&self, filter: PurgeFilter) -> Result<PurgePlan, Error> {
        let own::PurgePlan { hash, sandboxes } =
            self.own().plan_purge(filter.into_message()).await?.into_inner();
        Ok(PurgePlan { hash, sandboxes: sandboxes.into_iter().map(Description::from).collect() })
    }

    /// Ends what a plan names, and says what became of each.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`](crate::ErrorKind::Stale) if the filter names another set by now, or when the call fails.
    pub async fn confirm_purge(&self, filter: PurgeFilter, hash: &str) -> Result<Vec<Purged>, Error> {
        let request = own::ConfirmPurgeRequest { plan: Some(filter.into_message()), hash: hash.to_owned() };
        let items = self.own().confirm_purge(request).await?.into_inner().items;
        Ok(items.into_iter().map(purged).collect())
    }
}

/// An outcome that this version does not know is no success.
fn purged(item: own::purge_result::Item) -> Purged {
    let own::purge_result::Item { sandbox_id: id, outcome, message } = item;
    let known = PurgeOutcome::ALL.into_iter().find(|known| known.as_str() == outcome);
    Purged { id, outcome: known.unwrap_or(PurgeOutcome::Failed), message }
}
