//! Sandboxes that belong together, for callers that wait.

use super::{Sandbox, SandboxBuilder};
use crate::{Connection, Error, ListOptions, SandboxDefaults, engine};

/// Sandboxes that share their defaults and end together, as [`crate::Session`].
///
/// ```no_run
/// use ebbtide::SandboxDefaults;
/// use ebbtide::blocking::Session;
///
/// # fn example() -> Result<(), ebbtide::Error> {
/// let session = Session::new(SandboxDefaults::default())?;
/// let (first, second) = (session.sandbox()?, session.sandbox()?);
/// first.exec(["echo", "sandbox 1"]).output()?;
/// second.exec(["echo", "sandbox 2"]).output()?;
/// session.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Session(crate::Session);

impl Session {
    /// As [`crate::Session::new`].
    ///
    /// # Errors
    /// The same.
    pub fn new(defaults: SandboxDefaults) -> Result<Self, Error> {
        crate::Session::new(defaults).map(Self)
    }

    /// As [`crate::Session::on`].
    pub fn on(connection: Connection, defaults: SandboxDefaults) -> Self {
        Self(crate::Session::on(connection, defaults))
    }

    /// As [`crate::Session::sandbox`].
    ///
    /// # Errors
    /// The same.
    pub fn sandbox(&self) -> Result<Sandbox, Error> {
        self.0.sandbox().map(Sandbox)
    }

    /// As [`crate::Session::builder`].
    pub fn builder(&self) -> SandboxBuilder {
        SandboxBuilder(self.0.builder())
    }

    /// As [`crate::Session::adopt`].
    ///
    /// # Errors
    /// The same.
    pub fn adopt(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let (session, sandbox) = (self.0.clone(), sandbox.0.clone());
        engine::block_on(async move { session.adopt(&sandbox).await })
    }

    /// As [`crate::Session::list`].
    ///
    /// # Errors
    /// The same.
    pub fn list(&self, options: ListOptions) -> Result<Vec<Sandbox>, Error> {
        let session = self.0.clone();
        let found = engine::block_on(async move { session.list(options).await })?;
        Ok(found.into_iter().map(Sandbox).collect())
    }

    /// As [`crate::Session::from_id`].
    ///
    /// # Errors
    /// The same.
    pub fn from_id(&self, id: &str) -> Result<Sandbox, Error> {
        let (session, id) = (self.0.clone(), id.to_owned());
        engine::block_on(async move { session.from_id(&id).await }).map(Sandbox)
    }

    /// As [`crate::Session::sandbox_count`].
    pub fn sandbox_count(&self) -> usize {
        self.0.sandbox_count()
    }

    /// As [`crate::Session::is_closed`].
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// As [`crate::Session::scope`].
    ///
    /// # Errors
    /// The same.
    pub fn scope<T, E: From<Error> + std::fmt::Display>(
        &self,
        body: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let result = body(self);
        crate::session::leave(result, self.close())
    }

    /// As [`crate::Session::close`].
    ///
    /// # Errors
    /// The same.
    pub fn close(&self) -> Result<(), Error> {
        let session = self.0.clone();
        engine::block_on(async move { session.close().await })
    }
}
