//! Reaching the daemon of a home, and starting it when there is none.
//!
//! A daemon that nobody uses goes by itself, so it may vanish between any two steps here. Everything up to the
//! end of the handshake is therefore tried again; only one caller starts a daemon at a time (`start.lock`), the
//! others wait and find it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::remote::ApiKey;
use crate::sockets::Listed;
use crate::start::{StartLock, start_daemon};
use crate::{Client, Error, Home};

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How many bytes may be on their way to us, for one call and for all of a connection, and in one frame.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;
const MAX_FRAME: u32 = 1 << 20;

/// How to reach a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Whether to start a daemon when there is none.
    pub autostart: bool,
    /// The `ebb` to start it with; `None` to look for it (`EBBTIDE_BIN`, beside this program, `PATH`).
    pub executable: Option<PathBuf>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// How often this process shows a daemon elsewhere that it is there, in whole seconds, 5 to 3600: for a proxy in
    /// between that keeps connections open whose ends are gone. `None` for what `EBBTIDE_LEASE_HEARTBEAT` says, by
    /// default never: the kernels tell each other.
    pub lease_heartbeat: Option<Duration>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { autostart: true, executable: None, timeout: Duration::from_secs(30), lease_heartbeat: None }
    }
}

/// Connects to the daemon of `home`.
///
/// # Errors
/// When there is none and none can be started, when the one that answers is not ours, or when time is up.
pub async fn connect(home: &Home, options: &ConnectOptions) -> Result<Client, Error> {
    let deadline = Instant::now() + options.timeout;
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(client) = attempt(home, options, deadline).await? {
            return Ok(client);
        }
        if !options.autostart {
            return Err(Error::NoDaemon { state_dir: home.state_dir().to_owned() });
        }
        if let Some(lock) = StartLock::try_take(home)? {
            // The one who held the lock before may have started it.
            if let Some(client) = attempt(home, options, deadline).await? {
                return Ok(client);
            }
            start_daemon(home, options, deadline).await?;
            drop(lock);
            continue;
        }
        if Instant::now() + pause > deadline {
            return Err(timed_out(home, options));
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

pub(crate) fn timed_out(home: &Home, options: &ConnectOptions) -> Error {
    Error::TimedOut {
        state_dir: home.state_dir().to_owned(),
        log: home.daemon_log(),
        waited: options.timeout,
    }
}

/// Connects and shakes hands; `None` where no daemon is, or one that is about to go.
async fn attempt(home: &Home, options: &ConnectOptions, deadline: Instant) -> Result<Option<Client>, Error> {
    let handshake = async {
        let Some(stream) = open(&home.socket()).await? else { return Ok(None) };
        let Ok(channel) = channel(home.socket(), stream).await else { return Ok(None) };
        let client = Client::new(channel, ApiKey::none());
        let info = match client.info().await {
            Ok(info) => info,
            Err(error) if error.is_disconnect() => return Ok(None),
            Err(error) => return Err(error),
        };
        if info.protocol_version != ebbtide_proto::PROTOCOL_VERSION {
            return Err(Error::Incompatible {
                version: info.version,
                pid: info.pid,
                theirs: info.protocol_version,
                ours: ebbtide_proto::PROTOCOL_VERSION,
            });
        }
        if info.home_id != home.id() {
            let expected = home.id().to_owned();
            return Err(Error::OtherHome { pid: info.pid, found: info.home_id, expected });
        }
        Ok(Some(client))
    };
    timeout_at(deadline, handshake).await.unwrap_or_else(|_| Err(timed_out(home, options)))
}

/// A connection to the socket; `None` if nobody listens.
pub(crate) async fn open(socket: &Path) -> Result<Option<UnixStream>, Error> {
    let unreachable = |source| Error::Unreachable { path: socket.to_owned(), source: Arc::new(source) };
    match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreachable(error)),
        Ok(metadata) => ours(socket, metadata.uid())?,
    }
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(unreachable(error)),
            };
        }
    };
    ours(socket, stream.peer_cred().map_err(unreachable)?.uid())?;
    Ok(Some(stream))
}

fn ours(socket: &Path, owner: u32) -> Result<(), Error> {
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::ForeignSocket { path: socket.to_owned(), owner })
}

/// A channel over `stream`, which connects anew should the daemon be replaced meanwhile.
pub(crate) async fn channel(socket: PathBuf, stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let first = Arc::new(Mutex::new(Some(stream)));
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let stream = match first {
                Some(stream) => stream,
                None => UnixStream::connect(socket).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(Listed::new(stream)))
        }
    });
    // The name is only the HTTP authority; the connector decides where to go.
    tuned(Endpoint::from_static("http://ebbtide.invalid")).connect_with_connector(connector).await
}

/// What holds for every connection, whatever it goes over.
pub(crate) fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        // One command whose output nobody reads must not stop the other calls of the connection.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        // Output that is on its way when a call is dropped counts as an error of ours; after a thousand of them
        // the connection would end, with everything on it.
        .http2_max_local_error_reset_streams(None)
}
