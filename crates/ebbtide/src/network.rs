//! Connections over the network, which a forked child can let go of like those to a socket.

use std::time::Duration;

use hyper_util::client::legacy::connect::{HttpConnector, dns::GaiResolver};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;

use crate::sockets::Listed;

/// When the kernel asks a daemon that says nothing whether it is there, and how often. No HTTP/2 pings, which a server
/// may take for an attack.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(15));
/// How long a daemon may answer neither that nor what was sent. So long that a minute without a network cuts nothing, with
/// time for what was lost to be sent again, and that a daemon can be stopped for two; and less than a daemon waits for its
/// clients, so that a process comes back with its lease before it is missed.
const UNANSWERED: Duration = Duration::from_secs(180);

/// A channel to a daemon on the network, which connects anew should the connection break.
pub(crate) async fn channel(endpoint: Endpoint, limit: Duration) -> Result<Channel, Error> {
    let listed = |stream: TokioIo<TcpStream>| TokioIo::new(Listed::new(stream.into_inner()));
    endpoint.connect_timeout(limit).connect_with_connector(connector(limit).map_response(listed)).await
}

fn connector(limit: Duration) -> HttpConnector<GaiResolver> {
    let (idle, interval) = KEEPALIVE;
    let mut connector = HttpConnector::new();
    // TLS is laid over it.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(limit));
    connector.set_keepalive(Some(idle));
    connector.set_keepalive_interval(Some(interval));
    connector.set_tcp_user_timeout(Some(UNANSWERED));
    connector
}
