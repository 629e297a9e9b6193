//! Sandboxes that are there already.

use super::{Core, Sandbox};
use crate::{Connection, Error, OwnershipKind, SandboxInfo, SandboxState, Select};

/// Which sandboxes to list.
///
/// ```
/// use ebbtide::{ListOptions, SandboxState};
///
/// let running = ListOptions { state: Some(SandboxState::Running), ..ListOptions::default() };
/// assert!(!running.show_terminated);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only those that have all of these tags.
    pub tags: Vec<String>,
    /// Only those in this state, also if it is a terminal one.
    pub state: Option<SandboxState>,
    /// Ended ones too.
    pub show_terminated: bool,
    /// Only those whose owner is gone.
    pub orphaned: bool,
}

impl ListOptions {
    /// Those that have all of these tags.
    pub fn tagged(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { tags: tags.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Those whose owner is gone, for whoever wants to adopt them.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{ListOptions, Sandbox};
    ///
    /// for orphan in Sandbox::list(ListOptions::orphaned()).await? {
    ///     println!("{}", orphan.why().await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn orphaned() -> Self {
        Self { orphaned: true, ..Self::default() }
    }

    fn select(&self) -> Select {
        Select {
            tags: self.tags.clone(),
            state: self.state.map(SandboxState::to_message),
            show_terminated: self.show_terminated,
        }
    }
}

impl Sandbox {
    /// The sandbox with this id. It belongs to whoever made it: it does not end with this handle.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// let sandbox = ebbtide::Sandbox::from_id("01k3q5vxa8r6w2nfkd0t9hjm4c").await?;
    /// sandbox.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is none, or the call fails.
    pub async fn from_id(id: &str) -> Result<Self, Error> {
        Self::from_id_on(&Connection::from_env()?, id).await
    }

    /// As [`Sandbox::from_id`], of this daemon.
    ///
    /// # Errors
    /// As [`Sandbox::from_id`].
    pub async fn from_id_on(connection: &Connection, id: &str) -> Result<Self, Error> {
        let sandbox = connection.call(async |client: crate::Client| client.get(id).await).await?;
        Ok(Core::found(connection.clone(), sandbox.into()))
    }

    /// The sandboxes that match. They belong to whoever made them: they do not end with these handles.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{ListOptions, Sandbox};
    ///
    /// for orphan in Sandbox::list(ListOptions::tagged(["my-project"])).await? {
    ///     orphan.stop().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the call fails.
    pub async fn list(options: ListOptions) -> Result<Vec<Self>, Error> {
        Self::list_on(&Connection::from_env()?, options).await
    }

    /// As [`Sandbox::list`], of this daemon.
    ///
    /// # Errors
    /// As [`Sandbox::list`].
    pub async fn list_on(connection: &Connection, options: ListOptions) -> Result<Vec<Self>, Error> {
        let found: Vec<SandboxInfo> = if options.orphaned {
            let kind = Some(OwnershipKind::Orphaned);
            let list = async |client: crate::Client| {
                client.descriptions(&options.tags, kind, options.show_terminated).await
            };
            let orphans = connection.call(list).await?.into_iter().map(|orphan| orphan.sandbox);
            orphans.filter(|orphan| options.state.is_none_or(|state| orphan.state == state)).collect()
        } else {
            let list = async |client: crate::Client| client.list(options.select()).await;
            connection.call(list).await?.into_iter().map(SandboxInfo::from).collect()
        };
        Ok(found.into_iter().map(|sandbox| Core::found(connection.clone(), sandbox)).collect())
    }
}
