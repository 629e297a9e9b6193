//! Sandboxes that belong together: made alike, and ended together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::stream;
use tracing::warn;

use crate::{
    Connection, Error, ErrorKind, ListOptions, Sandbox, SandboxBuilder, SandboxDefaults, StopFor,
    StopOptions, engine,
};

/// How many are stopped at once.
const AT_ONCE: usize = 32;

/// Sandboxes that share their defaults and end together. Clones are the same session.
///
/// ```
/// use ebbtide::{Connection, HomeLocation, SandboxDefaults, Session};
///
/// # fn example() -> Result<(), ebbtide::Error> {
/// let defaults = SandboxDefaults { tags: vec!["my-project".into()], ..Default::default() };
/// let session = Session::new(defaults)?;
/// let first = session.sandbox()?;
/// let second = session.builder().tag("big").build()?;
/// assert_eq!(session.sandbox_count(), 2);
/// # Ok(())
/// # }
/// ```
///
/// When the last handle is dropped without [`Session::close`], its sandboxes end as those of dropped handles do.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    defaults: SandboxDefaults,
    connection: Connection,
    members: Mutex<Members>,
    /// Held by whoever closes it.
    closing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Members {
    closed: bool,
    sandboxes: Vec<Sandbox>,
}

impl Session {
    /// A session at the daemon that the environment names. Nothing is called yet.
    ///
    /// # Errors
    /// When the environment names none.
    pub fn new(defaults: SandboxDefaults) -> Result<Self, Error> {
        Ok(Self::on(Connection::from_env()?, defaults))
    }

    /// A session at this daemon. Nothing is called yet.
    pub fn on(connection: Connection, defaults: SandboxDefaults) -> Self {
        let (members, closing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { shared: Arc::new(Shared { defaults, connection, members, closing }) }
    }

    /// A sandbox as the session's defaults say, not started.
    ///
    /// # Errors
    /// [`Error::SessionClosed`], or when a default is out of range.
    pub fn sandbox(&self) -> Result<Sandbox, Error> {
        self.builder().build()
    }

    /// A sandbox to be described further; what is said is laid over the session's defaults.
    pub fn builder(&self) -> SandboxBuilder {
        let Shared { defaults, connection, .. } = &*self.shared;
        SandboxBuilder::in_session(self.clone(), defaults.clone(), connection.clone())
    }

    /// Takes over a sandbox that was made elsewhere and that nobody stands for: it ends with the session from now on,
    /// and with this process. One that has ended needs nobody.
    ///
    /// ```no_run
    /// # async fn example(session: ebbtide::Session) -> Result<(), ebbtide::Error> {
    /// for orphan in session.list(ebbtide::ListOptions::orphaned()).await? {
    ///     session.adopt(&orphan).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::SessionClosed`], [`Error::NotStarted`] for one that is not there yet, [`Error::Owned`] with who has it,
    /// or when the call fails.
    pub async fn adopt(&self, sandbox: &Sandbox) -> Result<(), Error> {
        if sandbox.id().is_none() {
            return Err(Error::NotStarted);
        }
        if self.is_closed() {
            return Err(Error::SessionClosed);
        }
        if !sandbox.core.is_over() {
            match sandbox.adopt().await {
                // A daemon of another make knows no owners: this session alone ends it.
                Err(error) if error.kind() == ErrorKind::Unsupported => sandbox.core.own(),
                adopted => drop(adopted?),
            }
        }
        self.enter(sandbox)
    }

    /// The sandboxes that match and have the session's tags too. They are not the session's before it adopts them.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn list(&self, mut options: ListOptions) -> Result<Vec<Sandbox>, Error> {
        options.tags.extend(self.shared.defaults.tags.iter().cloned());
        Sandbox::list_on(&self.shared.connection, options).await
    }

    /// The sandbox with this id, which ends with the session from now on.
    ///
    /// # Errors
    /// When there is none, the call fails, or the session was closed.
    pub async fn from_id(&self, id: &str) -> Result<Sandbox, Error> {
        let sandbox = Sandbox::from_id_on(&self.shared.connection, id).await?;
        self.adopt(&sandbox).await?;
        Ok(sandbox)
    }

    /// How many sandboxes it has that were not stopped, started or not.
    pub fn sandbox_count(&self) -> usize {
        self.members().sandboxes.len()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.members().closed
    }

    /// Stops all of its sandboxes at once and waits for their end; those live on whose keep policy spares them. It is
    /// closed then, whatever failed. May be called again, and then stops what could not be stopped before; goes on if
    /// the caller gives up. One that is gone already is no failure.
    ///
    /// # Errors
    /// [`Error::CloseFailed`] with each sandbox that could not be stopped.
    pub async fn close(&self) -> Result<(), Error> {
        let session = self.clone();
        engine::run_on(async move { session.stop_all().await }).await
    }

