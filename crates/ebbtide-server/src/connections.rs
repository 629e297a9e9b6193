//! Connections: HTTP/2 on each, in a task of its own, and the bounds for those that nobody knows yet.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::answer::{Origin, Services};
use crate::caller::Caller;
use crate::ending::Ending;
use crate::gate::{Gate, Stranger};
use crate::metrics::ConnectionCounts;
use crate::network::watch_peer;
use crate::places::Places;
use crate::strangers::{Place, Strangers};
use crate::tls::Tls;

/// What one call may have in flight towards us. Bounds the memory that a command which does not read costs.
const STREAM_WINDOW: u32 = 1 << 20;
/// Never the bottleneck: one call that is not read must not stop the others of its connection.
const CONNECTION_WINDOW: u32 = 1 << 30;
const MAX_FRAME: u32 = 1 << 20;
const MAX_STREAMS: u32 = 4096;

/// How long a stranger has for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Makes the tasks that serve connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections {
    services: Services,
    http: http2::Builder<TokioExecutor>,
    ending: Ending,
    gate: Option<Gate>,
    tls: Option<Arc<Tls>>,
    places: Places,
    strangers: Strangers,
    counts: ConnectionCounts,
}

impl Connections {
    pub(crate) fn new(
        services: Services,
        ending: Ending,
        gate: Option<Gate>,
        tls: Option<Arc<Tls>>,
        counts: ConnectionCounts,
    ) -> Self {
        Self {
            counts,
            services,
            http: http(),
            ending,
            gate,
            tls,
            places: Places::default(),
            strangers: Strangers::default(),
        }
    }

    /// Serves a connection of the socket.
    pub(crate) fn start_local(&self, tasks: &mut JoinSet<()>, stream: UnixStream) {
        match Caller::local(&stream) {
            Ok(caller) => {
                tasks.spawn(self.serve(stream, Origin::Local(caller)));
            }
            Err(error) => warn!(%error, "cannot tell who connected"),
        }
    }

    /// Serves a connection from the network, if there is a place for it.
    pub(crate) fn start_remote(&self, tasks: &mut JoinSet<()>, stream: TcpStream, address: SocketAddr) {
        let Some(gate) = &self.gate else { return };
        let place = match self.places.take(address.ip()) {
            Ok(place) => place,
            Err(full) => return gate.refused(address, full),
        };
        if let Err(error) = watch_peer(&stream) {
            // It was closed already, or it is served until it says that it goes.
            debug!(%error, %address, "cannot watch a connection");
        }
        let stranger = gate.stranger(address);
        let too_late = too_late(stranger.clone(), self.strangers.admit());
        let connections = self.clone();
        tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                () = connections.serve_remote(stream, Origin::Network(stranger)) => {}
                () = too_late => debug!(%address, "no key in time"),
            }
        });
    }

    async fn serve_remote(&self, stream: TcpStream, origin: Origin) {
        let Some(tls) = &self.tls else { return self.serve(stream, origin).await };
        let mut ending = self.ending.clone();
        let accepted = tokio::select! {
            accepted = timeout(HANDSHAKE, tls.acceptor().accept(stream)) => accepted,
            () = ending.begun() => return,
        };
        match accepted {
            Ok(Ok(stream)) => self.serve(stream, origin).await,
            Ok(Err(error)) => debug!(%error, "no TLS"),
            Err(_) => debug!("no TLS in time"),
        }
    }

    /// Serves until the client goes or the daemon ends.
    fn serve<S>(&self, stream: S, origin: Origin) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = self.counts.opened(&origin);
        let services = self.services.clone();
        let service =
            hyper::service::service_fn(move |request| services.clone().answer(request, origin.clone()));
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut ending = self.ending.clone();
        async move {
            let _open = open;
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
        }
    }
}

/// Resolves if a connection loses its place among the strangers before it has brought a key.
async fn too_late(stranger: Stranger, mut place: Place) {
    tokio::select! {
        () = place.lost() => {}
        () = stranger.known() => {
            drop(place);
            pending().await
        }
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
