//! Metrics over HTTP, for Prometheus and whoever reads its text format.
//!
//! They hold no secret and no name of anything in a sandbox, yet tell how much is going on. So only this machine may
//! read them unless it is said otherwise, and everything about the endpoint is bounded: it serves one small text.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::codegen::http::{Method, Request, Response, StatusCode, header};
use tracing::{debug, warn};

use crate::ServerError;

/// What `prometheus-client` writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Readers at a time. More wait for their turn in the kernel's queue.
const READERS: usize = 16;
/// How long a connection may say nothing, and how long it may last.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECTION: Duration = Duration::from_secs(300);
/// How long to wait after an accept failed for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port on which the metrics can be read.
#[derive(Debug)]
pub struct MetricsPort {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsPort {
    /// Listens on `address`; port 0 lets the kernel choose one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When other machines could connect and `remote` does not allow for that, or the kernel refuses.
    pub fn bind(address: SocketAddr, remote: bool) -> Result<Self, ServerError> {
        if !remote && !address.ip().is_loopback() {
            return Err(ServerError::MetricsRemote { address });
        }
        let failed = |source| ServerError::Address { address, source };
        let socket = std::net::TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(socket).map_err(failed)?;
        Ok(Self { address: listener.local_addr().map_err(failed)?, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with what `registry` holds, until the future is dropped.
    pub async fn serve(self, registry: Registry) {
        let (registry, readers) = (Arc::new(registry), Arc::new(Semaphore::new(READERS)));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&readers).acquire_owned().await else { return };
            let stream = match self.accept(&mut connections).await {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a reader of the metrics");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let registry = Arc::clone(&registry);
            connections.spawn(async move {
                let _permit = permit;
                match timeout(CONNECTION, read(stream, &registry)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%error, "a reader of the metrics went away"),
                    Err(_) => debug!("a reader of the metrics took too long"),
                }
            });
        }
    }

    /// The next connection; clears away those that are over meanwhile.
    async fn accept(&self, connections: &mut JoinSet<()>) -> io::Result<TcpStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn read(stream: TcpStream, registry: &Registry) -> hyper::Result<()> {
    let service = hyper::service::service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), registry))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(method: &Method, path: &str, registry: &Registry) -> Response<String> {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let mut text = String::new();
            match encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, CONTENT_TYPE, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, plain, format!("{error}\n")),
            }
        }
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, plain, "GET only\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, plain, "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SILENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_scrape_is_answered_with_the_counts_and_everything_else_with_an_error() {
        let mut registry = Registry::with_prefix("ebbtide");
        let counter = Counter::<u64>::default();
        registry.register("things", "Things", counter.clone());
        counter.inc();
        let port = MetricsPort::bind(([127, 0, 0, 1], 0).into(), false).unwrap();
        let address = port.address();
        let serving = tokio::spawn(port.serve(registry));
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = ask(address, &get("/metrics")).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.contains(CONTENT_TYPE), "{text}");
        assert!(text.contains("\nebbtide_things_total 1\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(ask(address, &get("/")).await.starts_with("HTTP/1.1 404"));
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
        serving.abort();
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_if_that_is_said() {
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let refused = MetricsPort::bind(anywhere, false).unwrap_err();
        assert!(matches!(refused, ServerError::MetricsRemote { .. }), "{refused}");
        MetricsPort::bind(anywhere, true).unwrap();
    }
}