    /// Lends it to `body` and closes it, whatever `body` returns. If both fail, the error of closing is returned and
    /// the other is logged: sandboxes are left then.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{SandboxDefaults, Session};
    ///
    /// let session = Session::new(SandboxDefaults::default())?;
    /// session
    ///     .scope(async |session| {
    ///         let (first, second) = (session.sandbox()?, session.sandbox()?);
    ///         first.exec(["true"]).check().output().await?;
    ///         second.exec(["true"]).check().output().await
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::close`], or `body`'s.
    pub async fn scope<T, E: From<Error> + std::fmt::Display>(
        &self,
        body: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        leave(body(self).await, self.close().await)
    }

    async fn stop_all(&self) -> Result<(), Error> {
        let _turn = self.shared.closing.lock().await;
        let sandboxes = {
            let mut members = self.members();
            members.closed = true;
            std::mem::take(&mut members.sandboxes)
        };
        let options = StopOptions::default().missing_ok(true).stop_for(StopFor::Session);
        let stops = sandboxes.into_iter().map(async |sandbox| {
            // One that is gone already is what was asked for.
            let stopped = sandbox.stop_with(options).await;
            stopped.err().map(|error| (sandbox, error))
        });
        let failed: Vec<_> = stream::iter(stops).buffer_unordered(AT_ONCE).collect().await;
        let (left, failures): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .flatten()
            .map(|(sandbox, error)| (sandbox.clone(), (sandbox.id().unwrap_or_default(), error)))
            .unzip();
        self.members().sandboxes.extend(left);
        if failures.is_empty() { Ok(()) } else { Err(Error::CloseFailed { failures }) }
    }

    pub(crate) fn enter(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let mut members = self.members();
        if members.closed {
            return Err(Error::SessionClosed);
        }
        members.sandboxes.push(sandbox.clone());
        Ok(())
    }

    /// The members, without those that have left by being stopped.
    fn members(&self) -> MutexGuard<'_, Members> {
        let mut members = self.shared.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.sandboxes.retain(|sandbox| !sandbox.core.is_over());
        members
    }
}

/// What comes of a session's scope: of two errors that of closing.
pub(crate) fn leave<T, E: From<Error> + std::fmt::Display>(
    result: Result<T, E>,
    closed: Result<(), Error>,
) -> Result<T, E> {
    if let (Err(problem), Err(_)) = (&result, &closed) {
        warn!(%problem, "what was done in a session failed, and then its end");
    }
    closed?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HomeLocation;

    fn session() -> Session {
        let connection = Connection::to_home(HomeLocation::new("/nonexistent", "/nonexistent"));
        let defaults = SandboxDefaults { tags: vec!["all".into()], ..Default::default() };
        Session::on(connection, defaults)
    }

    #[tokio::test]
    async fn a_sandbox_that_was_never_started_needs_no_daemon_to_be_stopped() {
        let session = session();
        let sandbox = session.builder().tag("one").build().unwrap();
        assert_eq!(sandbox.core.spec.as_ref().unwrap().tags, ["all", "one"]);
        assert_eq!(session.sandbox_count(), 1);
        sandbox.stop().await.unwrap();
        assert_eq!(session.sandbox_count(), 0);
        assert!(matches!(sandbox.start().await, Err(Error::Cancelled)));
    }

    #[test]
    fn of_two_errors_a_session_tells_that_of_its_end_and_a_sandbox_that_of_its_use() {
        let used = || Err::<(), _>(Error::CommandCancelled);
        assert!(matches!(leave(used(), Err(Error::NotStarted)), Err(Error::NotStarted)));
        assert!(matches!(leave(used(), Ok(())), Err(Error::CommandCancelled)));
        let sandbox = session().sandbox().unwrap();
        let left = sandbox.leave(used(), Err(Error::NotStarted));
        assert!(matches!(left, Err(Error::CommandCancelled)));
        let left = sandbox.leave(Ok::<_, Error>(7), Err(Error::NotStarted));
        assert!(matches!(left, Err(Error::NotStarted)));
    }

    #[tokio::test]
    async fn a_closed_session_makes_and_takes_nothing() {
        let session = session();
        let sandbox = session.sandbox().unwrap();
        session.close().await.unwrap();
        session.close().await.unwrap();
        assert!(session.is_closed());
        assert!(matches!(sandbox.start().await, Err(Error::Cancelled)));
        assert!(matches!(session.sandbox(), Err(Error::SessionClosed)));
        assert!(matches!(session.adopt(&sandbox).await, Err(Error::NotStarted)));
    }
}
