//! From a handle to a sandbox that runs, and waiting for its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Core, Sandbox};
use crate::{Error, ErrorKind, SandboxInfo, SandboxState, engine};

/// The first and the longest pause between two looks at a sandbox that is being made.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

impl Sandbox {
    /// Asks for it, if that was not done yet. Any number of calls make one sandbox: all attempts have one request
    /// id. Goes on if the caller gives up, so that what was asked for is never forgotten.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses, or the sandbox was stopped before it was started.
    pub async fn start(&self) -> Result<(), Error> {
        if self.id().is_some() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        engine::run_on(async move { core.start().await }).await
    }

    /// Starts it if need be, and waits until commands can be run in it, or it has ended after it ran.
    ///
    /// # Errors
    /// [`Error::SandboxFailed`], [`Error::SandboxTerminated`] when somebody ended it, [`Error::NotRunning`] when
    /// this handle stops it meanwhile, [`Error::Timeout`] after the sandbox's own limit (300 s by default), or when
    /// a call fails.
    pub async fn wait(&self) -> Result<SandboxInfo, Error> {
        self.wait_within(self.start_timeout()).await
    }

    /// As [`Sandbox::wait`], for no longer than `limit`.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// use ebbtide::ErrorKind;
    /// use std::time::Duration;
    ///
    /// match sandbox.wait_within(Duration::from_secs(5)).await {
    ///     Err(error) if error.kind() == ErrorKind::Timeout => println!("it is still being made"),
    ///     waited => println!("it is {}", waited?.state),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::wait`].
    pub async fn wait_within(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        self.start().await?;
        let core = Arc::clone(&self.core);
        engine::run(async move { core.wait_started(limit).await }).await
    }

    /// Waits until it has ended and everything that it held is released, and says how. One that is kept after its main
    /// command's end is not waited for.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Timeout`] after `limit`, or when a call fails.
    pub async fn ended(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let core = Arc::clone(&self.core);
        engine::run(async move { core.ended(limit).await }).await
    }

    /// As [`Sandbox::ended`], for a sandbox that ends by itself: any other end is an error. Starts it if need be.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use std::time::Duration;
    ///
    /// let job = ebbtide::Sandbox::builder().command("sh").args(["-c", "exit 7"]).run().await?;
    /// let info = job.wait_until_complete(Duration::from_secs(60)).await?;
    /// assert_eq!(info.exit_code, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::ended`]; [`Error::SandboxFailed`], [`Error::SandboxTerminated`] when somebody ended it.
    pub async fn wait_until_complete(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        self.start().await?;
        let info = self.ended(limit).await?;
        match info.state {
            SandboxState::Failed => Err(failed(&info)),
            _ if info.was_terminated() => Err(terminated(&info)),
            _ => Ok(info),
        }
    }

    /// Asks the daemon how it is. What is known to be over is not asked for again.
    ///
    /// # Errors
    /// [`Error::NotStarted`], or when the call fails.
    pub async fn status(&self) -> Result<SandboxInfo, Error> {
        match self.info() {
            Some(info) if info.is_gone() => Ok(info),
            _ => {
                let core = Arc::clone(&self.core);
                engine::run(async move { core.ask().await }).await
            }
        }
    }

    /// Its id, once commands can be run in it; starts it and waits for that.
    pub(crate) async fn running(&self) -> Result<String, Error> {
        let info = match self.info() {
            Some(info) if !info.state.is_starting() => info,
            _ => self.wait().await?,
        };
        match info.is_alive() {
            true => Ok(info.id),
            false => Err(Error::NotRunning { id: info.id, state: info.state }),
        }
    }

    /// Why something could not be begun in it: if it is not running any more, what became of it.
    pub(crate) async fn explained(&self, error: Error) -> Error {
        if error.is_disconnect() {
            self.core.connection.forget().await;
        }
        if error.kind() != ErrorKind::NotRunning {
            return error;
        }
        match self.core.ask().await {
            Ok(info) if info.state != SandboxState::Running => {
                Error::NotRunning { id: info.id, state: info.state }
            }
            _ => error,
        }
    }
}

impl Core {
    async fn start(&self) -> Result<(), Error> {
        let _turn = self.starting.lock().await;
        if self.id().is_some() {
            return Ok(());
        }
        if self.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let spec = self.spec.as_ref().ok_or(Error::NotStarted)?;
        let create = async |client: crate::Client, lease: Option<_>| {
            client.create_as(spec.clone(), &self.request_id, lease.as_ref()).await
        };
        let sandbox = match self.detach {
            true => self.connection.call(async |client| create(client, None).await).await?,
            false => self.connection.call_as_owner(create).await?,
        };
        if sandbox.sandbox_id.is_empty() {
            return Err(Error::Protocol("a sandbox without an id".to_owned()));
        }
        self.learn(sandbox);
        Ok(())
    }

    async fn wait_started(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let deadline = Instant::now() + limit;
        let (mut pause, longest) = PAUSES;
        let mut stopped = self.stop_sent.subscribe();
        loop {
            let info = match self.info() {
                Some(info) if !info.state.is_starting() => info,
                _ => self.ask().await?,
            };
            match info.state {
                SandboxState::Failed => return Err(failed(&info)),
                SandboxState::Terminated => return Err(terminated(&info)),
                state if !state.is_starting() => return Ok(info),
                _ => {}
            }
            let next = Instant::now() + pause;
            if next > deadline {
                return Err(Error::Timeout { what: format!("the start of sandbox {}", info.id), limit });
            }
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(_) = stopped.wait_for(|sent| *sent) => {
                    return Err(Error::NotRunning { id: info.id, state: SandboxState::Terminating });
                }
            }
            pause = (pause * 2).min(longest);
        }
    }

    pub(crate) async fn ended(&self, limit: Duration) -> Result<SandboxInfo, Error> {
        let info = self.info().ok_or(Error::NotStarted)?;
        if info.is_gone() {
            return Ok(info);
        }
        let wait = async |client: crate::Client| client.wait(&info.id).await;
        match self.connection.call_within(limit, wait).await {
            Some(ended) => Ok(self.learn(ended?)),
            None => Err(Error::Timeout { what: format!("the end of sandbox {}", info.id), limit }),
        }
    }
}

fn failed(info: &SandboxInfo) -> Error {
    Error::SandboxFailed { id: info.id.clone(), reason: reason(info) }
}

fn terminated(info: &SandboxInfo) -> Error {
    Error::SandboxTerminated { id: info.id.clone(), reason: reason(info) }
}

fn reason(info: &SandboxInfo) -> String {
    info.reason.clone().unwrap_or_else(|| "for an unknown reason".to_owned())
}
