//! Who stands for a sandbox, what is to become of it, and what its end released.

use ebbtide_model::Receipt;

use super::Sandbox;
use crate::{Description, Error, why};

impl Sandbox {
    /// All that is known of it: who stands for it, what keeps it alive, when and why it will end or has.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// use ebbtide::OwnershipKind;
    ///
    /// if sandbox.describe().await?.ownership.kind == OwnershipKind::Orphaned {
    ///     sandbox.adopt().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotStarted`], or when the call fails.
    pub async fn describe(&self) -> Result<Description, Error> {
        let id = self.started_id()?;
        let describe =
            async |client: crate::Client, lease: Option<_>| client.describe_as(&id, lease.as_ref()).await;
        let described = self.core.connection.call_as_known(describe).await?;
        Ok(self.noted(described))
    }

    /// The same in plain words.
    ///
    /// # Errors
    /// As [`Sandbox::describe`].
    pub async fn why(&self) -> Result<String, Error> {
        Ok(why(&self.describe().await?))
    }

    /// What its end released, and what was left: nothing.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// sandbox.stop().await?;
    /// let receipt = sandbox.receipt().await?;
    /// assert!(receipt.left.is_empty());
    /// println!("{:?} in {:?}", receipt.released, receipt.took);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoReceipt`] before its end, and where nobody saw it; else as [`Sandbox::describe`].
    pub async fn receipt(&self) -> Result<Receipt, Error> {
        let described = self.describe().await?;
        let why = match described.sandbox.is_gone() {
            true => "nobody saw what its end released",
            false => "it has not ended; stop it first",
        };
        let id = described.sandbox.id;
        described.end.and_then(|end| end.receipt).ok_or(Error::NoReceipt { id, why })
    }

    /// Freezes what runs in it: its memory stays, its deadlines go on, and nothing can be run in it before
    /// [`Sandbox::resume`]. One that is frozen already is no failure.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// sandbox.pause().await?;
    /// let error = sandbox.exec(["true"]).output().await.unwrap_err();
    /// assert_eq!(error.kind(), ebbtide::ErrorKind::Paused);
    /// sandbox.resume().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it does not run, or the call fails.
    pub async fn pause(&self) -> Result<Description, Error> {
        let id = self.running().await?;
        let pause = async |client: crate::Client| client.pause(&id).await;
        Ok(self.noted(self.core.connection.call(pause).await?))
    }

    /// Goes on with what was frozen. One that runs is no failure.
    ///
    /// # Errors
    /// [`Error::NotStarted`], when it has ended, or when the call fails.
    pub async fn resume(&self) -> Result<Description, Error> {
        let id = self.started_id()?;
        let resume = async |client: crate::Client| client.resume(&id).await;
        Ok(self.noted(self.core.connection.call(resume).await?))
    }

    /// Takes it over: from now on it ends with this handle and with this process, as one does that was made here.
    /// Of two processes that try, one wins. One's own is no failure.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{Error, ListOptions, Sandbox};
    ///
    /// for orphan in Sandbox::list(ListOptions::orphaned()).await? {
    ///     match orphan.adopt().await {
    ///         Err(Error::Owned(owned)) => println!("{} was faster", owned.by),
    ///         adopted => println!("ours: {}", adopted?.sandbox.id),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Owned`] with who has it, or when the call fails.
    pub async fn adopt(&self) -> Result<Description, Error> {
        let id = self.started_id()?;
        let adopt =
            async |client: crate::Client, lease: Option<_>| client.adopt_for(&id, None, lease.as_ref()).await;
        let described = self.core.connection.call_as_owner(adopt).await?;
        self.core.own();
        Ok(self.noted(described))
    }

    /// Lets go of it: neither this handle nor anybody's end ends it any more, but its lifetime does.
    ///
    /// # Errors
    /// [`Error::NotStarted`], or when the call fails.
    pub async fn detach(&self) -> Result<Description, Error> {
        let id = self.started_id()?;
        let detach =
            async |client: crate::Client, lease: Option<_>| client.detach_as(&id, lease.as_ref()).await;
        let described = self.core.connection.call_as_known(detach).await?;
        self.core.disown();
        Ok(self.noted(described))
    }

    fn started_id(&self) -> Result<String, Error> {
        self.id().ok_or(Error::NotStarted)
    }

    fn noted(&self, described: Description) -> Description {
        self.core.note(described.sandbox.clone());
        described
    }
}
