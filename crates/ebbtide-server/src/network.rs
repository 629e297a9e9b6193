//! The daemon's addresses on the network.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};

use crate::ServerError;
use crate::keys::Keys;
use crate::tls::{Tls, TlsFiles};

/// When to ask a peer that says nothing whether it is there, and how often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// How long a peer may acknowledge neither that nor what was sent. One that is stopped acknowledges too, until it has no
/// room left; hence no less.
const USER_TIMEOUT: Duration = Duration::from_secs(300);

/// Where to listen on the network, and for whom.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The addresses; with port 0 the kernel chooses a port.
    pub listen: Vec<SocketAddr>,
    /// Whether keys and data may travel readable to addresses that other machines can reach.
    pub insecure: bool,
    /// The keys that are accepted.
    pub keys: Arc<Keys>,
    /// The certificate; `None` to speak without TLS.
    pub tls: Option<TlsFiles>,
}

/// The listeners on the network; none, where none were asked for.
#[derive(Debug, Default)]
pub(crate) struct Network {
    listeners: Vec<TcpListener>,
    tls: Option<Arc<Tls>>,
    /// The listener to look at first, another one each time, so that a flood on one leaves the others their turn.
    first: usize,
}

impl Network {
    /// Listens on every address.
    pub(crate) fn bind(config: &NetworkConfig) -> Result<Self, ServerError> {
        if !config.listen.is_empty() && config.keys.is_empty()? {
            return Err(ServerError::NoKey);
        }
        let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
        let listeners = config.listen.iter().map(|address| {
            if tls.is_none() && !config.insecure && !address.ip().is_loopback() {
                return Err(ServerError::Plaintext { address: *address });
            }
            bind(*address).map_err(|source| ServerError::Address { address: *address, source })
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        Ok(Self { listeners, tls, first: 0 })
    }

    /// The addresses with the ports that were chosen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// What makes TLS of connections, if they are to have it.
    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// The next connection on any address. Safe to drop at the await.
    pub(crate) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            let count = self.listeners.len();
            for at in (self.first..count).chain(0..self.first.min(count)) {
                if let Some(listener) = self.listeners.get(at)
                    && let Poll::Ready(accepted) = listener.poll_accept(context)
                {
                    self.first = at + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Has the kernel notice a peer that is gone. No HTTP/2 pings: a client that is stopped by a debugger answers none
/// and is alive.
pub(crate) fn watch_peer(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval) = KEEPALIVE;
    let user_timeout = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_user_timeout(stream, user_timeout)?;
    Ok(())
}
