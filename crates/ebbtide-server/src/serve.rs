//! The daemon's front: accepts connections, counts them, and decides when it is over.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use ebbtide_control::Control;
use ebbtide_model::{EffectiveResources, Limits};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use crate::answer::Services;
use crate::caller::Caller;
use crate::ending::Ending;
use crate::listener::Listener;

/// How long calls in flight have to finish once the server ends.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait after an accept failed for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What one call may have in flight towards us. Bounds the memory that a command which does not read costs.
const STREAM_WINDOW: u32 = 1 << 20;
/// Never the bottleneck: one call that is not read must not stop the others of its connection.
const CONNECTION_WINDOW: u32 = 1 << 30;
const MAX_FRAME: u32 = 1 << 20;
const MAX_STREAMS: u32 = 4096;

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
}

impl Server {
    /// Makes the socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        Ok(Self { listener: Listener::bind(&config.socket)?, config })
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
        let connections = Connections {
            services: Services::new(&self.config, &control, &ending, end_everything),
            http: http(),
            ending,
        };
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut idle_since = None;
        let why = loop {
            let quiet = tasks.is_empty() && *live.borrow_and_update() == 0;
            idle_since = if quiet { idle_since.or_else(|| Some(Instant::now())) } else { None };
            let idle_at = self.config.idle_exit.zip(idle_since).map(|(limit, since)| since + limit);
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => connections.start(&mut tasks, stream),
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                // A sandbox that came and went is a use as well.
                Ok(()) = live.changed() => idle_since = None,
                () = sleep_until(idle_at.unwrap_or_else(Instant::now)), if idle_at.is_some() => {
                    let late = self.listener.close();
                    if late.is_empty() {
                        break ServeEnd::Idle;
                    }
                    self.listener.listen_again()?;
                    for stream in late {
                        connections.start(&mut tasks, stream);
                    }
                }
                () = &mut shutdown => break ServeEnd::Told,
                () = everything_ended.begun() => break ServeEnd::Shutdown,
            }
        };
        drop(self.listener);
        end.send_replace(true);
        let finished = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, finished).await.is_err() {
            warn!(connections = tasks.len(), "cutting off calls that did not finish");
        }
        Ok(why)
    }
}

fn http() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        // Input that crosses its command's exit on the way, and calls that are cancelled at once, are no attack
        // here; counted as one, they would end a long-lived connection with everything on it.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize);
    http
}

struct Connections {
    services: Services,
    http: http2::Builder<TokioExecutor>,
    ending: Ending,
}

impl Connections {
    /// Serves one connection in a task of its own.
    fn start(&self, tasks: &mut JoinSet<()>, stream: UnixStream) {
        let caller = match Caller::of(&stream) {
            Ok(caller) => caller,
            Err(error) => {
                warn!(%error, "cannot tell who connected");
                return;
            }
        };
        let services = self.services.clone();
        let service =
            hyper::service::service_fn(move |request| services.clone().answer(request, caller.clone()));
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut ending = self.ending.clone();
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = ending.begun() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                debug!(%error, "a connection ended early");
            }
        });
    }
}
