//! A call by hand: bytes out, bytes back, and the status that ended it.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use fastrand::Rng;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// A call that is not over so long after its deadline is stuck.
const STUCK: Duration = Duration::from_secs(20);

type Sent = Result<Frame<Bytes>, Infallible>;
type Body = StreamBody<ReceiverStream<Sent>>;

/// A connection to the daemon.
pub(crate) struct Connection {
    calls: SendRequest<Body>,
    /// What its calls prove now and then: tokens of leases that are or were.
    tokens: Vec<String>,
}

/// Where a call's body is put into, in pieces. Dropped, the client has closed its side.
pub(crate) struct Upload(mpsc::Sender<Sent>);

/// What came back.
pub(crate) struct Answer {
    /// Each message whole, as far as the bytes are framed.
    pub(crate) messages: Vec<Bytes>,
    /// The status; `None` if the call was reset or the connection ended.
    pub(crate) status: Option<u32>,
}

impl Connection {
    pub(crate) async fn open(socket: &std::path::Path, tokens: Vec<String>) -> Self {
        let stream = UnixStream::connect(socket).await.expect("the daemon listens");
        let (calls, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { calls, tokens }
    }

    /// Begins a call. Its deadline, within a second, is in its headers: the daemon has to keep it.
    pub(crate) fn begin(&mut self, path: &str, rng: &mut Rng) -> (Upload, Pending) {
        let (sender, receiver) = mpsc::channel(4);
        let mut request = Request::post(format!("http://fuzz.invalid{path}"))
            .header("te", "trailers")
            .header("grpc-timeout", format!("{}m", rng.u32(1..900)))
            .header("content-type", if rng.u8(0..50) == 0 { "text/plain" } else { "application/grpc" });
        if rng.u8(0..30) == 0 {
            request = request.header("grpc-encoding", "gzip");
        }
        if rng.u8(0..5) == 0 {
            let token = rng.choice(&self.tokens).map_or("forged", String::as_str);
            request = request.header("ebbtide-lease", token);
        }
        if rng.u8(0..30) == 0 {
            let occasions = ["session", "scope", "fun"];
            request = request.header("ebbtide-stop-for", occasions[rng.usize(0..occasions.len())]);
        }
        let request = request.body(StreamBody::new(ReceiverStream::new(receiver))).unwrap();
        let answer = Box::pin(self.calls.send_request(request));
        (Upload(sender), Pending { path: path.to_owned(), answer })
    }
}

impl Upload {
    /// Sends a piece; `false` once the call is over.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }
}

/// A call whose answer has not begun.
pub(crate) struct Pending {
    path: String,
    answer: Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>,
}

impl Pending {
    /// Reads the answer to its end.
    pub(crate) async fn finish(self) -> Answer {
        let path = self.path.clone();
        timeout(STUCK, self.read()).await.unwrap_or_else(|_| panic!("a call of {path} outlives its deadline"))
    }

    async fn read(self) -> Answer {
        let Ok(response) = self.answer.await else { return Answer { messages: Vec::new(), status: None } };
        let mut status = status(response.headers());
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => status = frame.trailers_ref().and_then(self::status),
            }
        }
        Answer { messages: messages(&bytes), status }
    }
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn messages(mut bytes: &[u8]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        messages.push(Bytes::copy_from_slice(message));
        bytes = rest;
    }
    messages
}

/// A message with its length in front, as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}
