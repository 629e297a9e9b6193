//! Ending a sandbox.

use std::sync::Arc;
use std::time::Duration;

use ebbtide_model::{STOP_FOR_FAILURE, STOP_FOR_SCOPE, STOP_FOR_SESSION};
use ebbtide_proto::coreweave::sandbox::v1 as wire;

use super::{Core, Sandbox};
use crate::{Connection, Error, SandboxInfo, engine};

/// How long a sandbox may take to go, on top of its grace period.
const MARGIN: Duration = Duration::from_secs(60);

/// How to end a sandbox.
///
/// ```
/// use ebbtide::StopOptions;
/// use std::time::Duration;
///
/// let gently = StopOptions::default().grace(Duration::from_secs(30)).missing_ok(true);
/// assert_eq!(StopOptions::now().grace, Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOptions {
    /// How long its commands have after SIGTERM before SIGKILL, in whole seconds, rounded up.
    pub grace: Duration,
    /// Whether a sandbox that is not there is no failure.
    pub missing_ok: bool,
    /// For what it is. A sandbox may be kept unless its caller asked for its end.
    pub stop_for: StopFor,
}

/// For what a sandbox is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopFor {
    /// Somebody asked for it: it always ends.
    #[default]
    Caller,
    /// The block, the last handle or the program that had it has ended; its keep policy is asked.
    Scope,
    /// The session that had it is closed; its keep policy is asked.
    Session,
    /// What it was made for has failed; its keep policy is asked.
    Failure,
}

impl StopFor {
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::Caller => None,
            Self::Scope => Some(STOP_FOR_SCOPE),
            Self::Session => Some(STOP_FOR_SESSION),
            Self::Failure => Some(STOP_FOR_FAILURE),
        }
    }
}

impl Default for StopOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), missing_ok: false, stop_for: StopFor::Caller }
    }
}

impl StopOptions {
    /// Kills at once.
    pub fn now() -> Self {
        Self::default().grace(Duration::ZERO)
    }

    /// The same with this grace period.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The same, with or without failing for a sandbox that is not there.
    #[must_use]
    pub fn missing_ok(self, missing_ok: bool) -> Self {
        Self { missing_ok, ..self }
    }

    /// The same, for this.
    #[must_use]
    pub fn stop_for(self, stop_for: StopFor) -> Self {
        Self { stop_for, ..self }
    }

    fn whole_grace(&self) -> Duration {
        Duration::from_secs(self.grace.as_secs() + u64::from(self.grace.subsec_nanos() > 0))
    }
}

impl Sandbox {
    /// Ends it and waits until everything that it held is released. Its commands get SIGTERM, and SIGKILL after ten
    /// seconds.
    ///
    /// May be called any number of times, by any number of callers: one does it, the others wait for the same end.
    /// One that has ended already is no failure; one that was never started can not be started any more.
    ///
    /// # Errors
    /// When there is no such sandbox, it does not end in time, or a call fails.
    pub async fn stop(&self) -> Result<(), Error> {
        self.stop_with(StopOptions::default()).await
    }

    /// As [`Sandbox::stop`], in this way. Of several callers the first one's options count.
    ///
    /// # Errors
    /// As [`Sandbox::stop`].
    pub async fn stop_with(&self, options: StopOptions) -> Result<(), Error> {
        if self.core.is_over() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        engine::run_on(async move { core.stop(options).await }).await
    }

    /// Ends a sandbox of which only the id is known, at once, without waiting for its end.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// ebbtide::Sandbox::delete("01k3q5vxa8r6w2nfkd0t9hjm4c", true).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no such sandbox and `missing_ok` does not allow for that, or the call fails.
    pub async fn delete(id: &str, missing_ok: bool) -> Result<(), Error> {
        Self::delete_on(&Connection::from_env()?, id, missing_ok).await
    }

    /// As [`Sandbox::delete`], by this daemon.
    ///
    /// # Errors
    /// As [`Sandbox::delete`].
    pub async fn delete_on(connection: &Connection, id: &str, missing_ok: bool) -> Result<(), Error> {
        let options = StopOptions::now().missing_ok(missing_ok);
        delete(connection, id, options).await.map(|_| ())
    }
}

/// What the daemon made of a wish to end a sandbox.
enum Deleted {
    Missing,
    Ending,
    /// Its keep policy has spared it.
    Kept(Box<wire::Sandbox>),
}

async fn delete(connection: &Connection, id: &str, options: StopOptions) -> Result<Deleted, Error> {
    let (grace, StopOptions { missing_ok, stop_for, .. }) = (options.whole_grace(), options);
    let delete = async |client: crate::Client, lease: Option<_>| {
        client.delete_as(id, grace, missing_ok, stop_for, lease.as_ref()).await
    };
    let Some(sandbox) = connection.call_as_known(delete).await? else { return Ok(Deleted::Missing) };
    let info = SandboxInfo::from(sandbox.clone());
    Ok(if info.is_alive() && stop_for != StopFor::Caller {
        Deleted::Kept(Box::new(sandbox))
    } else {
        Deleted::Ending
    })
}

/// Ends a sandbox and waits for its end. One that is not there any more has ended.
pub(crate) async fn end(connection: &Connection, id: &str, options: StopOptions) -> Result<(), Error> {
    let Deleted::Ending = delete(connection, id, options.missing_ok(true)).await? else { return Ok(()) };
    let limit = options.whole_grace() + MARGIN;
    let wait = async |client: crate::Client| client.wait(id).await;
    match connection.call_within(limit, wait).await {
        Some(Err(error)) if !error.is_not_found() => Err(error),
        Some(_) => Ok(()),
        None => Err(Error::Timeout { what: format!("the end of sandbox {id}"), limit }),
    }
}

impl Core {
    async fn stop(&self, options: StopOptions) -> Result<(), Error> {
        let _turn = self.stopping.lock().await;
        if self.is_over() {
            return Ok(());
        }
        let id = {
            // A start that is under way decides whether there is anything to stop.
            let _start = self.starting.lock().await;
            match self.id() {
                Some(id) => id,
                None => {
                    self.cancel();
                    return Ok(());
                }
            }
        };
        self.stop_sent.send_replace(true);
        let ended = self.end(&id, options).await;
        // Whoever waits for the start of one that was not stopped may do so.
        self.stop_sent.send_replace(matches!(ended, Ok(true)));
        ended.map(|_| ())
    }

    /// Whether it has ended; it has not if it was kept.
    async fn end(&self, id: &str, options: StopOptions) -> Result<bool, Error> {
        match delete(&self.connection, id, options).await {
            Ok(Deleted::Ending) => {}
            Ok(Deleted::Missing) => {
                self.learn_gone();
                return Ok(true);
            }
            Ok(Deleted::Kept(sandbox)) => {
                self.learn(*sandbox);
                // It has left us: whoever wants to look at it will find it.
                self.disown();
                return Ok(false);
            }
            Err(error) => {
                if error.is_not_found() {
                    self.learn_gone();
                }
                return Err(error);
            }
        }
        match self.ended(options.whole_grace() + MARGIN).await {
            Err(error) if error.is_not_found() => self.learn_gone(),
            ended => drop(ended?),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_is_never_cut_short() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            let options = StopOptions::default().grace(Duration::from_millis(millis));
            assert_eq!(options.whole_grace(), Duration::from_secs(seconds));
        }
    }
}
