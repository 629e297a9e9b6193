//! A sandbox for the length of a block.

use tracing::warn;

use super::{Sandbox, StopFor, StopOptions};
use crate::Error;

impl Sandbox {
    /// Starts it, lends it to `body`, and stops it, whatever `body` returns. One that never was started by then, or has
    /// ended, is no failure. One whose keep policy spares it lives on.
    ///
    /// If both fail, `body`'s error is returned and the other is logged: it is the one that the caller is after.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::Sandbox;
    ///
    /// let said = Sandbox::builder()
    ///     .build()?
    ///     .scope(async |sandbox| sandbox.exec(["uname", "-n"]).output().await)
    ///     .await?;
    /// print!("{}", said.stdout_text());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `body`'s, or why it could not be started or stopped.
    pub async fn scope<T, E: From<Error>>(
        &self,
        body: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.start().await?;
        let result = body(self).await;
        self.leave(
            result,
            self.stop_with(StopOptions::default().missing_ok(true).stop_for(StopFor::Scope)).await,
        )
    }

    /// What comes of a scope: of two errors that of its body.
    pub(crate) fn leave<T, E: From<Error>>(
        &self,
        result: Result<T, E>,
        stopped: Result<(), Error>,
    ) -> Result<T, E> {
        if let (Err(_), Err(problem)) = (&result, &stopped) {
            warn!(sandbox = self.id(), %problem, "a sandbox was not stopped at the end of its scope");
        }
        let value = result?;
        stopped?;
        Ok(value)
    }
}
