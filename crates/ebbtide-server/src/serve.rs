//! The daemon's front: accepts connections, counts them, and decides when it is over.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_control::Control;
use ebbtide_model::{EffectiveResources, Limits};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::answer::Services;
use crate::connections::Connections;
use crate::ending::Ending;
use crate::gate::Gate;
use crate::keys::KeyError;
use crate::listener::Listener;
use crate::metrics::ConnectionCounts;
use crate::network::{Network, NetworkConfig};
use crate::tls::TlsError;

/// How long calls in flight have to finish once the server ends.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait after an accept failed for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server is told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen. What lies there is stale, since the caller holds the lock of the home, and is replaced.
    pub socket: PathBuf,
    /// The version of the daemon.
    pub version: String,
    /// The id of the home.
    pub home: String,
    /// The home's directory.
    pub state_dir: PathBuf,
    /// End after this time without a connection and without a live sandbox; `None` for never.
    pub idle_exit: Option<Duration>,
    /// The bounds that requests are held to, the same that control has.
    pub limits: Limits,
    /// What a sandbox may use where its spec names nothing, the same that control has.
    pub default_resources: EffectiveResources,
    /// Where to listen on the network; `None` for nowhere.
    pub network: Option<NetworkConfig>,
}

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServeEnd {
    /// Nobody had used it for the configured time.
    Idle,
    /// A client asked for the end of everything; the sandboxes are gone.
    Shutdown,
    /// The caller's `shutdown` future resolved; the sandboxes live on.
    Told,
}

/// Why a server could not serve.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The socket could not be made.
    #[error("cannot listen on {path}: {source}; check that its directory exists and can be written to")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Other machines could reach the address and read everything on the way.
    #[error("not listening on {address} without TLS: keys and data would be readable on the way")]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// Nobody could be let in.
    #[error("not listening on the network without an API key: nobody could be let in")]
    NoKey,
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The descriptions of our own services cannot be read.
    #[error("the services cannot be described: {0}; this is a defect of Ebbtide")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Other machines could read the metrics.
    #[error("not offering the metrics on {address}: other machines could read them")]
    MetricsRemote {
        /// The address.
        address: SocketAddr,
    },
}

impl ServerError {
    pub(crate) fn listen(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Listen { path: path.to_owned(), source: source.into() }
    }
}

/// Binds and serves until it is over.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(
    config: ServerConfig,
    control: Control,
    shutdown: impl Future<Output = ()>,
) -> Result<ServeEnd, ServerError> {
    Server::bind(config)?.run(control, shutdown).await
}

/// A server that clients can connect to already; they are answered once it runs.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    listener: Listener,
    network: Network,
    counts: ConnectionCounts,
}

impl Server {
    /// Makes the socket, and listens on the network if it is to. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made, an address cannot be listened on, or nobody has a key for it.
    pub fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        let network = config.network.as_ref().map(Network::bind).transpose()?.unwrap_or_default();
        let counts = ConnectionCounts::default();
        Ok(Self { listener: Listener::bind(&config.socket)?, network, counts, config })
    }

    /// The addresses on the network, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.network.addresses()
    }

    /// Adds what is counted here to `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.counts.register(registry);
    }

    /// The same as clients write them.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.network.tls().is_some() { "https" } else { "http" };
        self.addresses().iter().map(|address| format!("{scheme}://{address}")).collect()
    }

    /// Serves until it is over. The socket is gone when this returns.
    ///
    /// # Errors
    /// When the socket had to be made again and could not be.
    pub async fn run(
        mut self,
        control: Control,
        shutdown: impl Future<Output = ()>,
    ) -> Result<ServeEnd, ServerError> {
        let mut live = control.live();
        let (end, ending) = Ending::channel();
        let (end_everything, mut everything_ended) = Ending::channel();
        let services = Services::new(&self.config, &control, &ending, end_everything)?;
        let gate = self.config.network.as_ref().map(|network| Gate::new(Arc::clone(&network.keys)));
        let connections =
            Connections::new(services, ending, gate.clone(), self.network.tls(), self.counts.clone());
        let mut tasks = JoinSet::new();
        let mut watching = pin!(async {
            match &gate {
                Some(gate) => gate.watch_keys().await,
                None => pending().await,
            }
        });
        let mut shutdown = pin!(shutdown);
        let mut idle_since = None;
        let why = loop {
            let quiet = tasks.is_empty() && *live.borrow_and_update() == 0;
            idle_since = if quiet { idle_since.or_else(|| Some(Instant::now())) } else { None };
            let idle_at = self.config.idle_exit.zip(idle_since).map(|(limit, since)| since + limit);
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => connections.start_local(&mut tasks, stream),
                    Err(error) => pause(&error).await,
                },
                accepted = self.network.accept() => match accepted {
                    Ok((stream, address)) => connections.start_remote(&mut tasks, stream, address),
                    Err(error) => pause(&error).await,
                },
                Some(_) = tasks.join_next() => {}
                () = &mut watching => {}
                // A sandbox that came and went is a use as well.
                Ok(()) = live.changed() => idle_since = None,
                () = sleep_until(idle_at.unwrap_or_else(Instant::now)), if idle_at.is_some() => {
                    let late = self.listener.close();
                    if late.is_empty() {
                        break ServeEnd::Idle;
                    }
                    self.listener.listen_again()?;
                    for stream in late {
                        connections.start_local(&mut tasks, stream);
                    }
                }
                () = &mut shutdown => break ServeEnd::Told,
                () = everything_ended.begun() => break ServeEnd::Shutdown,
            }
        };
        drop(self.listener);
        drop(self.network);
        end.send_replace(true);
        let finished = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, finished).await.is_err() {
            warn!(connections = tasks.len(), "cutting off calls that did not finish");
        }
        Ok(why)
    }
}

/// After an accept that failed: the kernel may have something in a moment that it lacks now.
async fn pause(error: &io::Error) {
    warn!(%error, "cannot accept a connection");
    sleep(ACCEPT_PAUSE).await;
}
