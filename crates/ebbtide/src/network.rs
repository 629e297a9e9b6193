//! Connections over the network, which a forked child can let go of like those to a socket.

use std::time::Duration;

use hyper_util::client::legacy::connect::{HttpConnector, dns::GaiResolver};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;

use crate::sockets::Listed;

/// When the kernel asks a daemon that says nothing whether it is there, how often, and how many times: soon, so that a
/// process learns of a cut in time to come back with its lease, and often, so that a minute without a network cuts
/// nothing. No HTTP/2 pings, which a server may take for an attack.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(20), Duration::from_secs(15), 7);

/// A channel to a daemon on the network, which connects anew should the connection break.
pub(crate) async fn channel(endpoint: Endpoint, limit: Duration) -> Result<Channel, Error> {
    let listed = |stream: TokioIo<TcpStream>| TokioIo::new(Listed::new(stream.into_inner()));
    endpoint.connect_timeout(limit).connect_with_connector(connector(limit).map_response(listed)).await
}

fn connector(limit: Duration) -> HttpConnector<GaiResolver> {
    let (idle, interval, count) = KEEPALIVE;
    let mut connector = HttpConnector::new();
    // TLS is laid over it.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(limit));
    connector.set_keepalive(Some(idle));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(count));
    connector
}
