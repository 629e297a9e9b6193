//! One sandbox, for callers that wait.

use std::time::Duration;

use super::{ExecBuilder, FileReader, FileWriter, LogLines, SandboxBuilder};
use crate::{
    Connection, Description, Error, ListOptions, LogOptions, Receipt, SandboxInfo, SandboxState, StopFor,
    StopOptions, WindowSize, WriteOptions, engine,
};

/// A sandbox, as [`crate::Sandbox`].
///
/// ```no_run
/// # fn example() -> Result<(), ebbtide::Error> {
/// let sandbox = ebbtide::blocking::Sandbox::builder().run()?;
/// assert!(sandbox.exec(["true"]).output()?.success());
/// sandbox.stop()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sandbox(pub(crate) crate::Sandbox);

impl From<crate::Sandbox> for Sandbox {
    fn from(sandbox: crate::Sandbox) -> Self {
        Self(sandbox)
    }
}

impl From<Sandbox> for crate::Sandbox {
    fn from(sandbox: Sandbox) -> Self {
        sandbox.0
    }
}

impl Sandbox {
    /// As [`crate::Sandbox::builder`].
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder(crate::Sandbox::builder())
    }

    /// As [`crate::Sandbox::from_id`].
    ///
    /// # Errors
    /// The same.
    pub fn from_id(id: &str) -> Result<Self, Error> {
        Self::from_id_on(&Connection::from_env()?, id)
    }

    /// As [`crate::Sandbox::from_id_on`].
    ///
    /// # Errors
    /// The same.
    pub fn from_id_on(connection: &Connection, id: &str) -> Result<Self, Error> {
        let (connection, id) = (connection.clone(), id.to_owned());
        engine::block_on(async move { crate::Sandbox::from_id_on(&connection, &id).await }).map(Self)
    }

    /// As [`crate::Sandbox::list`].
    ///
    /// # Errors
    /// The same.
    pub fn list(options: ListOptions) -> Result<Vec<Self>, Error> {
        Self::list_on(&Connection::from_env()?, options)
    }

    /// As [`crate::Sandbox::list_on`].
    ///
    /// # Errors
    /// The same.
    pub fn list_on(connection: &Connection, options: ListOptions) -> Result<Vec<Self>, Error> {
        let connection = connection.clone();
        let found = engine::block_on(async move { crate::Sandbox::list_on(&connection, options).await })?;
        Ok(found.into_iter().map(Self).collect())
    }

    /// As [`crate::Sandbox::delete`].
    ///
    /// # Errors
    /// The same.
    pub fn delete(id: &str, missing_ok: bool) -> Result<(), Error> {
        Self::delete_on(&Connection::from_env()?, id, missing_ok)
    }

    /// As [`crate::Sandbox::delete_on`].
    ///
    /// # Errors
    /// The same.
    pub fn delete_on(connection: &Connection, id: &str, missing_ok: bool) -> Result<(), Error> {
        let (connection, id) = (connection.clone(), id.to_owned());
        engine::block_on(async move { crate::Sandbox::delete_on(&connection, &id, missing_ok).await })
    }

    /// As [`crate::Sandbox::id`].
    pub fn id(&self) -> Option<String> {
        self.0.id()
    }

    /// As [`crate::Sandbox::info`].
    pub fn info(&self) -> Option<SandboxInfo> {
        self.0.info()
    }

    /// As [`crate::Sandbox::state`].
    pub fn state(&self) -> Option<SandboxState> {
        self.0.state()
    }

    /// As [`crate::Sandbox::exit_code`].
    pub fn exit_code(&self) -> Option<i32> {
        self.0.exit_code()
    }

    /// As [`crate::Sandbox::forget`].
    pub fn forget(&self) {
        self.0.forget();
    }

    /// As [`crate::Sandbox::start`].
    ///
    /// # Errors
    /// The same.
    pub fn start(&self) -> Result<(), Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.start().await })
    }

    /// As [`crate::Sandbox::wait`].
    ///
    /// # Errors
    /// The same.
    pub fn wait(&self) -> Result<SandboxInfo, Error> {
        self.wait_within(self.0.start_timeout())
    }

    /// As [`crate::Sandbox::wait_within`].
    ///
    /// # Errors
    /// The same.
    pub fn wait_within(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.wait_within(limit).await })
    }

    /// As [`crate::Sandbox::ended`].
    ///
    /// # Errors
    /// The same.
    pub fn ended(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.ended(limit).await })
    }

    /// As [`crate::Sandbox::wait_until_complete`].
    ///
    /// # Errors
    /// The same.
    pub fn wait_until_complete(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.wait_until_complete(limit).await })
    }

    /// As [`crate::Sandbox::status`].
    ///
    /// # Errors
    /// The same.
    pub fn status(&self) -> Result<SandboxInfo, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.status().await })
    }

    /// As [`crate::Sandbox::describe`].
    ///
    /// # Errors
    /// The same.
    pub fn describe(&self) -> Result<Description, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.describe().await })
    }

    /// As [`crate::Sandbox::why`].
    ///
    /// # Errors
    /// The same.
    pub fn why(&self) -> Result<String, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.why().await })
    }

    /// As [`crate::Sandbox::receipt`].
    ///
    /// # Errors
    /// The same.
    pub fn receipt(&self) -> Result<Receipt, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.receipt().await })
    }

    /// As [`crate::Sandbox::pause`].
    ///
    /// # Errors
    /// The same.
    pub fn pause(&self) -> Result<Description, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.pause().await })
    }

    /// As [`crate::Sandbox::resume`].
    ///
    /// # Errors
    /// The same.
    pub fn resume(&self) -> Result<Description, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.resume().await })
    }

    /// As [`crate::Sandbox::adopt`].
    ///
    /// # Errors
    /// The same.
    pub fn adopt(&self) -> Result<Description, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.adopt().await })
    }

    /// As [`crate::Sandbox::detach`].
    ///
    /// # Errors
    /// The same.
    pub fn detach(&self) -> Result<Description, Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.detach().await })
    }

    /// As [`crate::Sandbox::exec`].
    pub fn exec(&self, command: impl IntoIterator<Item = impl Into<String>>) -> ExecBuilder {
        ExecBuilder(self.0.exec(command))
    }

    /// As [`crate::Sandbox::shell`].
    pub fn shell(&self, size: WindowSize) -> ExecBuilder {
        ExecBuilder(self.0.shell(size))
    }

    /// As [`crate::Sandbox::read_file`].
    ///
    /// # Errors
    /// The same.
    pub fn read_file(&self, path: impl Into<String>) -> Result<Vec<u8>, Error> {
        let (sandbox, path) = (self.0.clone(), path.into());
        engine::block_on(async move { sandbox.read_file(path).await })
    }

    /// As [`crate::Sandbox::write_file`].
    ///
    /// # Errors
    /// The same.
    pub fn write_file(&self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Result<(), Error> {
        let (sandbox, path, content) = (self.0.clone(), path.into(), content.into());
        engine::block_on(async move { sandbox.write_file(path, content).await })
    }

    /// As [`crate::Sandbox::read_file_stream`].
    ///
    /// # Errors
    /// The same.
    pub fn read_file_stream(&self, path: impl Into<String>) -> Result<FileReader, Error> {
        let (sandbox, path) = (self.0.clone(), path.into());
        Ok(FileReader::new(engine::block_on(async move { sandbox.read_file_stream(path).await })?))
    }

    /// As [`crate::Sandbox::write_file_stream`].
    ///
    /// # Errors
    /// The same.
    pub fn write_file_stream(
        &self,
        path: impl Into<String>,
        options: WriteOptions,
    ) -> Result<FileWriter, Error> {
        let (sandbox, path) = (self.0.clone(), path.into());
        let open = async move { sandbox.write_file_stream(path, options).await };
        Ok(FileWriter::new(engine::block_on(open)?))
    }

    /// As [`crate::Sandbox::logs`], line by line.
    ///
    /// # Errors
    /// The same.
    pub fn logs(&self, options: LogOptions) -> Result<LogLines, Error> {
        let sandbox = self.0.clone();
        Ok(LogLines::new(engine::block_on(async move { sandbox.logs(options).await })?))
    }

    /// As [`crate::Sandbox::scope`].
    ///
    /// # Errors
    /// The same.
    pub fn scope<T, E: From<Error>>(&self, body: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        self.start()?;
        let result = body(self);
        self.0.leave(result, self.stop_with(StopOptions::default().missing_ok(true).stop_for(StopFor::Scope)))
    }

    /// As [`crate::Sandbox::stop`].
    ///
    /// # Errors
    /// The same.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop_with(StopOptions::default())
    }

    /// As [`crate::Sandbox::stop_with`].
    ///
    /// # Errors
    /// The same.
    pub fn stop_with(&self, options: StopOptions) -> Result<(), Error> {
        let sandbox = self.0.clone();
        engine::block_on(async move { sandbox.stop_with(options).await })
    }
}
