//! What the log says of a request: an id that client and log share, the method, and the sandbox it is about. Never
//! what it carries: no argument, environment, file or key.
//!
//! The ids are in a span, which every line of the request is written in, also those of a stream after its first
//! answer. Control fills in the sandbox as soon as the request has named one that exists.

use std::pin::Pin;
use std::task::{Context, Poll};

use ebbtide_proto::bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response};
use tracing::{Span, debug, error_span, field};

/// The metadata that carries the id, in both directions.
const HEADER: &str = "x-request-id";
/// The longest id and method that are taken from a client.
const MAX_BYTES: usize = 128;

/// One request as the log knows it.
pub(crate) struct Trace {
    pub(crate) span: Span,
    id: HeaderValue,
    begun: Instant,
}

impl Trace {
    /// With the id that the caller gave, if it can be written into a log as it is; a new one otherwise.
    pub(crate) fn new(headers: &HeaderMap, method: &str) -> Self {
        let id = headers.get(HEADER).filter(|id| is_sane(id.as_bytes())).cloned().unwrap_or_else(new_id);
        let method = if is_sane(method.as_bytes()) { method } else { "-" };
        // As severe as the worst line, so that no filter lets a line through without it.
        let span = error_span!(
            "request",
            request_id = id.to_str().unwrap_or_default(),
            method,
            sandbox = field::Empty
        );
        Self { span, id, begun: Instant::now() }
    }

    /// Tells the caller the id, and goes on with the body.
    pub(crate) fn answered(self, mut response: Response<Body>) -> Response<Body> {
        // Absent where a body follows, whose end tells.
        let code = response.headers().get(Status::GRPC_STATUS).cloned();
        response.headers_mut().insert(HEADER, self.id);
        let Self { span, begun, .. } = self;
        response.map(|body| Body::new(Traced { body, span, begun, code }))
    }
}

/// Letters that mean nothing to a terminal, a shell or a reader of JSON.
fn is_sane(text: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn new_id() -> HeaderValue {
    let id = ulid::Ulid::generate().to_string().to_ascii_lowercase();
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The body of an answer, within the span of its request.
struct Traced {
    body: Body,
    span: Span,
    begun: Instant,
    code: Option<HeaderValue>,
}

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let _in = this.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            this.code = trailers.get(Status::GRPC_STATUS).cloned();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _in = self.span.enter();
        // A call that the client cancelled has no code.
        let code = self.code.as_ref().and_then(|code| code.to_str().ok()).unwrap_or("-");
        debug!(
            code,
            micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(given: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(given).unwrap());
        let response = Trace::new(&headers, "GetSandbox").answered(Response::new(Body::empty()));
        response.headers()[HEADER].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_id_comes_back_and_another_one_is_replaced() {
        for sane in ["1", "018f-ab_C.d:e/f+g=", &"x".repeat(MAX_BYTES)] {
            assert_eq!(told(sane.as_bytes()), sane);
        }
        let long = "x".repeat(MAX_BYTES + 1);
        for other in ["", "a b", "a\"b", "a;b", "\u{e9}", &long] {
            let id = told(other.as_bytes());
            assert!(id != other && is_sane(id.as_bytes()), "{other:?} became {id:?}");
        }
    }

    #[test]
    fn every_request_without_an_id_gets_one_of_its_own() {
        let new = || Trace::new(&HeaderMap::new(), "").id;
        assert_ne!(new(), new());
    }
}
