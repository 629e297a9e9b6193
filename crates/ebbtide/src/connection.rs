//! The way to a daemon: found on first use, found again when it was replaced.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::lease::{self, LeaseToken};
use crate::{Client, ConnectOptions, Error, ErrorKind, HomeLocation, ProcessLocal, Target, engine};

/// How often a call that may be repeated is made again when the daemon goes under it.
const ATTEMPTS: usize = 3;
/// How long a call may take that waits for nothing.
pub(crate) const REQUEST: Duration = Duration::from_secs(300);

/// Where sandboxes are made. Cheap to clone; nothing is called before the first sandbox needs it.
///
/// ```
/// use ebbtide::{Connection, HomeLocation};
///
/// let ours = Connection::to_home(HomeLocation::new("/srv/sandboxes", "/run/ebbtide"));
/// assert!(ours.is_local());
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    options: ConnectOptions,
    /// The process that may use it: what drives a connection does not survive a fork.
    pid: u32,
    client: tokio::sync::Mutex<Option<Client>>,
}

/// The connection that the environment names, shared by everything in this process that asks for none of its own.
static FROM_ENV: ProcessLocal<Mutex<Option<Connection>>> = ProcessLocal::new();

impl Connection {
    /// The daemon that the environment names: by `EBBTIDE_URL`, else that of `EBBTIDE_HOME`, else of this user. That
    /// of a home is started if there is none.
    ///
    /// # Errors
    /// When the environment names none.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_env_with(ConnectOptions::default())
    }

    /// The same daemon, reached in this way.
    ///
    /// # Errors
    /// As [`Connection::from_env`].
    pub fn from_env_with(options: ConnectOptions) -> Result<Self, Error> {
        let target = Target::from_env()?;
        let mut shared = FROM_ENV.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.as_ref()
            && known.shared.target == target
            && known.shared.options == options
        {
            return Ok(known.clone());
        }
        let connection = Self::new(target, options);
        *shared = Some(connection.clone());
        Ok(connection)
    }

    /// The daemon of a home, started if there is none.
    pub fn to_home(home: HomeLocation) -> Self {
        Self::new(Target::Home(home), ConnectOptions::default())
    }

    /// Any daemon, reached in this way.
    pub fn to(target: Target, options: ConnectOptions) -> Self {
        Self::new(target, options)
    }

    fn new(target: Target, options: ConnectOptions) -> Self {
        let client = tokio::sync::Mutex::new(None);
        Self { shared: Arc::new(Shared { target, options, pid: std::process::id(), client }) }
    }

    /// Whether the daemon is on this machine, so that it sees when this process ends.
    pub fn is_local(&self) -> bool {
        self.shared.target.is_local()
    }

    /// The daemon's calls, each as one method.
    ///
    /// # Errors
    /// When the daemon cannot be reached and cannot be started.
    pub async fn client(&self) -> Result<Client, Error> {
        self.check()?;
        // A connection is driven by the runtime that opened it, so all of them are opened there.
        let shared = Arc::clone(&self.shared);
        engine::run_on(async move {
            let mut client = shared.client.lock().await;
            if let Some(client) = client.as_ref() {
                return Ok(client.clone());
            }
            let opened = shared.target.connect(&shared.options).await?;
            Ok(client.insert(opened).clone())
        })
        .await
    }

    /// Makes a call that may be repeated, again if the daemon goes under it, for a bounded time.
    pub(crate) async fn call<F, T>(&self, call: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.call_within(REQUEST, call).await.unwrap_or(Err(Error::NoAnswer { limit: REQUEST }))
    }

    /// As [`Connection::call`], for as long as `limit`; `None` if that was not enough.
    pub(crate) async fn call_within<F, T>(
        &self,
        limit: Duration,
        call: impl Fn(Client) -> F,
    ) -> Option<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>>,
    {
        timeout(limit, self.repeat(call)).await.ok()
    }

    async fn repeat<F, T>(&self, call: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for attempt in 1.. {
            match call(self.client().await?).await {
                Err(error) if error.is_disconnect() => {
                    self.forget().await;
                    if attempt == ATTEMPTS {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
        Err(Error::Disconnected("no attempt was made".to_owned()))
    }

    /// A client of a daemon that runs; none is started.
    pub(crate) async fn running_client(&self) -> Result<Client, Error> {
        if let Some(client) = self.shared.client.lock().await.as_ref() {
            return Ok(client.clone());
        }
        let options = ConnectOptions { autostart: false, ..self.shared.options.clone() };
        let opened = self.shared.target.connect(&options).await?;
        Ok(self.shared.client.lock().await.insert(opened).clone())
    }

    /// How often a lease is to be kept up, beyond what the kernels do.
    pub(crate) fn heartbeat(&self) -> Result<Option<Duration>, Error> {
        lease::heartbeat(self.shared.options.lease_heartbeat)
    }

    /// As [`Connection::call`], in the name of this process's lease, which is opened if need be. A daemon that does
    /// not know it any more is asked for a new one.
    pub(crate) async fn call_as_owner<F, T>(
        &self,
        call: impl Fn(Client, Option<LeaseToken>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let lease = lease::at(&self.shared.target);
        let token = Arc::clone(&lease).open(self).await?;
        match (self.call(|client| call(client, token.clone())).await, token) {
            (Err(error), Some(lost)) if error.kind() == ErrorKind::LeaseInvalid => {
                lease.lose(&lost).await;
                let token = lease.open(self).await?;
                self.call(|client| call(client, token.clone())).await
            }
            (answer, _) => answer,
        }
    }

    /// As [`Connection::call`], in the name of this process's lease if it has one.
    pub(crate) async fn call_as_known<F, T>(
        &self,
        call: impl Fn(Client, Option<LeaseToken>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let lease = lease::at(&self.shared.target);
        let token = lease.held().await;
        match (self.call(|client| call(client, token.clone())).await, token) {
            (Err(error), Some(lost)) if error.kind() == ErrorKind::LeaseInvalid => {
                lease.lose(&lost).await;
                self.call(|client| call(client, None)).await
            }
            (answer, _) => answer,
        }
    }

    /// Lets the next call look for the daemon again, and start one if there is none.
    pub(crate) async fn forget(&self) {
        self.shared.client.lock().await.take();
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.shared.pid == std::process::id()
    }

    /// As a process sees it that was forked from this one.
    #[cfg(test)]
    pub(crate) fn of_another_process(target: Target) -> Self {
        let (options, client) = (ConnectOptions::default(), tokio::sync::Mutex::new(None));
        Self { shared: Arc::new(Shared { target, options, pid: u32::MAX, client }) }
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_ours() { Ok(()) } else { Err(Error::Forked { owner: self.shared.pid }) }
    }
}
