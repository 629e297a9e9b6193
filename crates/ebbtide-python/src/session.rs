//! Sandboxes that end together.

use ebbtide::{SandboxBuilder, SandboxDefaults};
use pyo3::prelude::*;

use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::process::Ours;
use crate::sandbox::{Sandbox, list_options};
use crate::{connection, failure, owned};

/// Sandboxes that end together. What they have in common is the package's business.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Session {
    inner: Ours<ebbtide::Session>,
}

impl Session {
    fn session(&self) -> PyResult<&ebbtide::Session> {
        self.inner.get().map_err(failure::refused)
    }

    pub(crate) fn builder(&self) -> PyResult<SandboxBuilder> {
        Ok(self.session()?.builder())
    }
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (base_url=None))]
    fn new(base_url: Option<&str>) -> PyResult<Self> {
        let connection = connection::connection(base_url).map_err(failure::refused)?;
        let session = ebbtide::Session::on(connection, SandboxDefaults::default());
        Ok(Self { inner: Ours::new(session) })
    }

    /// Takes a sandbox that was made elsewhere.
    fn adopt(&self, sandbox: &Sandbox) -> PyResult<Operation> {
        let (session, sandbox) = (self.session()?.clone(), sandbox.sandbox()?);
        Ok(Operation::start(async move { session.adopt(&sandbox).await.map(|()| Outcome::Nothing) }))
    }

    /// The sandbox with this id, which becomes the session's.
    fn find(&self, sandbox_id: String) -> PyResult<Operation> {
        let session = self.session()?.clone();
        Ok(Operation::start(async move { session.from_id(&sandbox_id).await.map(Outcome::Sandbox) }))
    }

    /// The sandboxes that match; they become the session's if that is asked for.
    #[pyo3(signature = (tags, state=None, show_terminated=false, orphaned=false, adopt=false))]
    fn list(
        &self,
        tags: Vec<String>,
        state: Option<&str>,
        show_terminated: bool,
        orphaned: bool,
        adopt: bool,
    ) -> PyResult<Operation> {
        let options = list_options(tags, state, show_terminated, orphaned)?;
        let session = self.session()?.clone();
        Ok(Operation::start(async move {
            let found = session.list(options).await?;
            if adopt {
                for sandbox in &found {
                    session.adopt(sandbox).await?;
                }
            }
            Ok(Outcome::Sandboxes(found))
        }))
    }

    /// How many sandboxes it has that were not stopped.
    fn sandbox_count(&self) -> PyResult<usize> {
        Ok(self.session()?.sandbox_count())
    }

    /// Whether it was closed.
    fn is_closed(&self) -> PyResult<bool> {
        Ok(self.session()?.is_closed())
    }

    /// Stops all of its sandboxes.
    fn close(&self) -> PyResult<Operation> {
        let session = self.session()?.clone();
        Ok(owned::promise(async move { session.close().await.map(|()| Outcome::Nothing) }))
    }
}
