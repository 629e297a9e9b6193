//! What stands between a registry and who pulls: it passes everything on, counts it, and does damage as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is done to an answer.
#[derive(Clone)]
pub(crate) enum Damage {
    /// Another answer in its place.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// The connection breaks after so many bytes.
    Break(usize),
    /// It ends after so many bytes as if that were all.
    Shorten(usize),
    /// One byte is another.
    Corrupt,
    /// So many bytes, then nothing for a long time.
    Stall(usize),
    /// So many bytes at once, a short time apart.
    Slow(usize),
    /// It begins at the beginning, whatever was asked for.
    IgnoreRange,
}

/// Damage, done to the next requests whose path contains some text.
#[derive(Clone)]
struct Rule {
    path: String,
    damage: Damage,
    times: usize,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct State {
    rules: VecDeque<Rule>,
    seen: Vec<Seen>,
}

/// It, as it runs.
pub(crate) struct Proxy {
    state: Arc<Mutex<State>>,
    cut: watch::Sender<u64>,
    /// HOST:PORT.
    pub(crate) address: String,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Stands in front of `upstream`.
    pub(crate) fn of(upstream: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upstream: SocketAddr = upstream.parse().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let (serving, (cut, cuts)) = (Arc::clone(&state), watch::channel(0));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, upstream, serving, cuts) => {}
                    _ = ended => {}
                }
            });
        });
        Self { state, cut, address, end: Some(end), thread: Some(thread) }
    }

    /// Does damage to the next `times` requests whose path contains `path`.
    pub(crate) fn damage(&self, path: &str, times: usize, damage: Damage) {
        lock(&self.state).rules.push_back(Rule { path: path.to_owned(), damage, times });
    }

    /// No damage any more.
    pub(crate) fn heal(&self) {
        lock(&self.state).rules.clear();
    }

    /// Breaks every connection that is open.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// The requests since the last time, whose paths contain `path`.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        lock(&self.state).seen.iter().filter(|seen| seen.path.contains(path)).cloned().collect()
    }

    /// Forgets the requests.
    pub(crate) fn forget(&self) {
        lock(&self.state).seen.clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
    cuts: watch::Receiver<u64>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (state, mut cuts) = (Arc::clone(&state), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, upstream, Arc::clone(&state)));
            let server = hyper::server::conn::http1::Builder::new();
            tokio::select! {
                _ = server.serve_connection(TokioIo::new(stream), service) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let damage = {
        let mut state = lock(&state);
        state.seen.push(Seen {
            path: path.clone(),
            range: header(RANGE),
            authorization: header(AUTHORIZATION),
        });
        let rule = state.rules.iter_mut().find(|rule| rule.times > 0 && path.contains(&rule.path));
        rule.map(|rule| {
            rule.times -= 1;
            rule.damage.clone()
        })
    };
    if let Some(Damage::Answer { status, headers, body }) = damage {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        return Ok(answer
            .body(Full::new(Bytes::from(body)).map_err(|no| match no {}).boxed_unsync())
            .unwrap());
    }
    let (parts, content) = match pass_on(request, upstream, &damage).await {
        Ok(answer) => answer,
        Err(_) => {
            let empty = Empty::new().map_err(|no| match no {}).boxed_unsync();
            return Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(empty).unwrap());
        }
    };
    let mut content = content.to_vec();
    let length = content.len();
    let body = match damage {
        Some(Damage::Corrupt) => {
            if let Some(byte) = content.last_mut() {
                *byte ^= 1;
            }
            pieces(vec![content]).boxed()
        }
        Some(Damage::Shorten(bytes)) => {
            content.truncate(bytes);
            return Ok(plain(parts, content));
        }
        Some(Damage::Break(bytes)) => {
            content.truncate(bytes);
            pieces(vec![content])
                .chain(stream::once(async {
                    // So that what was sent before is sent.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(io::Error::other("broken on purpose"))
                }))
                .boxed()
        }
        Some(Damage::Stall(bytes)) => {
            content.truncate(bytes);
            pieces(vec![content]).chain(stream::pending()).boxed()
        }
        Some(Damage::Slow(bytes)) => {
            let parts: Vec<Vec<u8>> = content.chunks(bytes).map(<[u8]>::to_vec).collect();
            pieces(parts)
                .then(|piece| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    piece
                })
                .boxed()
        }
        _ => return Ok(plain(parts, content)),
    };
    let mut answer = Response::from_parts(parts, StreamBody::new(body).boxed_unsync());
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(answer)
}

fn plain(parts: hyper::http::response::Parts, content: Vec<u8>) -> Response<Body> {
    let length = content.len();
    let body = Full::new(Bytes::from(content)).map_err(|no| match no {}).boxed_unsync();
    let mut answer = Response::from_parts(parts, body);
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    answer
}

fn pieces(pieces: Vec<Vec<u8>>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
}

async fn pass_on(
    mut request: Request<Incoming>,
    upstream: SocketAddr,
    damage: &Option<Damage>,
) -> io::Result<(hyper::http::response::Parts, Bytes)> {
    if matches!(damage, Some(Damage::IgnoreRange)) {
        request.headers_mut().remove(RANGE);
    }
    request.headers_mut().insert(HOST, upstream.to_string().parse().unwrap());
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let content = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((parts, content))
}
