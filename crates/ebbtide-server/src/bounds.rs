//! What ends a call from outside: its deadline, and the end of the key that it came with.
//!
//! An answer that streams is pulled by the connection, which pulls nothing while its client does not read. So whoever
//! waits for the end of a call is a task beside it, which takes the answer away: what it stands for (a command, a file
//! that is read) is ended then, and the client is told when it reads on. Calls of the socket without a deadline have no
//! such bound, and no task.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use ebbtide_proto::bytes::Bytes;
use futures::future::pending;
use futures::task::AtomicWaker;
use hyper::body::{Body as HttpBody, Frame};
use tokio::task::{AbortHandle, spawn};
use tokio::time::sleep_until;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};
use tracing::Instrument as _;

use crate::deadline::Deadline;
use crate::errors;
use crate::gate::Admission;

const OVER: &str = "the call's deadline is over";

/// The bounds of one call.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) deadline: Option<Deadline>,
    /// Of a call from the network.
    pub(crate) admission: Option<Admission>,
    /// Whether the call is a command's, which ends with it.
    pub(crate) command: bool,
}

impl Bounds {
    /// Waits until the call has to be over, and says why. Safe to drop at the await.
    pub(crate) async fn over(&mut self) -> Status {
        let deadline = async {
            match self.deadline {
                Some(Deadline(at)) => sleep_until(at).await,
                None => pending().await,
            }
            if self.command { errors::command_timeout() } else { Status::deadline_exceeded(OVER) }
        };
        let revoked = async {
            match &mut self.admission {
                Some(admission) => admission.revoked().await,
                None => pending().await,
            }
            errors::unauthenticated("the API key has been revoked")
        };
        tokio::select! {
            status = deadline => status,
            status = revoked => status,
        }
    }

    /// The same answer, which ends with the call.
    pub(crate) fn hold(mut self, response: Response<Body>) -> Response<Body> {
        if self.deadline.is_none() && self.admission.is_none() || response.body().is_end_stream() {
            return response;
        }
        response.map(|body| {
            let shared =
                Arc::new(Shared { answer: Mutex::new(Answer::Coming(body)), reader: AtomicWaker::new() });
            let held = Arc::clone(&shared);
            let task = spawn(async move { held.cut_off(self.over().await) }.in_current_span());
            Body::new(Bounded { shared, task: task.abort_handle() })
        })
    }
}

/// The body of an answer that ends with its call.
struct Bounded {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    answer: Mutex<Answer>,
    /// Whoever waits for more of it.
    reader: AtomicWaker,
}

enum Answer {
    Coming(Body),
    /// Only the end of it is left, which the client has not read yet: its own, or that it was taken away.
    Ended(Result<HeaderMap, Status>),
    Over,
}

impl Shared {
    fn cut_off(&self, status: Status) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let Answer::Coming(body) = &mut *answer else { return };
        // What has come to its end by itself has ended that way, also if its client has read all but the end.
        let next = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let ended = match next {
            Poll::Ready(None) => Answer::Over,
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                Answer::Ended(Ok(frame.into_trailers().unwrap_or_default()))
            }
            _ => Answer::Ended(trailers(&status)),
        };
        let coming = std::mem::replace(&mut *answer, ended);
        drop(answer);
        self.reader.wake();
        // Not under the lock: with it goes what it stands for.
        drop(coming);
    }
}

fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).map(|()| trailers)
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.shared.reader.register(context.waker());
        let mut answer = self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *answer {
            Answer::Coming(body) => Pin::new(body).poll_frame(context),
            Answer::Ended(_) => match std::mem::replace(&mut *answer, Answer::Over) {
                Answer::Ended(end) => Poll::Ready(Some(end.map(Frame::trailers))),
                _ => Poll::Ready(None),
            },
            Answer::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) {
            Answer::Coming(body) => body.is_end_stream(),
            Answer::Ended(_) => false,
            Answer::Over => true,
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::time::{Instant, advance};
    use tonic::Code;

    use super::*;

    /// What a client gets of an answer in two parts if the call's deadline comes when it has read the first.
    async fn after_the_first(second: Option<Frame<Bytes>>) -> Option<Code> {
        let first = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"exit")))]);
        let rest = match second {
            Some(frame) => stream::iter([Ok(frame)]).left_stream(),
            None => stream::pending().right_stream(),
        };
        let deadline = Some(Deadline(Instant::now() + Duration::from_secs(1)));
        let bounds = Bounds { deadline, admission: None, command: false };
        let body = Body::new(StreamBody::new(first.chain(rest)));
        let mut body = bounds.hold(Response::new(body)).into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        advance(Duration::from_secs(2)).await;
        tokio::task::yield_now().await;
        let end = body.frame().await?.unwrap().into_trailers().unwrap();
        assert!(body.frame().await.is_none() && body.is_end_stream());
        Status::from_header_map(&end).map(|status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_come_to_its_end_ends_that_way_although_its_deadline_comes_first() {
        let mut trailers = HeaderMap::new();
        Status::ok("").add_header(&mut trailers).unwrap();
        assert_eq!(after_the_first(Some(Frame::trailers(trailers))).await, Some(Code::Ok));
        assert_eq!(after_the_first(None).await, Some(Code::DeadlineExceeded));
        let more = Frame::data(Bytes::from_static(b"more"));
        assert_eq!(after_the_first(Some(more)).await, Some(Code::DeadlineExceeded));
    }
}
